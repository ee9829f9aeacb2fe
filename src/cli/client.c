#include "cli/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/secret.h"

enum { REPLY_MAX = 512 << 20, CALL_TIMEOUT_MS = 300000 };

static const char default_data[] = "lockset-data";

static const char *option_or_environment(const struct args *a, const char *option, const char *variable) {
    const char *value = args_get(a, option);
    if (!value) value = getenv(variable);
    return value && value[0] ? value : NULL;
}

static struct result find_region_url(const json_t *regions, const char *region, const char **ret) {
    BUF_AUTO(names, 1024);
    size_t i;
    json_t *item;
    json_array_foreach(regions, i, item) {
        const char *name, *url = NULL;
        TRY(json_get_str(item, "name", &name));
        TRY(json_opt_str(item, "api_url", &url));
        if (url && (!region || strcmp(name, region) == 0)) {
            *ret = url;
            return OK;
        }
        buf_printf(&names, "%s%s", names.len ? ", " : "", name);
    }
    FAIL(ERR_INVALID, "there is no region '%.60s' here; there are: %s", region ? region : "", buf_str(&names));
}

/* Address (of a region; NULL: the first) and token out of a running dev's dev.json. */
static struct result read_dev_json(const char *data, const char *region, char **url, char **token) {
    AUTO_FREE char *path = str_format("%s/dev.json", data);
    AUTO(buf_done) struct buf text;
    buf_init_wiping(&text, 1 << 20);
    struct result r = file_read(path, 1 << 20, &text);
    CHECK(r.code != ERR_NOT_FOUND, ERR_NOT_FOUND, "there is no %s; start `lockset dev --data %s` first", path, data);
    TRY(r);
    JSON_AUTO(object);
    TRY(json_parse_object(buf_slice(&text), &object));
    json_t *regions;
    const char *value;
    TRY(json_get_array(object, "regions", &regions));
    TRY(find_region_url(regions, region, &value));
    *url = str_dup(value);
    TRY(json_get_str(object, "operator_token", &value));
    *token = str_dup(value);
    return OK;
}

struct result client_init_in(struct client *c, const struct args *a, enum client_identity identity,
                             const char *region) {
    *c = (struct client){0};
    AUTO_FREE char *url = NULL;
    AUTO_FREE char *token = NULL;
    const char *data = args_get(a, "--data");
    const char *api = option_or_environment(a, "--api", "LOCKSET_API");
    if (data) {
        TRY(read_dev_json(data, region, &url, &token));
    } else if (api) {
        url = str_dup(api);
    } else {
        struct result r = read_dev_json(default_data, region, &url, &token);
        CHECK(r.code != ERR_NOT_FOUND, ERR_INVALID,
              "where is the API? Give --data DIR (of `lockset dev`), --api URL, or set LOCKSET_API");
        TRY(r);
    }
    const char *given_token = option_or_environment(a, "--token", "LOCKSET_TOKEN");
    const char *key = option_or_environment(a, "--api-key", "LOCKSET_API_KEY");
    if (identity == CLIENT_OPERATOR) {
        const char *used = given_token ? given_token : token;
        CHECK(used, ERR_INVALID, "this needs the operator's token: give --token, --data, or set LOCKSET_TOKEN");
        c->authorization = str_format("Operator %s", used);
    } else {
        CHECK(key, ERR_INVALID, "this needs an organization's API key: give --api-key or set LOCKSET_API_KEY");
        c->authorization = str_format("ApiKey %s", key);
    }
    /* What stands on the command line can be read by every user of the machine, until here. */
    args_wipe(a, "--token");
    args_wipe(a, "--api-key");
    size_t len = strlen(url);
    while (len > 0 && url[len - 1] == '/')
        url[--len] = '\0';
    c->url = TAKE(url);
    http_client_start();
    return http_pool_new(&c->pool);
}

struct result client_init(struct client *c, const struct args *a, enum client_identity identity) {
    return client_init_in(c, a, identity, args_get(a, "--region"));
}

void client_done(struct client *c) {
    http_pool_free(c->pool);
    mem_free(c->url);
    if (c->authorization) wipe(c->authorization, strlen(c->authorization));
    mem_free(c->authorization);
    *c = (struct client){0};
}

void client_answer_done(struct client_answer *a) {
    json_decref(a->body);
    *a = (struct client_answer){0};
}

struct result client_call(struct client *c, const char *method, const char *path, struct slice body,
                          struct client_answer *ret) {
    AUTO_FREE char *url = str_format("%s%s", c->url, path);
    struct http_field fields[] = {
        {"Authorization", c->authorization}, {"Content-Type", "application/json"}, {NULL, NULL}};
    struct http_call call = {.method = method,
                             .url = url,
                             .fields = fields,
                             .body = body,
                             .timeout_ms = CALL_TIMEOUT_MS,
                             .max_reply_bytes = REPLY_MAX};
    AUTO(http_reply_done) struct http_reply reply = {0};
    struct result r = http_call(c->pool, &call, &reply);
    if (is_err(r)) {
        AUTO_FREE char *why = str_dup(err_detail());
        FAIL(r.code, "%s: %s", c->url, why);
    }
    *ret = (struct client_answer){.status = reply.status};
    struct slice text;
    uint64_t seconds;
    if (http_reply_header(&reply, "Retry-After", &text) && is_ok(slice_to_u64(text, 3600, &seconds))) {
        ret->retry_after_s = (unsigned)seconds;
    }
    result_ignore(json_parse(buf_slice(&reply.body), &ret->body)); /* not JSON: body stays NULL */
    return OK;
}

const char *client_error_text(const struct client_answer *a) {
    const char *message = json_string_value(json_object_get(a->body, "message"));
    if (message) return message;
    return a->status == 404 ? "not found; is this the address of a Lockset API?" : "the API gave no reason";
}

static char *failure;

struct result client_fail(char *text) {
    mem_free(failure);
    failure = text;
    FAIL(ERR_PEER, "%s", text);
}

const char *client_failure(void) {
    return failure;
}

struct result client_number(const struct args *a, const char *option, uint64_t max, uint64_t *ret) {
    const char *text = args_get(a, option);
    if (!text) return OK;
    CHECK(is_ok(slice_to_u64(slice_str(text), max, ret)), ERR_INVALID,
          "%s must be a whole number from 0 to %llu, not '%.40s'", option, (unsigned long long)max, text);
    return OK;
}

struct result client_set(json_t *body, const char *member, const char *value, const char *what) {
    json_t *text = json_string(value);
    CHECK(text, ERR_INVALID, "%s is not valid UTF-8", what);
    json_object_set_new(body, member, text);
    return OK;
}

void client_print_checks(const json_t *checks) {
    size_t i;
    json_t *check;
    json_array_foreach(checks, i, check) {
        bool ok = json_is_true(json_object_get(check, "ok"));
        const char *name = json_string_value(json_object_get(check, "check"));
        const char *detail = json_string_value(json_object_get(check, "detail"));
        const char *mend = json_string_value(json_object_get(check, "mend"));
        fprintf(stderr, "  %-4s %-36s %s\n", ok ? "ok" : "FAIL", name ? name : "", detail ? detail : "");
        if (!ok && mend && mend[0]) fprintf(stderr, "       %-36s mend: %s\n", "", mend);
    }
}

struct result client_expect(struct client *c, const char *method, const char *path, struct slice body,
                            struct client_answer *ret) {
    AUTO(client_answer_done) struct client_answer answer = {0};
    TRY(client_call(c, method, path, body, &answer));
    if (answer.status >= 400) {
        client_print_checks(json_object_get(answer.body, "checks"));
        return client_fail(str_format("%s (HTTP %d)", client_error_text(&answer), answer.status));
    }
    *ret = answer;
    answer = (struct client_answer){0};
    return OK;
}

void client_print_json(const json_t *j) {
    char *text = json_dumps(j, JSON_INDENT(2) | JSON_ENCODE_ANY);
    printf("%s\n", text ? text : "null");
    mem_free(text);
}
