#include "keyring/ring.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "keyring/key_file.h"

enum { ID_BYTES = 16 };

void ring_done(struct ring *r) {
    registry_wrapped_key_done(&r->branch);
    registry_wrapped_key_done(&r->names);
}

/* A call for the ledger: no ciphertext, no plaintext. */
static json_t *describe_call(const char *purpose, const struct kms_request *request, const struct kms_answer *a) {
    json_t *context = json_object();
    for (const struct kms_context *c = request->context; c && c->name; c++)
        json_object_set_new(context, c->name, json_string(c->value));
    int64_t took_ms = (clock_boottime_ns() - a->sent_boottime_ns) / NS_PER_MS;
    char sent[CLOCK_ISO_BYTES];
    clock_format_iso(clock_unix_ms() - took_ms, sent);
    json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:I, s:o}", "purpose", purpose, "operation",
                          kms_operation_name(request->operation), "key", request->key_id, "sent", sent, "took_ms",
                          (json_int_t)took_ms, "context", context);
    json_object_set_new(j, "request_id", json_string(a->request_id));
    if (a->earlier_request_id[0]) json_object_set_new(j, "earlier_request_id", json_string(a->earlier_request_id));
    if (a->attempts != 1) json_object_set_new(j, "attempts", json_integer(a->attempts));
    json_object_set_new(j, "outcome", json_string(kms_error_name(a->error)));
    if (a->error == KMS_OK && a->key.state[0]) json_object_set_new(j, "key_state", json_string(a->key.state));
    if (a->code[0]) json_object_set_new(j, "aws_error", json_string(a->code));
    if (a->error != KMS_OK) json_object_set_new(j, "message", json_string(a->message));
    return j;
}

static void record_call(const struct ring_place *p, const char *purpose, const struct kms_request *request,
                        struct kms_answer *answer) {
    if (!p->ledger) return;
    struct result recorded = ledger_append(p->ledger, "kms", describe_call(purpose, request, answer), LEDGER_BATCHED);
    if (is_ok(recorded) || answer->error != KMS_OK) return;
    int64_t sent_ns = answer->sent_boottime_ns;
    kms_answer_done(answer);
    answer->error = KMS_UNKNOWN;
    answer->sent_boottime_ns = sent_ns;
    snprintf(answer->message, sizeof answer->message, "%s", err_detail());
}

static enum cost_cause cause_of(const char *purpose, enum kms_operation operation) {
    if (strcmp(purpose, "probe") == 0) return operation == KMS_DECRYPT ? COST_PROBE : COST_FULL_CHECK;
    if (strcmp(purpose, "preflight") == 0) return COST_PREFLIGHT;
    if (strcmp(purpose, "check") == 0) return COST_CHECK;
    return strcmp(purpose, "unwrap") == 0 ? COST_UNWRAP : COST_NEW_KEY;
}

void ring_call(const struct ring_place *p, const char *purpose, const struct kms_request *request,
               struct kms_answer *ret) {
    /* One more attempt where the first one failed fast; the whole stays within the time-out. */
    struct kms_call_options options = {
        .attempt_timeout_ms = p->timeout_ms, .total_timeout_ms = p->timeout_ms, .max_attempts = 2};
    struct result asked = kms_client_call(p->kms, request, &options, ret);
    if (is_ok(asked)) {
        meter_count(p->meter, request->operation, ret);
        cost_count(p->cost, cause_of(purpose, request->operation), request->operation, ret->attempts);
        record_call(p, purpose, request, ret);
        return;
    }
    kms_answer_done(ret);
    ret->error = KMS_UNKNOWN;
    ret->sent_boottime_ns = clock_boottime_ns();
    snprintf(ret->message, sizeof ret->message, "could not ask: %s", err_detail());
}

struct context {
    struct kms_context pairs[4];
};

static struct context context_of(const struct ring_place *p, enum registry_key_kind kind, const char *id) {
    return (struct context){{{"lockset:org", p->org},
                             {"lockset:region", p->region},
                             {kind == REGISTRY_BRANCH_KEY ? "lockset:branch" : "lockset:names", id},
                             {NULL, NULL}}};
}

static struct result fail_by(const struct verdict *v, const char *what) {
    enum err_code code = v->kind == VERDICT_REFUSED   ? ERR_NO_LEASE
                         : v->kind == VERDICT_CORRUPT ? ERR_CORRUPT
                                                      : ERR_UNREACHABLE;
    return err_make(code, "%s: %.40s %.160s", what, v->aws_error, v->text);
}

/* ---- Making and unwrapping ---- */

static char *new_id(void) {
    uint8_t bytes[ID_BYTES];
    if (is_err(random_bytes(bytes, sizeof bytes))) return NULL;
    BUF_AUTO(hex, 64);
    hex_encode(slice_make(bytes, sizeof bytes), &hex);
    return buf_take_str(&hex);
}

struct result ring_generate(const struct ring_place *p, enum registry_key_kind kind, struct registry_wrapped_key *ret,
                            struct verdict *verdict) {
    *verdict = (struct verdict){.kind = VERDICT_SILENT};
    AUTO_FREE char *id = new_id();
    CHECK(id, ERR_INTERNAL, "no random bytes");
    struct context context = context_of(p, kind, id);
    struct kms_request request = {
        .operation = KMS_GENERATE_DATA_KEY, .key_id = p->kms_key_arn, .context = context.pairs};
    KMS_ANSWER_AUTO(answer);
    ring_call(p, "new_key", &request, &answer);
    verdict_of(&answer, request.operation, verdict);
    if (verdict->kind != VERDICT_GOOD) return fail_by(verdict, "GenerateDataKey");
    *ret = (struct registry_wrapped_key){
        .id = TAKE(id),
        .org = str_dup(p->org),
        .region = str_dup(p->region),
        .kind = kind,
        .kms_key_arn = str_dup(p->kms_key_arn),
        .material_id = str_dup(answer.material_id),
        .created_at_ms = clock_unix_ms(),
        .active = kind == REGISTRY_BRANCH_KEY,
    };
    buf_init(&ret->wrapped, KMS_MAX_CIPHERTEXT_BYTES);
    buf_append_slice(&ret->wrapped, buf_slice(&answer.ciphertext));
    return OK;
}

struct result ring_new_branch(const struct ring_place *p, struct registry_wrapped_key *ret, struct verdict *verdict) {
    AUTO(registry_wrapped_key_done) struct registry_wrapped_key k = {0};
    TRY(ring_generate(p, REGISTRY_BRANCH_KEY, &k, verdict));
    TRY(key_file_write(p->shelf, &k));
    TRY(registry_add_wrapped_key(p->registry, &k));
    *ret = k;
    k = (struct registry_wrapped_key){0};
    return OK;
}

struct result ring_unwrap(const struct ring_place *p, const struct registry_wrapped_key *k, struct secret *ret,
                          struct verdict *verdict) {
    struct context context = context_of(p, k->kind, k->id);
    struct kms_request request = {.operation = KMS_DECRYPT,
                                  .key_id = p->kms_key_arn,
                                  .ciphertext = buf_slice(&k->wrapped),
                                  .context = context.pairs};
    KMS_ANSWER_AUTO(answer);
    ring_call(p, "unwrap", &request, &answer);
    verdict_of(&answer, request.operation, verdict);
    if (verdict->kind != VERDICT_GOOD) return fail_by(verdict, "Decrypt");
    CHECK(answer.plaintext.len == KEY_BYTES, ERR_CORRUPT, "the wrapped key %.32s holds %zu bytes, not %d", k->id,
          answer.plaintext.len, KEY_BYTES);
    *ret = answer.plaintext;
    answer.plaintext = (struct secret){0};
    return OK;
}

static struct result find_in_registry(const struct ring_place *p, const char *id, struct registry_wrapped_key *ret) {
    AUTO(registry_wrapped_keys_done) struct registry_wrapped_keys list = {0};
    TRY(registry_list_wrapped_keys(p->registry, p->org, p->region, &list));
    for (size_t i = 0; i < list.count; i++) {
        if (strcmp(list.items[i].id, id) != 0) continue;
        *ret = list.items[i];
        list.items[i] = (struct registry_wrapped_key){0};
        return OK;
    }
    FAIL(ERR_NOT_FOUND, "there is no wrapped key %.32s of %.32s", id, p->org);
}

struct result ring_unwrap_id(const struct ring_place *p, const uint8_t id[static 16], struct secret *ret,
                             struct verdict *verdict) {
    *verdict = (struct verdict){.kind = VERDICT_SILENT};
    BUF_AUTO(hex, 64);
    hex_encode(slice_make(id, ID_BYTES), &hex);
    AUTO(registry_wrapped_key_done) struct registry_wrapped_key k = {0};
    struct result found = key_file_read(p->shelf, p->org, p->region, buf_str(&hex), &k);
    if (is_err(found)) TRY(find_in_registry(p, buf_str(&hex), &k));
    CHECK(k.kind == REGISTRY_BRANCH_KEY, ERR_NOT_FOUND, "%.32s is no branch key", k.id);
    return ring_unwrap(p, &k, ret, verdict);
}

/* ---- Loading ---- */

static const struct registry_wrapped_key *by_id(const struct registry_wrapped_keys *list, const char *id) {
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i].id, id) == 0) return &list->items[i];
    return NULL;
}

/* Takes the youngest branch and the name key out of a list. */
static void pick(struct registry_wrapped_keys *list, struct ring *r) {
    for (size_t i = 0; i < list->count; i++) {
        struct registry_wrapped_key *k = &list->items[i];
        bool is_branch = k->kind == REGISTRY_BRANCH_KEY;
        struct registry_wrapped_key *place = is_branch ? &r->branch : &r->names;
        if (place->id && !(is_branch && k->created_at_ms > place->created_at_ms)) continue;
        registry_wrapped_key_done(place);
        *place = *k;
        *k = (struct registry_wrapped_key){0};
    }
}

struct result ring_load(const struct ring_place *p, struct ring *ret, size_t *ret_healed) {
    AUTO(registry_wrapped_keys_done) struct registry_wrapped_keys known = {0};
    AUTO(registry_wrapped_keys_done) struct registry_wrapped_keys stored = {0};
    size_t healed = 0, refused = 0;
    TRY(registry_list_wrapped_keys(p->registry, p->org, p->region, &known));
    TRY(key_file_list(p->shelf, p->org, p->region, &stored, &refused));
    for (size_t i = 0; i < known.count; i++) {
        if (by_id(&stored, known.items[i].id)) continue;
        /* A damaged file is not overwritten: someone should look at it, and the registry's copy does. */
        if (is_ok(key_file_write(p->shelf, &known.items[i]))) healed++;
    }
    for (size_t i = 0; i < stored.count; i++) {
        if (by_id(&known, stored.items[i].id)) continue;
        /* A registry restored from an old copy: the store knows better. */
        stored.items[i].active = false;
        TRY(registry_add_wrapped_key(p->registry, &stored.items[i]));
        healed++;
    }
    AUTO(ring_done) struct ring r = {0};
    pick(&known, &r);
    pick(&stored, &r);
    CHECK(r.branch.id && r.names.id, ERR_CORRUPT,
          "the wrapped keys of %.32s in %.32s are missing, in the registry and in the store%s", p->org, p->region,
          refused ? "; damaged files were found there" : "");
    if (!r.branch.active) {
        r.branch.active = true;
        TRY(registry_add_wrapped_key(p->registry, &r.branch));
    }
    *ret = r;
    r = (struct ring){0};
    *ret_healed = healed;
    return OK;
}
