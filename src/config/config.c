#include "config/config.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "config/flatten.h"
#include "config/forms.h"
#include "config/stores.h"

enum setting_kind { SETTING_DURATION, SETTING_BYTES, SETTING_BOOL, SETTING_STRING, SETTING_UINT };

struct setting {
    const char *name;
    enum setting_kind kind;
    size_t offset;
    const char *preset;
    int64_t min, max; /* of the value; of the length for strings */
    const char *meaning;
};

static const struct setting settings[] = {
#define SETTING(name, kind, field, preset, min, max, meaning)                                                          \
    {name, SETTING_##kind, offsetof(struct config, field), preset, min, max, meaning},
#include "config/settings.def"
#undef SETTING
};

struct region_setting {
    const char *name;
    size_t offset;
    const char *meaning;
};

static const struct region_setting region_settings[] = {
    {"name", offsetof(struct config_region, name), "the region's name"},
    {"api.listen", offsetof(struct config_region, api_listen), "HOST:PORT of its API"},
    {"gateway.listen", offsetof(struct config_region, gateway_listen), "HOST:PORT of its gateway for other clients"},
    {"kms.endpoint", offsetof(struct config_region, kms_endpoint), "its KMS endpoint"},
    {"store.kind", offsetof(struct config_region, store_kind), "file or s3"},
    {"store.path", offsetof(struct config_region, store_path), "file: folder of its store"},
    {"store.encryption", offsetof(struct config_region, encryption), "sealed; s3: or sse-kms, sealed+sse-kms"},
    {"store.endpoint", offsetof(struct config_region, store_endpoint), "s3: http(s)://HOST[:PORT]; default: AWS's own"},
    {"store.region", offsetof(struct config_region, store_region), "s3: the region requests are signed for"},
    {"store.bucket", offsetof(struct config_region, store_bucket), "s3: the bucket"},
    {"store.prefix", offsetof(struct config_region, store_prefix), "s3: of every key in it"},
    {"store.path_style", offsetof(struct config_region, store_path_style), "s3: the bucket's name is in the path"},
    {"store.kms", offsetof(struct config_region, store_kms), "s3: none declares that it has no KMS"},
    {"store.profile", offsetof(struct config_region, store_profile), "s3: profile of AWS's shared files"},
    {"service_key_arn", offsetof(struct config_region, service_key_arn), "the operator's own KMS key there"},
};

/* A limit in the unit the setting is written in. */
static void format_limit(enum setting_kind kind, int64_t value, char ret[32]) {
    static const struct {
        int64_t factor;
        const char *unit;
    } durations[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}},
      sizes[] = {{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}, {1, ""}};
    if (kind == SETTING_DURATION && value > 0) {
        for (size_t i = 0; i < ARRAY_LEN(durations); i++) {
            /* Hours and days only when they read better than the smaller unit ("300s", not "5m"). */
            if (value % durations[i].factor == 0 && (durations[i].factor != 60000 || value > 300000)) {
                snprintf(ret, 32, "%lld%s", (long long)(value / durations[i].factor), durations[i].unit);
                return;
            }
        }
    } else if (kind == SETTING_BYTES && value > 0) {
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            if (value % sizes[i].factor == 0) {
                snprintf(ret, 32, "%lld%s", (long long)(value / sizes[i].factor), sizes[i].unit);
                return;
            }
        }
    }
    snprintf(ret, 32, "%lld%s", (long long)value, kind == SETTING_DURATION ? "s" : "");
}

static void format_range(const struct setting *s, char ret[96]) {
    char min[32], max[32];
    format_limit(s->kind, s->min, min);
    if (s->kind == SETTING_BOOL) {
        snprintf(ret, 96, "true or false");
    } else if (s->kind == SETTING_STRING) {
        if (s->min == s->max)
            snprintf(ret, 96, "%lld characters", (long long)s->min);
        else
            snprintf(ret, 96, "%lld to %lld characters", (long long)s->min, (long long)s->max);
    } else if (s->max == INT64_MAX) {
        snprintf(ret, 96, "%s or more", min);
    } else {
        format_limit(s->kind, s->max, max);
        snprintf(ret, 96, "%s to %s", min, max);
    }
}

/* A value in the wrong form: says where it stands. */
static struct result check_form(const char *name, const char *value, const char *where, const char *prefix) {
    struct result r = config_check_form(name, value);
    if (is_ok(r)) return OK;
    AUTO_FREE char *why = str_dup(err_detail());
    FAIL(r.code, "%s: %s%s: '%.64s' is not valid: %s", where, prefix, name, value, why);
}

static void *field_of(struct config *c, const struct setting *s) {
    return (uint8_t *)c + s->offset;
}

static void set_string(char **field, const char *value) {
    mem_free(*field);
    *field = str_dup(value);
}

/* `where` is "FILE:LINE" or "--set". */
static struct result apply_setting(struct config *c, const struct setting *s, const char *value, const char *where) {
    char range[96];
    format_range(s, range);
    int64_t number = 0;
    struct result parsed = OK;
    switch (s->kind) {
    case SETTING_STRING: {
        size_t len = strlen(value);
        CHECK((int64_t)len >= s->min && (int64_t)len <= s->max, ERR_INVALID,
              "%s: %s: '%.64s' has %zu characters; allowed: %s", where, s->name, value, len, range);
        TRY(check_form(s->name, value, where, ""));
        set_string(field_of(c, s), value);
        return OK;
    }
    case SETTING_BOOL:
        CHECK(!strcmp(value, "true") || !strcmp(value, "false"), ERR_INVALID,
              "%s: %s must be true or false, not '%.64s'", where, s->name, value);
        *(bool *)field_of(c, s) = value[0] == 't';
        return OK;
    case SETTING_DURATION:
        parsed = !strcmp(value, "0") ? OK : config_parse_duration(slice_str(value), &number);
        break;
    case SETTING_BYTES:
        parsed = config_parse_bytes(slice_str(value), &number);
        break;
    case SETTING_UINT: {
        uint64_t u = 0;
        parsed = slice_to_u64(slice_str(value), INT64_MAX, &u);
        number = (int64_t)u;
        break;
    }
    }
    if (is_err(parsed)) {
        AUTO_FREE char *why = str_dup(err_detail());
        FAIL(ERR_INVALID, "%s: %s: '%.64s' is not valid: %s (allowed: %s)", where, s->name, value, why, range);
    }
    CHECK(number >= s->min && number <= s->max, ERR_INVALID, "%s: %s: '%.64s' is out of range (allowed: %s)", where,
          s->name, value, range);
    *(int64_t *)field_of(c, s) = number;
    return OK;
}

static struct result apply_region(struct config *c, const char *key, const char *value, const char *where) {
    char *end;
    unsigned long index = strtoul(key, &end, 10);
    CHECK(end != key && *end == '.' && index < 64, ERR_INVALID,
          "%s: regions is a list; its items hold name, api.listen and so on ('regions.%.64s' is not one)", where, key);
    while (c->region_count <= index) {
        c->regions = mem_resize(c->regions, (c->region_count + 1) * sizeof(*c->regions));
        c->regions[c->region_count++] = (struct config_region){0};
    }
    for (size_t i = 0; i < ARRAY_LEN(region_settings); i++) {
        if (strcmp(region_settings[i].name, end + 1) != 0) continue;
        CHECK(value[0], ERR_INVALID, "%s: regions.%s is empty", where, key);
        TRY(check_form(region_settings[i].name, value, where, "a region's "));
        set_string((char **)(void *)((uint8_t *)&c->regions[index] + region_settings[i].offset), value);
        if (strncmp(end + 1, "store.", 6) == 0) set_string(&c->regions[index].store_where, where);
        return OK;
    }
    BUF_AUTO(known, 1024);
    for (size_t i = 0; i < ARRAY_LEN(region_settings); i++)
        buf_printf(&known, "%s%s", i ? ", " : "", region_settings[i].name);
    FAIL(ERR_INVALID, "%s: unknown key 'regions.%.64s'; a region has %s", where, key, buf_str(&known));
}

static struct result apply(struct config *c, const char *key, const char *value, const char *where) {
    if (!strncmp(key, "regions.", 8)) return apply_region(c, key + 8, value, where);
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        if (!strcmp(settings[i].name, key)) return apply_setting(c, &settings[i], value, where);
    }
    FAIL(ERR_INVALID, "%s: unknown key '%.96s'; `lockset config settings` lists what there is", where, key);
}

static struct result apply_file(struct config *c, const char *file) {
    BUF_AUTO(text, 1 << 20);
    struct result r = file_read(file, 1 << 20, &text);
    if (is_err(r)) {
        AUTO_FREE char *why = str_dup(err_detail());
        FAIL(r.code == ERR_NOT_FOUND ? ERR_NOT_FOUND : ERR_INVALID, "the configuration file can't be read: %s", why);
    }
    AUTO(yaml_pairs_done) struct yaml_pairs pairs = {0};
    TRY(yaml_flatten(file, buf_slice(&text), &pairs));
    for (size_t i = 0; i < pairs.count; i++) {
        for (size_t j = 0; j < i; j++) {
            CHECK(strcmp(pairs.items[i].key, pairs.items[j].key) != 0, ERR_INVALID,
                  "%s:%u: '%s' was already set in line %u", file, pairs.items[i].line, pairs.items[i].key,
                  pairs.items[j].line);
        }
        AUTO_FREE char *where = str_format("%s:%u", file, pairs.items[i].line);
        TRY(apply(c, pairs.items[i].key, pairs.items[i].value, where));
    }
    return OK;
}

static struct result make_absolute(char **path) {
    if (!*path || (*path)[0] == '/') return OK;
    char folder[PATH_MAX];
    if (!getcwd(folder, sizeof(folder))) return err_from_errno(errno, "the working folder");
    const char *rest = *path;
    while (!strncmp(rest, "./", 2))
        rest += 2;
    char *absolute = str_format("%s/%s", folder, rest);
    mem_free(*path);
    *path = absolute;
    return OK;
}

static struct result check_region(struct config *c, size_t index) {
    struct config_region *r = &c->regions[index];
    CHECK(r->name, ERR_INVALID, "regions.%zu has no name", index);
    for (size_t i = 0; i < index; i++) {
        CHECK(strcmp(c->regions[i].name, r->name) != 0, ERR_INVALID, "region %s is listed twice", r->name);
    }
    TRY(config_check_store(c, index));
    if (!r->store_path) r->store_path = str_format("%s/store/%s", c->data, r->name);
    TRY(make_absolute(&r->store_path));
    if (!r->kms_endpoint && c->kms_endpoint) r->kms_endpoint = str_dup(c->kms_endpoint);
    CHECK(
        !r->api_listen || c->api_tls_cert || config_is_this_host(slice_str(r->api_listen)), ERR_INVALID,
        "region %s: api.listen %s can be reached from other hosts, so it needs api.tls.cert and api.tls.key; behind a "
        "proxy of your own listen on 127.0.0.1",
        r->name, r->api_listen);
    CHECK(!r->gateway_listen || c->gateway_tls_cert || config_is_this_host(slice_str(r->gateway_listen)), ERR_INVALID,
          "region %s: gateway.listen %s can be reached from other hosts, so it needs gateway.tls.cert and "
          "gateway.tls.key; behind a proxy of your own listen on 127.0.0.1",
          r->name, r->gateway_listen);
    return OK;
}

static struct result check_price(const char *text) {
    const char *point = strchr(text, '.');
    bool is_number = text[strspn(text, "0123456789.")] == 0 && text[0] != '.' && (!point || !strchr(point + 1, '.'));
    CHECK(is_number, ERR_INVALID, "key.price_per_10000: '%.20s' is no price in dollars, such as 0.03", text);
    return OK;
}

/* What a single value can't show. */
static struct result check_whole(struct config *c) {
    TRY(make_absolute(&c->data));
    TRY(make_absolute(&c->aws_credentials_file));
    TRY(make_absolute(&c->engine_chdb));
    TRY(make_absolute(&c->operator_token_file));
    TRY(make_absolute(&c->webhook_secret_file));
    TRY(make_absolute(&c->api_tls_cert));
    TRY(make_absolute(&c->api_tls_key));
    TRY(make_absolute(&c->gateway_tls_cert));
    TRY(make_absolute(&c->gateway_tls_key));
    CHECK(!c->gateway_tls_cert == !c->gateway_tls_key, ERR_INVALID, "gateway.tls.cert and gateway.tls.key go together");
    CHECK(!c->api_tls_cert == !c->api_tls_key, ERR_INVALID, "api.tls.cert and api.tls.key go together");
    TRY(check_price(c->key_price_per_10000));
    for (size_t i = 0; i < c->region_count; i++)
        TRY(check_region(c, i));
    TRY(config_check_stores(c));
    /* Worst case from KMS's first refusal to the end: an interval (jitter only shortens it), a probe that runs into its
     * time-out, the confirming one that does too, and the ending of the processes. */
    int64_t worst = c->key_probe_interval_ms + 2 * c->key_kms_timeout_ms + 1000;
    int64_t worst_full = c->key_full_check_interval_ms + 2 * c->key_kms_timeout_ms + 1000;
    if (worst_full > worst) worst = worst_full;
    CHECK(worst <= c->key_denied_bound_ms, ERR_INVALID,
          "these settings can't keep key.denied_bound (%lld ms): interval + 2 x key.kms_timeout + 1 s is %lld ms; "
          "shorten "
          "key.probe_interval, key.full_check_interval or key.kms_timeout, or raise key.denied_bound",
          (long long)c->key_denied_bound_ms, (long long)worst);
    return OK;
}

struct result config_load(const char *file, const struct config_override *overrides, size_t override_count,
                          struct config **ret) {
    AUTO(config_free_auto) struct config *c = mem_alloc(sizeof(*c));
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        if (settings[i].preset) TRY(apply_setting(c, &settings[i], settings[i].preset, "default"));
    }
    if (file) TRY(apply_file(c, file));
    for (size_t i = 0; i < override_count; i++)
        TRY(apply(c, overrides[i].key, overrides[i].value, "--set"));
    struct result r = check_whole(c);
    if (is_err(r) && file) {
        AUTO_FREE char *why = str_dup(err_detail());
        size_t n = strlen(file);
        bool names_line = strncmp(why, file, n) == 0 && why[n] == ':';
        FAIL(r.code, "%s%s%s", names_line ? "" : file, names_line ? "" : ": ", why);
    }
    TRY(r);
    *ret = TAKE(c);
    return OK;
}

struct config *config_free(struct config *c) {
    if (!c) return NULL;
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        if (settings[i].kind == SETTING_STRING) mem_free(*(char **)field_of(c, &settings[i]));
    }
    for (size_t i = 0; i < c->region_count; i++) {
        for (size_t j = 0; j < ARRAY_LEN(region_settings); j++) {
            mem_free(*(char **)(void *)((uint8_t *)&c->regions[i] + region_settings[j].offset));
        }
        mem_free(c->regions[i].store_where);
    }
    mem_free(c->regions);
    mem_free(c);
    return NULL;
}

const struct config_region *config_find_region(const struct config *c, const char *name) {
    for (size_t i = 0; i < c->region_count; i++) {
        if (!strcmp(c->regions[i].name, name)) return &c->regions[i];
    }
    return NULL;
}

/* A double-quoted YAML scalar holds any text once quotes and backslashes are escaped, as JSON does. */
static void write_quoted(struct buf *out, const char *text) {
    buf_append_byte(out, '"');
    for (const char *p = text; *p; p++) {
        if (*p == '"' || *p == '\\') buf_append_byte(out, '\\');
        buf_append_byte(out, (uint8_t)*p);
    }
    buf_append_byte(out, '"');
}

void config_write(const struct config *c, struct buf *out) {
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        const struct setting *s = &settings[i];
        const uint8_t *field = (const uint8_t *)c + s->offset;
        if (s->kind == SETTING_STRING) {
            const char *text = *(const char *const *)(const void *)field;
            if (!text) continue;
            buf_printf(out, "%s: ", s->name);
            write_quoted(out, text);
            buf_append_str(out, "\n");
        } else if (s->kind == SETTING_BOOL) {
            buf_printf(out, "%s: %s\n", s->name, *(const bool *)field ? "true" : "false");
        } else {
            buf_printf(out, "%s: %lld%s\n", s->name, (long long)*(const int64_t *)(const void *)field,
                       s->kind == SETTING_DURATION ? "ms" : "");
        }
    }
    if (c->region_count == 0) return;
    buf_append_str(out, "regions:\n");
    for (size_t i = 0; i < c->region_count; i++) {
        const char *lead = "  - ";
        for (size_t j = 0; j < ARRAY_LEN(region_settings); j++) {
            const char *text =
                *(const char *const *)(const void *)((const uint8_t *)&c->regions[i] + region_settings[j].offset);
            if (!text || !text[0]) continue;
            buf_printf(out, "%s%s: ", lead, region_settings[j].name);
            write_quoted(out, text);
            buf_append_str(out, "\n");
            lead = "    ";
        }
    }
}

void config_describe(struct buf *out) {
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        char range[96];
        format_range(&settings[i], range);
        buf_printf(out, "%-30s %-14s %s\n%-30s %-14s %s\n", settings[i].name,
                   settings[i].preset ? settings[i].preset : "-", settings[i].meaning, "", "", range);
    }
    for (size_t i = 0; i < ARRAY_LEN(region_settings); i++) {
        buf_printf(out, "regions[].%-20s %-14s %s\n", region_settings[i].name, "-", region_settings[i].meaning);
    }
}
