/* Branch keys in use: a new one when its time has come, old ones when a gateway meets them. */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "keyring/keyring.h"
#include "keys/wire.h"

enum { SEND_MS = 20 };

void branch_copy(const struct registry_wrapped_key *from, struct registry_wrapped_key *ret) {
    *ret = (struct registry_wrapped_key){
        .id = str_dup(from->id),
        .org = str_dup(from->org),
        .region = str_dup(from->region),
        .kind = from->kind,
        .kms_key_arn = str_dup(from->kms_key_arn),
        .material_id = str_dup(from->material_id),
        .created_at_ms = from->created_at_ms,
        .active = from->active,
    };
    buf_init(&ret->wrapped, KMS_MAX_CIPHERTEXT_BYTES);
    buf_append_slice(&ret->wrapped, buf_slice(&from->wrapped));
}

bool branch_id_bytes(const char *hex, uint8_t ret[static 16]) {
    BUF_AUTO(bytes, 16);
    if (is_err(hex_decode(slice_str(hex), &bytes)) || is_err(buf_check(&bytes)) || bytes.len != 16) return false;
    mem_copy(ret, bytes.data, 16);
    return true;
}

bool branch_is_old(const struct unit *u) {
    const struct registry_wrapped_key *b = &u->ring.branch;
    if (!u->is_loaded) return false;
    int64_t age_ms = clock_unix_ms() - b->created_at_ms;
    if (age_ms >= u->k->config->key_branch_window_ms) return true;
    bool knows_both = u->seen_material[0] && b->material_id && b->material_id[0];
    return knows_both && strcmp(u->seen_material, b->material_id) != 0;
}

void branch_adopt(struct unit *u, struct registry_wrapped_key *fresh) {
    registry_wrapped_key_done(&u->ring.branch);
    u->ring.branch = *fresh;
    *fresh = (struct registry_wrapped_key){0};
    log_info("branch.new", KV("org", u->org), KV("region", u->region->name), KV("branch", u->ring.branch.id));
}

struct branch_job {
    struct job job;
    struct unit *u;
    struct ring_place place;
    uint32_t generation, serial;
    struct registry_wrapped_key fresh; /* rotation */
    uint8_t id[16];                    /* fetching */
    struct secret key;
    struct verdict verdict;
    struct result done;
    char *why;
};

static struct branch_job *job_new(struct unit *u, void (*run)(struct job *), void (*done)(struct job *)) {
    struct branch_job *b = mem_alloc(sizeof *b);
    *b = (struct branch_job){.job = {.run = run, .done = done},
                             .u = u,
                             .place = u->place,
                             .generation = u->lease.generation,
                             .serial = u->pair.gateway_serial};
    return b;
}

static void job_free(struct branch_job *b) {
    secret_done(&b->key);
    registry_wrapped_key_done(&b->fresh);
    mem_free(b->why);
    mem_free(b);
}

/* Is the lease, and the gateway, the one that this was begun for? */
static bool is_current(const struct branch_job *b) {
    const struct unit *u = b->u;
    return b->generation == u->lease.generation && unit_has_lease(u) && u->pair.is_gateway_armed &&
           u->pair.gateway.fd >= 0 && b->serial == u->pair.gateway_serial;
}

static void rotate_run(struct job *j) {
    struct branch_job *b = (struct branch_job *)j;
    b->done = ring_new_branch(&b->place, &b->fresh, &b->verdict);
    if (is_ok(b->done)) b->done = ring_unwrap(&b->place, &b->fresh, &b->key, &b->verdict);
    if (is_err(b->done)) b->why = str_dup(err_detail());
}

static void rotate_done(struct job *j) {
    struct branch_job *b = (struct branch_job *)j;
    struct unit *u = b->u;
    u->is_rotating = false;
    if (is_err(b->done)) {
        log_warn("branch.not_made", KV("org", u->org), KV("region", u->region->name), KV("reason", b->why));
    } else {
        uint8_t id[16];
        bool is_id = branch_id_bytes(b->fresh.id, id);
        branch_adopt(u, &b->fresh);
        if (is_id && is_current(b)) {
            struct result sent = wire_send_branch(u->pair.gateway.fd, id, secret_view(&b->key), SEND_MS);
            if (is_ok(sent)) sent = wire_send_active(u->pair.gateway.fd, id, SEND_MS);
            if (is_err(sent)) log_warn("gateway.deaf", KV("org", u->org), KV("reason", err_detail()));
        }
    }
    job_free(b);
    unit_poke(u);
}

void branch_rotate(struct unit *u) {
    u->is_rotating = true;
    pool_submit(u->region->pool, &job_new(u, rotate_run, rotate_done)->job, false);
}

static void fetch_run(struct job *j) {
    struct branch_job *b = (struct branch_job *)j;
    b->done = ring_unwrap_id(&b->place, b->id, &b->key, &b->verdict);
    if (is_err(b->done)) b->why = str_dup(err_detail());
}

static void fetch_done(struct job *j) {
    struct branch_job *b = (struct branch_job *)j;
    struct unit *u = b->u;
    if (u->pair.gateway.fd >= 0 && b->serial == u->pair.gateway_serial) {
        struct result sent;
        if (!is_current(b)) {
            sent = wire_send_no_branch(u->pair.gateway.fd, b->id, ERR_NO_LEASE, SEND_MS);
        } else if (is_err(b->done)) {
            log_warn("branch.not_unwrapped", KV("org", u->org), KV("region", u->region->name), KV("reason", b->why));
            sent = wire_send_no_branch(u->pair.gateway.fd, b->id, b->done.code, SEND_MS);
            /* A refusal here counts: the probe finds out at once. */
            if (b->verdict.kind == VERDICT_REFUSED) lease_recheck(&u->lease, clock_boottime_ns());
        } else {
            sent = wire_send_branch(u->pair.gateway.fd, b->id, secret_view(&b->key), SEND_MS);
        }
        if (is_err(sent)) log_warn("gateway.deaf", KV("org", u->org), KV("reason", err_detail()));
    }
    job_free(b);
    unit_poke(u);
}

void branch_fetch(struct unit *u, const uint8_t id[static 16]) {
    struct branch_job *b = job_new(u, fetch_run, fetch_done);
    mem_copy(b->id, id, sizeof b->id);
    pool_submit(u->region->pool, &b->job, true);
}
