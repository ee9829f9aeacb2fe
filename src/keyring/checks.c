#include "keyring/checks.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void checks_answers_done(struct checks_answers *a) {
    for (int i = 0; i < KMS_OPERATION_MAX; i++)
        kms_answer_done(&a->answers[i]);
}

static struct check *add(struct checks *c, const char *name, bool ok) {
    if (c->count == CHECKS_MAX) return &c->items[CHECKS_MAX - 1]; /* can't happen: the list is fixed */
    struct check *k = &c->items[c->count++];
    *k = (struct check){.name = name, .ok = ok};
    return k;
}

__attribute__((format(printf, 2, 3))) static void detail(struct check *k, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(k->detail, sizeof k->detail, format, args);
    va_end(args);
}

__attribute__((format(printf, 2, 3))) static void mend(struct check *k, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(k->mend, sizeof k->mend, format, args);
    va_end(args);
}

/* What the refusals of actions say about the key itself. */
struct findings {
    const struct kms_answer *state;  /* an answer that shows the key unusable; NULL: none */
    const struct kms_answer *usage;  /* InvalidKeyUsage */
    const struct kms_answer *absent; /* NotFound */
    bool is_described;
};

static struct findings find(const struct checks_answers *a) {
    struct findings f = {0};
    for (int i = 0; i < KMS_OPERATION_MAX; i++) {
        const struct kms_answer *k = &a->answers[i];
        if (!a->asked[i]) continue;
        if (k->error == KMS_DISABLED || k->error == KMS_INVALID_STATE) f.state = k;
        if (k->error == KMS_INVALID_KEY_USAGE) f.usage = k;
        if (k->error == KMS_NOT_FOUND) f.absent = k;
    }
    f.is_described = a->asked[KMS_DESCRIBE_KEY] && a->answers[KMS_DESCRIBE_KEY].error == KMS_OK;
    return f;
}

static const char *message_of(const struct kms_answer *k) {
    return k->message[0] ? k->message : k->code[0] ? k->code : kms_error_name(k->error);
}

static void check_existence(struct checks *c, const struct checks_answers *a, const struct findings *f) {
    if (f->absent) {
        struct check *k = add(c, "exists", false);
        detail(k, "%s", message_of(f->absent));
        mend(
            k,
            "Check the ARN: account, region and key id. If the key was just created, wait a few seconds and try again. "
            "A Multi-Region key must have been replicated to %s.",
            a->region);
        return;
    }
    bool is_there = f->is_described || f->state || f->usage;
    for (int i = 0; i < KMS_OPERATION_MAX; i++)
        if (a->asked[i] && a->answers[i].error == KMS_OK) is_there = true;
    if (is_there) detail(add(c, "exists", true), "KMS knows the key");
}

static const char *mend_of_state(const char *state) {
    if (strcmp(state, "Disabled") == 0) return "Enable the key: aws kms enable-key.";
    if (strcmp(state, "PendingDeletion") == 0 || strcmp(state, "PendingReplicaDeletion") == 0)
        return "Cancel the deletion (aws kms cancel-key-deletion), then enable the key (aws kms enable-key).";
    if (strcmp(state, "Creating") == 0) return "Wait until the key is created, then try again.";
    if (strcmp(state, "PendingImport") == 0)
        return "Import the key material, or use a key whose material AWS KMS made.";
    return "Bring the key into state Enabled.";
}

static void check_state(struct checks *c, const struct checks_answers *a, const struct findings *f) {
    const struct kms_key_metadata *m = &a->answers[KMS_DESCRIBE_KEY].key;
    if (f->is_described) {
        bool ok = strcmp(m->state, "Enabled") == 0 || strcmp(m->state, "Updating") == 0;
        /* DescribeKey and the use of a key may disagree for a moment; the use decides. */
        if (!ok || !f->state) {
            struct check *k = add(c, "state", ok);
            detail(k, "the key's state is %s", m->state);
            if (!ok) mend(k, "%s", mend_of_state(m->state));
            return;
        }
    }
    if (!f->state) return;
    struct check *k = add(c, "state", false);
    detail(k, "%s", message_of(f->state));
    mend(k, "%s", mend_of_state(f->state->error == KMS_DISABLED ? "Disabled" : "PendingDeletion"));
}

static void check_kind(struct checks *c, const struct checks_answers *a, const struct findings *f) {
    const struct kms_key_metadata *m = &a->answers[KMS_DESCRIBE_KEY].key;
    static const char *const another = "This can't be changed on a key: create a symmetric Multi-Region key for "
                                       "encryption (aws kms create-key --multi-region) and use that.";
    if (!f->is_described) {
        if (!f->usage) return;
        struct check *k = add(c, "key_usage", false);
        detail(k, "%s", message_of(f->usage));
        mend(k, "%s", another);
        return;
    }
    struct check *k = add(c, "key_spec", strcmp(m->spec, "SYMMETRIC_DEFAULT") == 0);
    detail(k, "the key's spec is %s", m->spec);
    if (!k->ok) mend(k, "%s", another);
    k = add(c, "key_usage", strcmp(m->usage, "ENCRYPT_DECRYPT") == 0);
    detail(k, "the key's usage is %s", m->usage);
    if (!k->ok) mend(k, "%s", another);
    if (a->needs_multi_region) {
        k = add(c, "multi_region", m->is_multi_region);
        detail(k, m->is_multi_region ? "a Multi-Region key (%s)" : "a single-Region key%s", m->multi_region_type);
        if (!k->ok) mend(k, "%s", another);
    }
    struct arn_kms_key arn;
    bool is_key = is_ok(arn_parse_kms_key(slice_str(m->arn), &arn));
    k = add(c, "region", is_key && strcmp(arn.region, a->region) == 0);
    detail(k, "the key is in %s", is_key ? arn.region : "an unknown region");
    if (!k->ok) mend(k, "Give the ARN of the key's replica in %s; create one if there is none.", a->region);
}

/* Could a working policy have led to this answer, so that it says nothing about the action? */
static bool says_nothing(enum kms_error e) {
    return e != KMS_OK && e != KMS_ACCESS_DENIED;
}

static void check_action(struct checks *c, const struct checks_answers *a, enum kms_operation o) {
    const struct kms_answer *k = &a->answers[o];
    if (!a->asked[o] || says_nothing(k->error)) return;
    bool ok = k->error == KMS_OK;
    if (ok && o == KMS_DECRYPT && a->decrypt_is_bogus) return;
    struct check *added = add(c, kms_operation_action(o), ok);
    if (ok) {
        detail(added, "%s works", kms_operation_name(o));
        return;
    }
    detail(added, "%s", message_of(k));
    mend(added,
         "Allow %s to arn:aws:iam::%s:root in the key's policy, and remove what denies it. Lockset prints the whole "
         "statement: lockset key policy. If nothing at all is allowed, check that the key exists: AWS gives other "
         "accounts the same answer for a key that is missing.",
         kms_operation_action(o), a->service_account_id);
}

/* The weightiest of the answers: a refusal, then corruption, then silence. */
static void judge(const struct checks_answers *a, struct checks *c) {
    static const int weight[VERDICT_MAX] = {
        [VERDICT_GOOD] = 0, [VERDICT_SILENT] = 1, [VERDICT_CORRUPT] = 2, [VERDICT_REFUSED] = 3};
    struct verdict worst = {.kind = VERDICT_GOOD};
    /* The use of the key speaks more plainly than its description: DescribeKey comes last. */
    static const enum kms_operation order[] = {KMS_DECRYPT, KMS_ENCRYPT, KMS_GENERATE_DATA_KEY,
                                               KMS_GENERATE_DATA_KEY_WITHOUT_PLAINTEXT, KMS_DESCRIBE_KEY};
    struct verdict described = {0};
    bool was_all_asked = true;
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        enum kms_operation o = order[i];
        if (!a->asked[o]) {
            was_all_asked = false;
            continue;
        }
        struct verdict v;
        verdict_of(&a->answers[o], o, &v);
        if (o == KMS_DECRYPT && a->decrypt_is_bogus && v.kind != VERDICT_REFUSED) v.kind = VERDICT_SILENT;
        if (o == KMS_DESCRIBE_KEY) described = v;
        if (weight[v.kind] > weight[worst.kind]) worst = v;
    }
    /* What was left out was so for what came before it, which tells the reason. */
    if (worst.kind == VERDICT_GOOD && !was_all_asked)
        worst = (struct verdict){.kind = VERDICT_SILENT, .text = "not every question was asked"};
    worst.knows_deletion = described.knows_deletion;
    worst.has_deletion = described.has_deletion;
    worst.deletion_unix_ms = described.deletion_unix_ms;
    c->verdict = worst;
}

void checks_evaluate(const struct checks_answers *a, struct checks *ret) {
    *ret = (struct checks){0};
    struct findings f = find(a);
    check_existence(ret, a, &f);
    check_state(ret, a, &f);
    check_kind(ret, a, &f);
    static const enum kms_operation actions[] = {KMS_DESCRIBE_KEY, KMS_ENCRYPT, KMS_DECRYPT, KMS_GENERATE_DATA_KEY,
                                                 KMS_GENERATE_DATA_KEY_WITHOUT_PLAINTEXT};
    for (size_t i = 0; i < ARRAY_LEN(actions); i++)
        check_action(ret, a, actions[i]);
    judge(a, ret);
    bool all_hold = true;
    for (size_t i = 0; i < ret->count; i++)
        all_hold = all_hold && ret->items[i].ok;
    size_t full = a->needs_multi_region ? 11 : 10;
    ret->passed = all_hold && ret->count == full && ret->verdict.kind == VERDICT_GOOD;
    if (!ret->passed && ret->verdict.kind == VERDICT_GOOD) {
        /* Every call went well, and yet a property is wrong (a single-Region key). */
        ret->verdict.kind = VERDICT_REFUSED;
        for (size_t i = 0; i < ret->count; i++)
            if (!ret->items[i].ok)
                snprintf(ret->verdict.text, sizeof ret->verdict.text, "%.400s", ret->items[i].detail);
    }
}

json_t *checks_to_json(const struct checks *c) {
    json_t *list = json_array();
    for (size_t i = 0; i < c->count; i++) {
        const struct check *k = &c->items[i];
        json_t *item = json_object();
        json_object_set_new(item, "check", json_string(k->name));
        json_object_set_new(item, "ok", json_boolean(k->ok));
        json_object_set_new(item, "detail", json_string(k->detail));
        json_object_set_new(item, "mend", json_string(k->mend));
        json_array_append_new(list, item);
    }
    return list;
}
