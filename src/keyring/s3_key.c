/* Access keys for S3 clients: their secrets are derived from the name key, and shown once, to whoever makes one. */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "keyring/keyring.h"
#include "keys/s3_secret.h"

struct s3_key_job {
    struct job job;
    struct unit *u;
    struct api_call call;
    struct ring_place place;
    uint32_t generation;
    struct registry_wrapped_key names;
    char id[REGISTRY_S3_KEY_ID_CHARS + 1], secret[S3_SECRET_CHARS + 1];
    struct verdict verdict;
    struct result done;
    char *why;
};

static void derive_run(struct job *j) {
    struct s3_key_job *s = (struct s3_key_job *)j;
    struct secret key = {0};
    s->done = ring_unwrap(&s->place, &s->names, &key, &s->verdict);
    if (is_ok(s->done)) s->done = s3_secret_derive(secret_view(&key), s->place.org, s->place.region, s->id, s->secret);
    if (is_err(s->done)) s->why = str_dup(err_detail());
    secret_done(&key);
}

static void derive_done(struct job *j) {
    struct s3_key_job *s = (struct s3_key_job *)j;
    struct unit *u = s->u;
    if (is_err(s->done)) {
        if (s->verdict.kind == VERDICT_REFUSED) lease_recheck(&u->lease, clock_boottime_ns());
        api_fail(u->k, s->call, err_name(s->done.code), s->why, NULL, unit_state(u));
    } else if (s->generation != u->lease.generation || !unit_has_lease(u)) {
        api_fail(u->k, s->call, "NO_LEASE", u->reason, NULL, unit_state(u));
    } else {
        json_t *fields = json_object();
        json_object_set_new(fields, "secret", json_string(s->secret));
        api_reply(u->k, s->call, fields);
    }
    wipe(s->secret, sizeof s->secret);
    registry_wrapped_key_done(&s->names);
    mem_free(s->why);
    mem_free(s);
    unit_poke(u);
}

static bool is_key_id(const char *id) {
    return strlen(id) == REGISTRY_S3_KEY_ID_CHARS && strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == strlen(id);
}

struct result s3_key_create(struct unit *u, struct api_call call, const char *id) {
    CHECK(is_key_id(id), ERR_INVALID, "an access key id is %d characters of A-Z and 2-7", REGISTRY_S3_KEY_ID_CHARS);
    if (!unit_has_lease(u) || u->ending != ENDING_NONE) {
        api_fail(u->k, call, "NO_LEASE", u->reason, NULL, unit_state(u));
        return OK;
    }
    struct s3_key_job *s = mem_alloc(sizeof *s);
    *s = (struct s3_key_job){.job = {.run = derive_run, .done = derive_done},
                             .u = u,
                             .call = call,
                             .place = u->place,
                             .generation = u->lease.generation};
    mem_copy(s->id, id, sizeof s->id);
    branch_copy(&u->ring.names, &s->names);
    pool_submit(u->region->pool, &s->job, true);
    return OK;
}
