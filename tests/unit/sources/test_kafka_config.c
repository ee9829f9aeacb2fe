/* What a Kafka source's configuration may say. */
#include <string.h>

#include "sources/driver.h"
#include "testing.h"

static json_t *json_of(const char *text) {
    if (!text) return NULL;
    BUF_AUTO(quoted, 1 << 16);
    for (; *text; text++)
        buf_append_byte(&quoted, *text == '\'' ? '"' : (uint8_t)*text);
    json_t *j = NULL;
    ASSERT_OK(json_parse(buf_slice(&quoted), &j));
    return j;
}

#define TOPIC "{'kafka_topic_name':'t'}"
#define SERVERS "{'bootstrap_servers':'b:9092'}"

static struct result check(const char *config, const char *format, const char *integration) {
    AUTO(json_unref) json_t *c = json_of(config);
    AUTO(json_unref) json_t *f = json_of(format);
    AUTO(json_unref) json_t *i = json_of(integration);
    return source_driver_find("kafka")->check(c, f, i);
}

static void test_good(void **state) {
    ASSERT_OK(check(TOPIC, NULL, SERVERS));
    ASSERT_OK(check("{'kafka_topic_name':'Or_der.s-1','offset_reset_policy':'LATEST','key_is_id':false,'use_v3':true}",
                    "{'json':{}}", "{'bootstrap_servers':'a.b.c:1,[2001:db8::1]:9092,10.0.0.1'}"));
    ASSERT_OK(check("{'kafka_topic_name':'t','offset_reset_policy':null,'status':{'state':'ACTIVE'}}", "{'json':true}",
                    "{'bootstrap_servers':'b:9092','security_config':{'api_key':'k','secret':'s'},"
                    "'kafka_topic_names':['x','t'],'kafka_data_format':'JSON','use_v3':true,"
                    "'connection_string':null,'source_status_by_topic':{}}"));
}

static void test_refused(void **state) {
    static const struct {
        const char *config, *format, *integration, *says;
    } cases[] = {
        {"[]", NULL, SERVERS, "kafka must be an object"},
        {"{}", NULL, SERVERS, "kafka_topic_name"},
        {"{'kafka_topic_name':7}", NULL, SERVERS, "kafka_topic_name"},
        {"{'kafka_topic_name':''}", NULL, SERVERS, "must not be empty"},
        {"{'kafka_topic_name':'.'}", NULL, SERVERS, "can't be"},
        {"{'kafka_topic_name':'a b'}", NULL, SERVERS, "one topic"},
        {"{'kafka_topic_name':'^a.*'}", NULL, SERVERS, "one topic"},
        {"{'kafka_topic_name':'t','topic':'t'}", NULL, SERVERS, "topic"},
        {"{'kafka_topic_name':'t','offset_reset_policy':'latest'}", NULL, SERVERS, "EARLIEST or LATEST"},
        {"{'kafka_topic_name':'t','offset_reset_policy':1}", NULL, SERVERS, "offset_reset_policy"},
        {"{'kafka_topic_name':'t','key_is_id':'yes'}", NULL, SERVERS, "key_is_id"},
        {TOPIC, "{'csv':{}}", SERVERS, "format_params"},
        {TOPIC, "{'json':false}", SERVERS, "format_params"},
        {TOPIC, "'json'", SERVERS, "format_params"},
        {TOPIC, NULL, NULL, "needs an integration"},
        {TOPIC, NULL, "null", "needs an integration"},
        {TOPIC, NULL, "[]", "must be an object"},
        {TOPIC, NULL, "{'use_v3':false}", "no bootstrap_servers"},
        {TOPIC, NULL, "{'bootstrap_servers':['b:9092']}", "bootstrap_servers"},
        {TOPIC, NULL, "{'bootstrap_servers':''}", "host:port"},
        {TOPIC, NULL, "{'bootstrap_servers':'a:1,'}", "host:port"},
        {TOPIC, NULL, "{'bootstrap_servers':'a:0'}", "host:port"},
        {TOPIC, NULL, "{'bootstrap_servers':'a:65536'}", "host:port"},
        {TOPIC, NULL, "{'bootstrap_servers':'a:'}", "host:port"},
        {TOPIC, NULL, "{'bootstrap_servers':':1'}", "host:port"},
        {TOPIC, NULL, "{'bootstrap_servers':'a:1 '}", "host:port"},
        {TOPIC, NULL, "{'bootstrap_servers':'PLAINTEXT://a:1'}", "host:port"},
        {TOPIC, NULL, "{'bootstrap_servers':'[::1'}", "lacks a ']'"},
        {TOPIC, NULL, "{'bootstrap_servers':'[::1]9'}", "host:port"},
        {TOPIC, NULL, "{'bootstrap_servers':'[a/b]:9'}", "host:port"},
        {TOPIC, NULL, "{'bootstrap_servers':'b:9092','kafka_data_format':'AVRO'}", "must be JSON"},
        {TOPIC, NULL, "{'bootstrap_servers':'b:9092','schema_registry_config':{}}", "schema_registry_config"},
        {TOPIC, NULL, "{'bootstrap_servers':'b:9092','kafka_topic_names':['x']}", "not among"},
        {TOPIC, NULL, "{'bootstrap_servers':'b:9092','kafka_topic_names':['t',1]}", "array of strings"},
        {TOPIC, NULL, "{'bootstrap_servers':'b:9092','kafka_topic_names':'t'}", "array of strings"},
        {TOPIC, NULL, "{'bootstrap_servers':'b:9092','security_config':'x'}", "security_config"},
        {TOPIC, NULL, "{'bootstrap_servers':'b:9092','security_config':{'api_key':'k'}}", "secret"},
        {TOPIC, NULL, "{'bootstrap_servers':'b:9092','security_config':{'api_key':'','secret':'s'}}", "api_key"},
        {TOPIC, NULL, "{'bootstrap_servers':'b:9092','security_config':{'api_key':'k','secret':''}}", "secret"},
        {TOPIC, NULL, "{'bootstrap_servers':'b:9092','security_config':{'api_key':'k','secret':'s','x':1}}", "x"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct result r = check(cases[i].config, cases[i].format, cases[i].integration);
        if (r.code != ERR_INVALID) fail_msg("case %zu: %s", i, err_name(r.code));
        if (!strstr(err_detail(), cases[i].says)) fail_msg("case %zu: '%s' lacks '%s'", i, err_detail(), cases[i].says);
    }
}

static void test_integration_alone(void **state) {
    const struct source_driver *driver = source_driver_find("kafka");
    AUTO(json_unref) json_t *good = json_of("{'bootstrap_servers':'b:9092','kafka_topic_names':['a','b']}");
    ASSERT_OK(driver->check_integration(good));
    AUTO(json_unref) json_t *bad = json_of("{'bootstrap_servers':'b:9092','kafka_topic_names':['a',7]}");
    ASSERT_ERR(INVALID, driver->check_integration(bad));
    AUTO(json_unref) json_t *empty = json_object();
    ASSERT_ERR(INVALID, driver->check_integration(empty));
}

static void test_long(void **state) {
    BUF_AUTO(config, 1000);
    buf_append_str(&config, "{'kafka_topic_name':'");
    for (int i = 0; i < 249; i++)
        buf_append_byte(&config, 't');
    size_t at = config.len;
    buf_append_str(&config, "'}");
    ASSERT_OK(check(buf_str(&config), NULL, SERVERS));
    config.len = at;
    buf_append_str(&config, "t'}");
    ASSERT_ERR(INVALID, check(buf_str(&config), NULL, SERVERS));
}

static void test_no_secret_in_details(void **state) {
    ASSERT_ERR(INVALID, check(TOPIC, NULL,
                              "{'bootstrap_servers':'b:9092','security_config':{'api_key':'theApiKey','secret':"
                              "{'theSecret':1}}}"));
    assert_null(strstr(err_detail(), "theApiKey"));
    assert_null(strstr(err_detail(), "theSecret"));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_good),
    cmocka_unit_test(test_refused),
    cmocka_unit_test(test_integration_alone),
    cmocka_unit_test(test_long),
    cmocka_unit_test(test_no_secret_in_details),
};
TEST_MAIN(tests)
