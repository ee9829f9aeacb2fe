#include "lifecycle/staging.h"

#include <stdio.h>

#include "base/crypto.h"

enum { CLEAR_MS = 10000 };

struct result staging_open(struct tenant *t, const struct keylink_engine *engine, struct staging *ret) {
    uint8_t random[10];
    TRY(random_bytes(random, sizeof random));
    BUF_AUTO(hex, sizeof random * 2);
    hex_encode(slice_make(random, sizeof random), &hex);
    struct staging s = {.tenant = t, .engine = *engine};
    /* No workspace can have a name with a dot in it. */
    snprintf(s.database, sizeof s.database, "lockset_input.%s", buf_str(&hex));
    AUTO_FREE char *sql = str_format("CREATE DATABASE `%s` ENGINE = Memory", s.database);
    TRY(tenant_run(t, engine, sql));
    *ret = s;
    return OK;
}

void staging_close(struct staging *s) {
    if (!s->tenant) return;
    AUTO_FREE char *sql = str_format("DROP DATABASE IF EXISTS `%s`", s->database);
    result_ignore(tenant_run(s->tenant, &s->engine, sql)); /* an engine that is gone has dropped it */
    *s = (struct staging){0};
}

struct result staging_clear(struct tenant *t, const struct keylink_engine *engine) {
    struct engine_call call = {
        .role = ENGINE_WRITER,
        .query = slice_str("SELECT name FROM system.databases WHERE startsWith(name, 'lockset_input.')"),
        .format = "TSVRaw",
        .timeout_ms = CLEAR_MS};
    AUTO(engine_reply_done) struct engine_reply reply = {0};
    TRY(tenant_call(t, engine, &call, &reply));
    struct slice rest = buf_slice(&reply.body), name;
    while (rest.len) {
        slice_cut(rest, '\n', &name, &rest);
        AUTO_FREE char *sql = str_format("DROP DATABASE IF EXISTS `%.*s`", (int)name.len, (const char *)name.data);
        if (name.len) TRY(tenant_run(t, engine, sql));
    }
    return OK;
}

struct result staging_call(struct staging *s, struct engine_call *call, struct engine_reply *ret) {
    return tenant_call(s->tenant, &s->engine, call, ret);
}
