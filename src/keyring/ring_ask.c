/* Probes and preflights: the same questions as in use, asked for their answers alone. */
#include <stdio.h>
#include <string.h>

#include "keyring/ring.h"

/* 32 bytes, as a data key has; not secret. */
static const char sample[] = "lockset asks whether this works.";

static void ask(const struct ring_place *p, const char *purpose, enum kms_operation operation,
                const struct kms_context *context, struct slice ciphertext, struct kms_answer *ret) {
    struct kms_request request = {.operation = operation, .key_id = p->kms_key_arn, .context = context};
    if (operation == KMS_DESCRIBE_KEY) request.context = NULL;
    if (operation == KMS_ENCRYPT) request.plaintext = slice_make(sample, sizeof sample - 1);
    if (operation == KMS_DECRYPT) request.ciphertext = ciphertext;
    ring_call(p, purpose, &request, ret);
}

static const char *current_material(const struct kms_answer *a, enum kms_operation operation) {
    if (a->error != KMS_OK) return "";
    if (operation == KMS_DESCRIBE_KEY) return a->key.material_id;
    bool is_new = operation == KMS_GENERATE_DATA_KEY || operation == KMS_GENERATE_DATA_KEY_WITHOUT_PLAINTEXT;
    return is_new ? a->material_id : ""; /* Decrypt tells the material the ciphertext was made with */
}

void ring_probe(const struct ring_place *p, const struct registry_wrapped_key *branch, enum kms_operation operation,
                struct ring_probe *ret) {
    *ret = (struct ring_probe){0};
    struct kms_context context[] = {
        {"lockset:org", p->org}, {"lockset:region", p->region}, {"lockset:branch", branch->id}, {NULL, NULL}};
    KMS_ANSWER_AUTO(answer);
    ask(p, "probe", operation, context, buf_slice(&branch->wrapped), &answer);
    verdict_of(&answer, operation, &ret->verdict);
    ret->sent_boottime_ns = answer.sent_boottime_ns;
    snprintf(ret->material_id, sizeof ret->material_id, "%.64s", current_material(&answer, operation));
}

/* What Decrypt is tried on. */
static struct slice choose_ciphertext(struct checks_answers *a, const struct registry_wrapped_key *branch) {
    if (branch) return buf_slice(&branch->wrapped);
    static const enum kms_operation makers[] = {KMS_GENERATE_DATA_KEY, KMS_ENCRYPT,
                                                KMS_GENERATE_DATA_KEY_WITHOUT_PLAINTEXT};
    for (size_t i = 0; i < ARRAY_LEN(makers); i++) {
        const struct kms_answer *k = &a->answers[makers[i]];
        if (a->asked[makers[i]] && k->error == KMS_OK) return buf_slice(&k->ciphertext);
    }
    a->decrypt_is_bogus = true;
    return slice_str(sample);
}

void ring_preflight(const struct ring_place *p, const struct registry_wrapped_key *branch, bool quick,
                    struct ring_preflight *ret) {
    *ret = (struct ring_preflight){0};
    AUTO(checks_answers_done)
    struct checks_answers a = {.key_arn = p->kms_key_arn,
                               .region = p->region,
                               .service_account_id = p->service_account_id,
                               .needs_multi_region = p->needs_multi_region};
    struct kms_context context[] = {{"lockset:org", p->org},
                                    {"lockset:region", p->region},
                                    {"lockset:branch", branch ? branch->id : "preflight"},
                                    {NULL, NULL}};
    static const enum kms_operation order[] = {KMS_DESCRIBE_KEY, KMS_GENERATE_DATA_KEY,
                                               KMS_GENERATE_DATA_KEY_WITHOUT_PLAINTEXT, KMS_ENCRYPT, KMS_DECRYPT};
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        enum kms_operation o = order[i];
        struct kms_answer *answer = &a.answers[o];
        struct slice ciphertext = o == KMS_DECRYPT ? choose_ciphertext(&a, branch) : (struct slice){0};
        ask(p, quick ? "preflight" : "check", o, context, ciphertext, answer);
        a.asked[o] = true;
        if (o == KMS_DECRYPT) ret->sent_boottime_ns = answer->sent_boottime_ns;
        struct verdict v;
        verdict_of(answer, o, &v);
        if (current_material(answer, o)[0])
            snprintf(ret->material_id, sizeof ret->material_id, "%.64s", current_material(answer, o));
        /* A KMS that doesn't answer one question would take the time-out of each. DescribeKey is asked first even for
         * the quick form, because it alone tells a deletion date. */
        bool no_answer = answer->error == KMS_TIMEOUT || answer->error == KMS_UNREACHABLE;
        if (no_answer || (quick && v.kind != VERDICT_GOOD)) break;
    }
    checks_evaluate(&a, &ret->checks);
}
