#include "aws/credentials_provider.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "aws/credentials_fetch.h"
#include "base/clock.h"

enum { EARLY_MS = 300 * 1000, PAUSE_MS = 10 * 1000 };

struct credentials_provider {
    struct credentials_source source;
    char *file, *profile, *region;
    struct http_pool *pool;
    const bool *cancelled;
    bool is_held;
    const char *name;
    pthread_mutex_t lock;     /* guards what follows; never held while a source is asked */
    pthread_mutex_t fetching; /* held by the one who asks */
    struct credentials now;
    int64_t early_ms;      /* before their end they are fetched again */
    int64_t next_fetch_ns; /* boot time; after a failure */
};

struct credentials_provider *credentials_provider_free(struct credentials_provider *p) {
    if (!p) return NULL;
    mem_free(p->file);
    mem_free(p->profile);
    mem_free(p->region);
    credentials_done(&p->now);
    pthread_mutex_destroy(&p->lock);
    pthread_mutex_destroy(&p->fetching);
    mem_free(p);
    return NULL;
}

const char *credentials_provider_source(const struct credentials_provider *p) {
    return p->name;
}

/* ---- the chain ---- */

static bool is_set(const char *name) {
    const char *value = getenv(name);
    return value && *value;
}

static struct result fetch(struct credentials_provider *p, struct credentials *ret) {
    struct credentials_fetch f = {.pool = p->pool, .region = p->region, .cancelled = p->cancelled};
    bool named = p->file || p->profile;
    if (!named && (is_set("AWS_ACCESS_KEY_ID") || is_set("AWS_SECRET_ACCESS_KEY"))) {
        p->name = "environment";
        return credentials_from_environment(ret);
    }
    if (!named && is_set("AWS_WEB_IDENTITY_TOKEN_FILE")) {
        p->name = "web identity";
        return credentials_fetch_web_identity(&f, ret);
    }
    p->name = "shared files";
    struct result r = credentials_fetch_shared(&f, &p->source, ret);
    if (named || r.code != ERR_NOT_FOUND) return r;
    p->name = "container";
    r = credentials_fetch_container(&f, ret);
    if (r.code != ERR_NOT_FOUND) return r;
    p->name = "instance metadata";
    r = credentials_fetch_instance(&f, ret);
    if (r.code != ERR_NOT_FOUND) return r;
    FAIL(ERR_NOT_FOUND,
         "no AWS credentials: not in the environment (AWS_ACCESS_KEY_ID), not in the shared files (profile '%s'), no "
         "web identity, no container's and no instance's credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
         "or AWS_SHARED_CREDENTIALS_FILE",
         is_set("AWS_PROFILE") ? getenv("AWS_PROFILE") : "default");
}

/* ---- what is held ---- */

/* Takes c over. */
static void hold(struct credentials_provider *p, struct credentials *c) {
    int64_t life = c->expires_unix_ms - clock_unix_ms();
    pthread_mutex_lock(&p->lock);
    struct credentials old = p->now;
    p->now = *c;
    *c = old;
    p->early_ms = life / 4 < EARLY_MS ? life / 4 : EARLY_MS;
    p->next_fetch_ns = 0;
    pthread_mutex_unlock(&p->lock);
}

static struct credentials_provider *provider_new(void) {
    struct credentials_provider *p = mem_alloc(sizeof *p);
    pthread_mutex_init(&p->lock, NULL);
    pthread_mutex_init(&p->fetching, NULL);
    return p;
}

struct result credentials_provider_new(const struct credentials_provider_options *o,
                                       struct credentials_provider **ret) {
    AUTO(credentials_provider_free_auto) struct credentials_provider *p = provider_new();
    p->file = str_dup(o->source.file);
    p->profile = str_dup(o->source.profile);
    p->source = (struct credentials_source){.file = p->file, .profile = p->profile};
    p->region = str_dup(o->region);
    p->pool = o->pool;
    p->cancelled = o->cancelled;
    CREDENTIALS_AUTO(c);
    TRY(fetch(p, &c));
    hold(p, &c);
    *ret = TAKE(p);
    return OK;
}

struct result credentials_provider_new_held(const struct credentials *c, struct credentials_provider **ret) {
    AUTO(credentials_provider_free_auto) struct credentials_provider *p = provider_new();
    p->is_held = true;
    p->name = "given";
    TRY(credentials_provider_put(p, c));
    *ret = TAKE(p);
    return OK;
}

struct result credentials_provider_put(struct credentials_provider *p, const struct credentials *c) {
    CHECK(p->is_held, ERR_INTERNAL, "credentials that fetch themselves can't be replaced");
    CREDENTIALS_AUTO(copy);
    TRY(credentials_copy(c, &copy));
    hold(p, &copy);
    return OK;
}

/* ---- renewing ---- */

enum state { FRESH, ENDING, ENDED };

static enum state state_of(const struct credentials_provider *p) {
    int64_t now = clock_unix_ms();
    if (p->now.expires_unix_ms == 0) return FRESH;
    if (now >= p->now.expires_unix_ms) return ENDED;
    return now >= p->now.expires_unix_ms - p->early_ms ? ENDING : FRESH;
}

/* Is it worth asking the source? */
static bool is_due(struct credentials_provider *p, enum state *ret) {
    pthread_mutex_lock(&p->lock);
    *ret = state_of(p);
    bool due = *ret == ENDED || (*ret == ENDING && clock_boottime_ns() >= p->next_fetch_ns);
    pthread_mutex_unlock(&p->lock);
    return due && !p->is_held;
}

/* Under p->fetching. */
static struct result fetch_and_hold(struct credentials_provider *p) {
    CREDENTIALS_AUTO(fresh);
    struct result r = fetch(p, &fresh);
    if (is_ok(r)) {
        hold(p, &fresh);
        return OK;
    }
    pthread_mutex_lock(&p->lock);
    p->next_fetch_ns = clock_boottime_ns() + PAUSE_MS * NS_PER_MS;
    pthread_mutex_unlock(&p->lock);
    return r;
}

/* OK if what is held can be used. */
static struct result freshen(struct credentials_provider *p) {
    enum state state;
    if (!is_due(p, &state)) {
        CHECK(state != ENDED, ERR_FORBIDDEN, "the AWS credentials have expired, and no new ones were given");
        return OK;
    }
    /* As long as the old ones last, nobody waits for the one who asks. */
    if (state == ENDED)
        pthread_mutex_lock(&p->fetching);
    else if (pthread_mutex_trylock(&p->fetching) != 0)
        return OK;
    struct result r = is_due(p, &state) ? fetch_and_hold(p) : OK;
    pthread_mutex_unlock(&p->fetching);
    return state == ENDED ? r : OK;
}

struct result credentials_provider_get(struct credentials_provider *p, struct credentials *ret) {
    TRY(freshen(p));
    pthread_mutex_lock(&p->lock);
    struct result r = credentials_copy(&p->now, ret);
    pthread_mutex_unlock(&p->lock);
    return r;
}

static bool is_held_id(struct credentials_provider *p, const char *id) {
    pthread_mutex_lock(&p->lock);
    bool same = strcmp(p->now.access_key_id, id) == 0;
    pthread_mutex_unlock(&p->lock);
    return same;
}

static bool is_same(struct credentials_provider *p, const struct credentials *a) {
    pthread_mutex_lock(&p->lock);
    bool same = strcmp(a->access_key_id, p->now.access_key_id) == 0 &&
                secret_equal(secret_view(&a->secret_key), secret_view(&p->now.secret_key)) &&
                secret_equal(secret_view(&a->session_token), secret_view(&p->now.session_token));
    pthread_mutex_unlock(&p->lock);
    return same;
}

bool credentials_provider_renew(struct credentials_provider *p, const char *refused) {
    if (!is_held_id(p, refused)) return true;
    if (p->is_held) return false;
    pthread_mutex_lock(&p->fetching);
    bool changed = !is_held_id(p, refused);
    CREDENTIALS_AUTO(fresh);
    /* What is gone or half written may be whole again at the next call; until then the old ones stay. */
    if (!changed && is_ok(fetch(p, &fresh)) && !is_same(p, &fresh)) {
        hold(p, &fresh);
        changed = true;
    }
    pthread_mutex_unlock(&p->fetching);
    return changed;
}
