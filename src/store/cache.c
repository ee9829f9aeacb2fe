#include "store/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "store/cache_priv.h"
#include "store/cache_space.h"

enum {
    QUARTERS = 4, /* keys that are alive at once */
    HITS_KEPT = 3,
    SEEN_WAYS = 4,
    SMALLEST_AVERAGE_BYTES = 16 * 1024, /* one index entry for so much space */
    PROBATION_SHARE = 10,
    MAX_ENTRIES = 1 << 22, /* 64 GiB */
};
enum { NONE = 0 }; /* no entry: they count from 1, so that an index is empty when its memory is */

enum queue_kind { PROBATION, MAIN, QUEUES };

/* What is known of a block; all of it is in memory only. */
struct entry {
    struct cache_key key;
    int64_t quarter; /* whose key it is sealed under */
    uint64_t serial; /* tells a block from a later one in the same entry */
    uint8_t nonce[GCM_NONCE_BYTES];
    uint8_t tag[GCM_TAG_BYTES];
    uint32_t page, len;
    uint32_t chain;        /* next with the same hash; next free entry */
    uint32_t older, newer; /* of its queue */
    uint8_t hits;
    uint8_t queue;
};

struct queue {
    uint32_t oldest, newest;
    uint32_t pages;
};

/* A key that was asked for lately and was not there. */
struct seen {
    uint32_t print, quarter;
};

struct cache {
    int fd;
    int64_t start_ns, quarter_ns;
    cache_clock_fn *clock;
    struct lease_epoch *epochs[QUARTERS];
    struct cache_waker waker;
    void (*report)(void *arg, const struct cache *c);
    void *report_arg;

    pthread_mutex_t lock;    /* everything below; not held while blocks are read, written, sealed or opened */
    int64_t now;             /* the current quarter; 0 is the first */
    int64_t began[QUARTERS]; /* the quarter whose key is in epochs[i]; -1: none */
    int64_t refuse_until;    /* nothing is admitted before this quarter */
    uint64_t serial;
    struct entry *entries;
    uint32_t entry_count, fresh; /* entries from `fresh` on were never used */
    uint32_t unused;             /* head of those that are free again */
    uint32_t *buckets, bucket_mask;
    struct seen *seen; /* sets of SEEN_WAYS */
    uint32_t seen_mask;
    uint32_t page_count, writing; /* writing: blocks that have space and stand in no queue yet */
    struct space *space;
    struct queue queues[QUEUES];
    struct cache_counts counts;
    uint64_t reported;
};

/* ---- The index ---- */

static uint64_t key_hash(const struct cache_key *key) {
    uint64_t h;
    mem_copy(&h, key->id, sizeof h); /* ids are random already */
    h ^= (key->index + 1) * 0x9e3779b97f4a7c15ULL;
    h ^= h >> 29;
    return h * 0xbf58476d1ce4e5b9ULL;
}

static bool key_equal(const struct cache_key *a, const struct cache_key *b) {
    return a->index == b->index && mem_order(a->id, b->id, CACHE_ID_BYTES) == 0;
}

static uint32_t *bucket_of(struct cache *c, const struct cache_key *key) {
    return &c->buckets[(key_hash(key) >> 16) & c->bucket_mask];
}

static uint32_t find(struct cache *c, const struct cache_key *key) {
    uint32_t i = *bucket_of(c, key);
    while (i != NONE && !key_equal(&c->entries[i].key, key))
        i = c->entries[i].chain;
    return i;
}

static void queue_add(struct cache *c, uint32_t i, enum queue_kind kind) {
    struct queue *q = &c->queues[kind];
    struct entry *e = &c->entries[i];
    e->queue = (uint8_t)kind;
    e->newer = NONE;
    e->older = q->newest;
    if (q->newest != NONE)
        c->entries[q->newest].newer = i;
    else
        q->oldest = i;
    q->newest = i;
    q->pages += space_pages(e->len);
}

static void queue_remove(struct cache *c, uint32_t i) {
    const struct entry *e = &c->entries[i];
    struct queue *q = &c->queues[e->queue];
    if (e->older != NONE)
        c->entries[e->older].newer = e->newer;
    else
        q->oldest = e->newer;
    if (e->newer != NONE)
        c->entries[e->newer].older = e->older;
    else
        q->newest = e->older;
    q->pages -= space_pages(e->len);
}

static void give_back(struct cache *c, uint32_t i) {
    struct entry *e = &c->entries[i];
    space_give(c->space, e->page, e->len);
    e->serial = 0;
    e->chain = c->unused;
    c->unused = i;
}

static void drop(struct cache *c, uint32_t i) {
    uint32_t *at = bucket_of(c, &c->entries[i].key);
    while (*at != i)
        at = &c->entries[*at].chain;
    *at = c->entries[i].chain;
    queue_remove(c, i);
    c->counts.blocks--;
    give_back(c, i);
}

/* ---- Time ---- */

static int64_t read_clock(const struct cache *c) {
    return c->clock ? c->clock() : clock_boottime_ns();
}

static void drop_expired(struct cache *c) {
    for (int kind = 0; kind < QUEUES; kind++)
        for (uint32_t i = c->queues[kind].oldest; i != NONE;) {
            uint32_t newer = c->entries[i].newer;
            if (c->entries[i].quarter <= c->now - QUARTERS) {
                drop(c, i);
                c->counts.expired++;
            }
            i = newer;
        }
}

/* Keys end one epoch after the beginning of their quarter. */
static void expire(struct cache *c) {
    int64_t quarter = (read_clock(c) - c->start_ns) / c->quarter_ns;
    if (quarter <= c->now) return;
    c->now = quarter;
    bool ended = false;
    for (int i = 0; i < QUARTERS; i++) {
        if (c->began[i] < 0 || c->began[i] > quarter - QUARTERS) continue;
        lease_epoch_end(c->epochs[i]);
        c->began[i] = -1;
        ended = true;
    }
    if (ended) drop_expired(c);
    /* Nothing is left: give the disk its space back. If it can't, the file is noise all the same. */
    if (ended && c->counts.blocks == 0 && c->writing == 0 && ftruncate(c->fd, 0) != 0) c->counts.failures++;
}

void cache_expire(struct cache *c) {
    pthread_mutex_lock(&c->lock);
    expire(c);
    pthread_mutex_unlock(&c->lock);
}

static void disk_failed(struct cache *c) {
    c->counts.failures++;
    c->refuse_until = c->now + 1;
}

/* ---- Reading ---- */

/* Was it asked for within the last epoch? From now on it was. */
static bool was_seen(struct cache *c, const struct cache_key *key) {
    uint64_t hash = key_hash(key);
    struct seen *set = c->seen + ((hash >> 40) & c->seen_mask) * SEEN_WAYS;
    struct seen now = {(uint32_t)hash, (uint32_t)c->now + 1};
    for (int i = 0; i < SEEN_WAYS; i++) {
        if (set[i].print != now.print || set[i].quarter == 0) continue;
        bool lately = now.quarter - set[i].quarter < QUARTERS;
        set[i] = now;
        return lately;
    }
    for (int i = SEEN_WAYS - 1; i > 0; i--) /* the one that came first goes */
        set[i] = set[i - 1];
    set[0] = now;
    return false;
}

static struct result block_read(int fd, const struct entry *e, uint8_t *to) {
    for (size_t done = 0; done < e->len;) {
        ssize_t n = pread(fd, to + done, e->len - done, (off_t)e->page * SPACE_PAGE_BYTES + (off_t)done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return err_from_errno(errno, "reading the cache");
        CHECK(n > 0, ERR_CORRUPT, "the cache's file is too short");
        done += (size_t)n;
    }
    mem_copy(to + e->len, e->tag, sizeof e->tag);
    return OK;
}

static struct slice aad_of(const struct cache_key *key) {
    return slice_make(key, sizeof *key);
}

/* A block that could not be opened: gone meanwhile, or damaged. */
static void forget_damaged(struct cache *c, uint32_t i, uint64_t serial, struct result why) {
    pthread_mutex_lock(&c->lock);
    expire(c);
    if (c->entries[i].serial == serial && why.code != ERR_NO_LEASE) {
        drop(c, i);
        if (why.code == ERR_IO)
            disk_failed(c);
        else
            c->counts.damaged++;
    }
    c->counts.misses++;
    pthread_mutex_unlock(&c->lock);
}

enum cache_answer cache_get(struct cache *c, const struct cache_key *key, uint8_t *scratch, uint8_t *out, size_t room,
                            size_t *ret_len) {
    if (!c) return CACHE_MISS;
    pthread_mutex_lock(&c->lock);
    expire(c);
    uint32_t i = find(c, key);
    if (i == NONE || c->entries[i].len > room) {
        c->counts.misses++;
        bool wanted = was_seen(c, key) && c->now >= c->refuse_until;
        pthread_mutex_unlock(&c->lock);
        return wanted ? CACHE_WANTED : CACHE_MISS;
    }
    struct entry e = c->entries[i];
    pthread_mutex_unlock(&c->lock);

    struct result r = block_read(c->fd, &e, scratch);
    if (is_ok(r))
        r = lease_epoch_open(c->epochs[e.quarter % QUARTERS], aad_of(key), e.nonce,
                             slice_make(scratch, e.len + GCM_TAG_BYTES), out);
    if (is_err(r)) {
        forget_damaged(c, i, e.serial, r);
        return CACHE_MISS;
    }
    pthread_mutex_lock(&c->lock);
    if (c->entries[i].serial == e.serial && c->entries[i].hits < HITS_KEPT) c->entries[i].hits++;
    c->counts.hits++;
    c->counts.hit_bytes += e.len;
    pthread_mutex_unlock(&c->lock);
    *ret_len = e.len;
    return CACHE_HIT;
}

/* ---- Writing ---- */

/* Makes room by one block, or moves one on. */
static void evict_one(struct cache *c) {
    const struct queue *probation = &c->queues[PROBATION], *main = &c->queues[MAIN];
    bool from_probation =
        probation->oldest != NONE && (probation->pages > c->page_count / PROBATION_SHARE || main->oldest == NONE);
    uint32_t i = from_probation ? probation->oldest : main->oldest;
    if (i == NONE) return;
    struct entry *e = &c->entries[i];
    if (e->hits == 0) {
        drop(c, i);
        c->counts.evicted++;
        return;
    }
    queue_remove(c, i);
    e->hits = from_probation ? 0 : (uint8_t)(e->hits - 1);
    queue_add(c, i, MAIN);
}

static bool has_blocks(const struct cache *c) {
    return c->queues[PROBATION].oldest != NONE || c->queues[MAIN].oldest != NONE;
}

/* An entry with space, in no queue yet. False: all of it is being written by others. */
static bool reserve(struct cache *c, const struct cache_key *key, uint32_t len, uint32_t *ret) {
    uint32_t page;
    while ((c->unused == NONE && c->fresh > c->entry_count) || !space_take(c->space, len, &page)) {
        if (!has_blocks(c)) return false;
        evict_one(c);
    }
    uint32_t i = c->unused;
    if (i != NONE)
        c->unused = c->entries[i].chain;
    else
        i = c->fresh++;
    c->entries[i] = (struct entry){.key = *key, .quarter = c->now, .serial = ++c->serial, .page = page, .len = len};
    c->writing++;
    *ret = i;
    return true;
}

/* The key of the current quarter. */
static bool key_ready(struct cache *c) {
    int slot = (int)(c->now % QUARTERS);
    if (c->began[slot] == c->now) return true;
    if (is_err(lease_epoch_begin(c->epochs[slot]))) return false;
    c->began[slot] = c->now;
    return true;
}

static struct result block_write(int fd, struct lease_epoch *epoch, struct entry *e, struct slice plain,
                                 uint8_t *scratch) {
    TRY(lease_epoch_seal(epoch, aad_of(&e->key), plain, e->nonce, scratch));
    mem_copy(e->tag, scratch + plain.len, sizeof e->tag);
    for (size_t done = 0; done < plain.len;) {
        ssize_t n = pwrite(fd, scratch + done, plain.len - done, (off_t)e->page * SPACE_PAGE_BYTES + (off_t)done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return err_from_errno(errno, "writing the cache");
        done += (size_t)n;
    }
    return OK;
}

void cache_put(struct cache *c, const struct cache_key *key, struct slice plain, uint8_t *scratch) {
    if (!c || plain.len == 0 || plain.len > CACHE_BLOCK_MAX_BYTES) return;
    pthread_mutex_lock(&c->lock);
    expire(c);
    uint32_t i;
    bool starts =
        c->now >= c->refuse_until && find(c, key) == NONE && key_ready(c) && reserve(c, key, (uint32_t)plain.len, &i);
    struct entry e = starts ? c->entries[i] : (struct entry){0};
    pthread_mutex_unlock(&c->lock);
    if (!starts) return;

    struct result r = block_write(c->fd, c->epochs[e.quarter % QUARTERS], &e, plain, scratch);
    pthread_mutex_lock(&c->lock);
    expire(c);
    c->writing--;
    if (r.code == ERR_IO || r.code == ERR_NO_SPACE) disk_failed(c);
    /* A slow write may end in a later epoch: then its key is gone, or another one sealed it. */
    if (is_ok(r) && c->began[e.quarter % QUARTERS] == e.quarter && find(c, key) == NONE) {
        uint32_t *bucket = bucket_of(c, key);
        e.chain = *bucket;
        *bucket = i;
        c->entries[i] = e;
        queue_add(c, i, PROBATION);
        c->counts.blocks++;
        c->counts.admitted++;
    } else {
        give_back(c, i);
    }
    pthread_mutex_unlock(&c->lock);
}

/* ---- Opening and closing ---- */

static void thread_tick(void *arg) {
    struct cache *c = arg;
    pthread_mutex_lock(&c->lock);
    expire(c);
    uint64_t uses = c->counts.hits + c->counts.misses;
    bool reports = c->report && c->now % QUARTERS == 0 && uses != c->reported;
    if (reports) c->reported = uses;
    pthread_mutex_unlock(&c->lock);
    if (reports) c->report(c->report_arg, c);
}

static struct result open_file(const char *dir, int *ret) {
    TRY(file_make_dirs(dir));
    AUTO_FREE char *path = str_format("%s/blocks", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return err_from_errno(errno, "opening %s", path);
    *ret = fd;
    return OK;
}

static uint32_t power_of_two(uint64_t at_least) {
    uint32_t n = 1;
    while (n < at_least && n < 1U << 31)
        n <<= 1;
    return n;
}

static void make_index(struct cache *c, uint64_t max_bytes) {
    uint64_t rows = max_bytes / SPACE_ROW_BYTES, entries = max_bytes / SMALLEST_AVERAGE_BYTES;
    if (entries > MAX_ENTRIES) entries = MAX_ENTRIES;
    if (rows > MAX_ENTRIES) rows = MAX_ENTRIES;
    c->page_count = (uint32_t)rows * SPACE_ROW_PAGES;
    c->space = space_new((uint32_t)rows);
    c->entry_count = (uint32_t)entries;
    c->fresh = 1;
    c->entries = mem_alloc_array(entries + 1, sizeof *c->entries);
    uint32_t buckets = power_of_two(entries);
    c->bucket_mask = buckets - 1;
    c->buckets = mem_alloc_array(buckets, sizeof *c->buckets);
    c->seen_mask = buckets - 1;
    c->seen = mem_alloc_array((size_t)buckets * SEEN_WAYS, sizeof *c->seen);
}

struct cache *cache_close(struct cache *c) {
    if (!c) return NULL;
    cache_waker_stop(&c->waker);
    for (int i = 0; i < QUARTERS; i++)
        lease_epoch_free(c->epochs[i]);
    if (c->fd >= 0) {
        int error = ftruncate(c->fd, 0); /* only to give space back */
        (void)error;
    }
    fd_close(&c->fd);
    space_free(c->space);
    mem_free(c->entries);
    mem_free(c->buckets);
    mem_free(c->seen);
    pthread_mutex_destroy(&c->lock);
    mem_free(c);
    return NULL;
}

static void close_auto(struct cache **c) {
    cache_close(*c);
}

struct result cache_open(const struct cache_options *o, struct cache **ret) {
    CHECK(o->max_bytes >= CACHE_MIN_BYTES && o->epoch_ns >= QUARTERS, ERR_INVALID,
          "a cache needs at least 1 MiB and a life");
    AUTO(close_auto) struct cache *c = mem_alloc(sizeof *c);
    c->fd = -1;
    c->waker.fd = c->waker.stop_fd = -1;
    pthread_mutex_init(&c->lock, NULL);
    c->clock = o->clock;
    c->quarter_ns = o->epoch_ns / QUARTERS;
    c->start_ns = read_clock(c);
    c->report = o->report;
    c->report_arg = o->report_arg;
    TRY(open_file(o->dir, &c->fd));
    make_index(c, o->max_bytes);
    for (int i = 0; i < QUARTERS; i++) {
        c->epochs[i] = lease_epoch_new(o->lease);
        c->began[i] = -1;
    }
    if (!c->clock) TRY(cache_waker_start(&c->waker, c->start_ns, c->quarter_ns, thread_tick, c));
    *ret = TAKE(c);
    return OK;
}

struct cache_counts cache_counts(const struct cache *c) {
    struct cache *mutable = mem_unconst(c);
    pthread_mutex_lock(&mutable->lock);
    struct cache_counts counts = c->counts;
    counts.bytes = (uint64_t)space_used_pages(c->space) * SPACE_PAGE_BYTES;
    for (int i = 0; i < QUARTERS; i++)
        counts.keys += c->began[i] >= 0;
    pthread_mutex_unlock(&mutable->lock);
    return counts;
}
