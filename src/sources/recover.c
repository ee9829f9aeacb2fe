#include "base/log.h"
#include "sources/sources_priv.h"

enum { MAX_WHY_BYTES = 4096 };

/* One source. A failure: it can't be said now. */
static struct result check_one(const struct registry_collection *c, const struct catalog *catalog, const json_t *source,
                               const json_t *integrations, bool *ret_has, char **ret_why) {
    static const _Atomic bool never = false;
    const struct source_driver *driver = config_driver(source);
    CHECK(driver, ERR_UNSUPPORTED, "this server doesn't know that kind of source");
    AUTO(kept_done) struct kept kept = {0};
    TRY(kept_find(&catalog->rows, json_string_value(json_object_get(source, "id")), &kept));
    struct source_spec spec;
    run_fill_spec(&spec, c->region, source, catalog_integration_of(source, integrations), &never);
    return driver->still_has(&spec, kept.position, ret_has, ret_why);
}

struct result sources_recover_check(struct sources *s, const struct registry_collection *c, bool *ret_recovered,
                                    char **ret_why, struct refusal *why) {
    struct tenant *t = tenants_get(sources_tenants(s), c->org);
    AUTO(catalog_done) struct catalog catalog = {0};
    JSON_AUTO(integrations);
    TRY(catalog_read(t, c, KEYLINK_RECOVER, &catalog, why));
    TRY(catalog_integrations(t, KEYLINK_RECOVER, &integrations, why));
    BUF_AUTO(missing, MAX_WHY_BYTES);
    size_t i;
    json_t *source;
    json_array_foreach(catalog.sources, i, source) {
        const char *id = json_string_value(json_object_get(source, "id"));
        bool has = false;
        AUTO_FREE char *text = NULL;
        struct result r = check_one(c, &catalog, source, integrations, &has, &text);
        if (is_err(r)) {
            AUTO_FREE char *detail = str_dup(err_detail());
            return refuse(why, r.code, 503, "NOT_READY", 5,
                          "Whether source '%s' of collection '%s.%s' still has everything can't be said now: %s", id,
                          c->workspace, c->name, text ? text : detail);
        }
        if (!has)
            buf_printf(&missing, "%sSource '%s': %s", missing.len ? " " : "", id, text ? text : "it is incomplete.");
    }
    *ret_recovered = missing.len == 0;
    *ret_why = missing.len ? str_dup(buf_str(&missing)) : NULL;
    return OK;
}
