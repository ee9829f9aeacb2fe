#include <string.h>

#include "api/call.h"
#include "lifecycle/recovery.h"
#include "lifecycle/writes.h"

enum { MAX_ANSWER_BYTES = 64 * 1024 * 1024, MAX_FENCES = 1000 };

static struct result write_docs(struct call *c,
                                struct result (*write)(const struct write *, struct buf *, struct refusal *)) {
    atomic_fetch_add(&c->api->metrics.writes, 1);
    AUTO(registry_collection_done) struct registry_collection row = {0};
    TRY(call_collection(c, &row));
    TRY(recovery_check(c->api->registry, &row, KEYLINK_WRITE, &c->why));
    const char *key = http_header(c->http, "Idempotency-Key");
    CHECK(!key || (*key && strlen(key) <= WRITE_MAX_KEY_BYTES), ERR_INVALID, "Idempotency-Key must have 1 to %d bytes",
          WRITE_MAX_KEY_BYTES);
    struct write w = {.tenant = call_tenant(c), .collection = &row, .body = http_body(c->http), .idempotency_key = key};
    BUF_AUTO(out, MAX_ANSWER_BYTES);
    struct result r = write(&w, &out, &c->why);
    if (is_ok(r)) r = buf_check(&out);
    if (is_err(r)) atomic_fetch_add(&c->api->metrics.writes_failed, 1);
    TRY(r);
    answer_text(c->http, 200, buf_slice(&out));
    return OK;
}

struct result docs_add(struct call *c) {
    return write_docs(c, write_add);
}

struct result docs_patch(struct call *c) {
    return write_docs(c, write_patch);
}

struct result docs_delete(struct call *c) {
    return write_docs(c, write_delete);
}

/* Are all of these fences committed? Without any: what is the newest? */
struct result docs_commit(struct call *c) {
    static const char *const members[] = {"name", NULL};
    AUTO(registry_collection_done) struct registry_collection row = {0};
    TRY(call_collection(c, &row));
    JSON_AUTO(body);
    TRY(call_body(c, members, false, &body));
    json_t *fences = NULL;
    const json_t *name = json_object_get(body, "name");
    if (name && !json_is_null(name)) TRY(json_get_array(body, "name", &fences));
    CHECK(json_array_size(fences) <= MAX_FENCES, ERR_INVALID, "more than %d fences", MAX_FENCES);
    uint64_t committed = write_committed(tenant_collection(call_tenant(c), &row)), highest = 0;
    for (size_t i = 0; i < json_array_size(fences); i++) {
        const char *fence = json_string_value(json_array_get(fences, i));
        CHECK(fence, ERR_INVALID, "name[%zu] must be a string: the last_offset of a write", i);
        uint64_t version;
        TRY(write_parse_fence(fence, &version));
        if (version > highest) highest = version;
    }
    BUF_AUTO(asked, 64);
    BUF_AUTO(newest, 64);
    write_print_fence(highest ? highest : committed, &asked);
    write_print_fence(committed, &newest);
    answer_json(c->http, 200,
                json_pack("{s:{s:b, s:s}, s:{s:s}}", "data", "passed", highest <= committed, "fence", buf_str(&asked),
                          "offsets", "commit", buf_str(&newest)));
    return OK;
}
