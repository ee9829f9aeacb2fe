#include "testing.h"

#include <string.h>

#include "api/call.h"

static void test_routes(void **state) {
    static const struct {
        const char *method, *path, *pattern; /* NULL: not found */
        const char *first, *second;
    } cases[] = {
        {"GET", "/", "/", NULL, NULL},
        {"GET", "", "/", NULL, NULL},
        {"GET", "/v1/orgs/self", "/v1/orgs/self", NULL, NULL},
        {"HEAD", "//v1///orgs/self/", "/v1/orgs/self", NULL, NULL},
        {"GET", "/v1/orgs/self/ws/a", "/v1/orgs/self/ws/{}", "a", NULL},
        {"POST", "/v1/orgs/self/ws/a/collections/b%2Dc/docs", "/v1/orgs/self/ws/{}/collections/{}/docs", "a", "b-c"},
        {"GET", "/v1/orgs/self/ws/a%2Fb/collections/c", "/v1/orgs/self/ws/{}/collections/{}", "a/b", "c"},
        {"GET", "/v1/admin/orgs/acme/regions/us-west-2", "/v1/admin/orgs/{}/regions/{}", "acme", "us-west-2"},
        {"GET", "/v1/orgs/other", NULL, NULL, NULL},
        {"GET", "/v1/orgs/self/ws/a/b", NULL, NULL, NULL},
        {"GET", "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p", NULL, NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(router_match_done) struct router_match m = {0};
        struct result r = router_find(api_routes, cases[i].method, slice_str(cases[i].path), &m);
        if (!cases[i].pattern) {
            assert_int_equal(r.code, ERR_NOT_FOUND);
            continue;
        }
        if (is_err(r)) fail_msg("%s: %s", cases[i].path, err_detail());
        assert_string_equal(m.route->pattern, cases[i].pattern);
        if (cases[i].first) assert_string_equal(m.params[0], cases[i].first);
        if (cases[i].second) assert_string_equal(m.params[1], cases[i].second);
    }
}

static void test_methods_and_escapes(void **state) {
    AUTO(router_match_done) struct router_match m = {0};
    ASSERT_ERR(METHOD, router_find(api_routes, "PUT", slice_str("/v1/orgs/self/ws/a/collections/b/docs"), &m));
    assert_non_null(strstr(err_detail(), "POST, PATCH, DELETE"));
    ASSERT_ERR(INVALID, router_find(api_routes, "GET", slice_str("/v1/orgs/self/ws/%zz"), &m));
    ASSERT_ERR(INVALID, router_find(api_routes, "GET", slice_str("/v1/orgs/self/ws/%00"), &m));
    ASSERT_ERR(INVALID, router_find(api_routes, "GET", slice_str("/v1/orgs/self/ws/%ff"), &m));
}

/* Nothing but the public pages is reachable without credentials. */
static void test_what_is_public(void **state) {
    for (const struct router_route *r = api_routes; r->method; r++) {
        bool is_admin = strncmp(r->pattern, "/v1/admin/", 10) == 0,
             is_self = strncmp(r->pattern, "/v1/orgs/self", 13) == 0;
        bool is_own = r->access == ROUTER_ORGANIZATION || r->access == ROUTER_STORE || r->access == ROUTER_ANYWHERE;
        assert_int_equal(r->access == ROUTER_OPERATOR, is_admin);
        assert_int_equal(is_own, is_self);
        if (r->access == ROUTER_PUBLIC) assert_string_equal(r->method, "GET");
    }
}

static void test_credentials(void **state) {
    assert_string_equal(auth_credentials("ApiKey abc", "ApiKey"), "abc");
    assert_string_equal(auth_credentials("apikey  abc", "ApiKey"), "abc");
    assert_null(auth_credentials(NULL, "ApiKey"));
    assert_null(auth_credentials("ApiKey", "ApiKey"));
    assert_null(auth_credentials("ApiKey ", "ApiKey"));
    assert_null(auth_credentials("ApiKeyabc", "ApiKey"));
    assert_null(auth_credentials("Operator abc", "ApiKey"));
    char hash[REGISTRY_HASH_HEX + 1];
    ASSERT_OK(auth_hash(slice_str("abc"), hash));
    assert_string_equal(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void test_error_models(void **state) {
    JSON_AUTO(model);
    model = answer_error_model("cut in a character \xc3", answer_error_type(ERR_NOT_FOUND), NULL);
    assert_string_equal(json_string_value(json_object_get(model, "type")), "NOTFOUND");
    assert_true(json_is_string(json_object_get(model, "message")));
    assert_true(json_is_null(json_object_get(model, "line")));
    assert_true(json_is_string(json_object_get(model, "trace_id")));
    assert_string_equal(answer_error_type(ERR_IO), "INTERNALERROR");
    assert_string_equal(answer_error_type(ERR_METHOD), "METHODNOTALLOWED");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_routes),         cmocka_unit_test(test_methods_and_escapes),
        cmocka_unit_test(test_what_is_public), cmocka_unit_test(test_credentials),
        cmocka_unit_test(test_error_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
