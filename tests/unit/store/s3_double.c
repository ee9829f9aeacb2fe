#include "s3_double.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

struct object {
    char *key, *upload_id; /* upload_id: of a part of an upload, or of the upload itself (number 0) */
    unsigned number;
    uint8_t *data;
    size_t len;
    int64_t modified_ms;
    char etag[S3_STORE_ETAG_BYTES];
};

struct objects {
    struct object **items;
    size_t count;
};

struct s3_store_client {
    pthread_mutex_t lock;
    struct objects bucket, uploads;
    struct s3_double_plan plan;
    const char *key_arn;
    unsigned requests, sweeps, etags;
};

struct s3_store_client *s3_double_new(void) {
    struct s3_store_client *c = mem_alloc(sizeof *c);
    pthread_mutex_init(&c->lock, NULL);
    return c;
}

static void object_free(struct object *o) {
    mem_free(o->key);
    mem_free(o->upload_id);
    mem_free(o->data);
    mem_free(o);
}

struct s3_store_client *s3_store_client_free(struct s3_store_client *c) {
    if (!c) return NULL;
    for (size_t i = 0; i < c->bucket.count; i++)
        object_free(c->bucket.items[i]);
    for (size_t i = 0; i < c->uploads.count; i++)
        object_free(c->uploads.items[i]);
    mem_free(c->bucket.items);
    mem_free(c->uploads.items);
    pthread_mutex_destroy(&c->lock);
    mem_free(c);
    return NULL;
}

/* ---- Objects ---- */

static size_t position(const struct objects *o, const char *key) {
    size_t low = 0, high = o->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(o->items[middle]->key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct object *find(const struct objects *o, const char *key) {
    size_t at = position(o, key);
    return at < o->count && strcmp(o->items[at]->key, key) == 0 ? o->items[at] : NULL;
}

static void take_out(struct objects *o, size_t at) {
    object_free(o->items[at]);
    mem_move(o->items + at, o->items + at + 1, (o->count - at - 1) * sizeof(struct object *));
    o->count--;
}

static struct object *add(struct s3_store_client *c, struct objects *o, const char *key, struct slice body) {
    size_t at = position(o, key);
    o->items = mem_resize(o->items, (o->count + 1) * sizeof(struct object *));
    mem_move(o->items + at + 1, o->items + at, (o->count - at) * sizeof(struct object *));
    struct object *new = mem_alloc(sizeof *new);
    new->key = str_dup(key);
    new->data = mem_dup(body.data, body.len);
    new->len = body.len;
    new->modified_ms = clock_unix_ms();
    snprintf(new->etag, sizeof new->etag, "%032x", ++c->etags);
    o->items[at] = new;
    o->count++;
    return new;
}

static struct object *replace(struct s3_store_client *c, const char *key, struct slice body) {
    if (find(&c->bucket, key)) take_out(&c->bucket, position(&c->bucket, key));
    return add(c, &c->bucket, key, body);
}

/* ---- Plans ---- */

void s3_double_plan(struct s3_store_client *c, const struct s3_double_plan *plan) {
    pthread_mutex_lock(&c->lock);
    c->plan = *plan;
    c->requests = 0;
    pthread_mutex_unlock(&c->lock);
}

void s3_double_key(struct s3_store_client *c, const char *arn) {
    c->key_arn = arn;
}

unsigned s3_double_requests(struct s3_store_client *c) {
    pthread_mutex_lock(&c->lock);
    unsigned n = c->requests;
    pthread_mutex_unlock(&c->lock);
    return n;
}

unsigned s3_double_sweeps(struct s3_store_client *c) {
    pthread_mutex_lock(&c->lock);
    unsigned n = c->sweeps;
    pthread_mutex_unlock(&c->lock);
    return n;
}

static const enum err_code codes[S3_TROUBLE_MAX] = {
    [S3_TROUBLE_KEY_REFUSED] = ERR_NO_LEASE,
    [S3_TROUBLE_ACCESS] = ERR_FORBIDDEN,
    [S3_TROUBLE_THROTTLED] = ERR_UNREACHABLE,
    [S3_TROUBLE_UNREACHABLE] = ERR_UNREACHABLE,
    [S3_TROUBLE_NO_BUCKET] = ERR_NOT_FOUND,
    [S3_TROUBLE_NOT_FOUND] = ERR_NOT_FOUND,
    [S3_TROUBLE_PRECONDITION] = ERR_PRECONDITION,
    [S3_TROUBLE_RANGE] = ERR_RANGE,
    [S3_TROUBLE_UNSUPPORTED] = ERR_UNSUPPORTED,
    [S3_TROUBLE_NOT_ENCRYPTED] = ERR_PEER,
    [S3_TROUBLE_BROKEN] = ERR_PEER,
    [S3_TROUBLE_REFUSED] = ERR_INVALID,
    [S3_TROUBLE_CANCELLED] = ERR_CANCELLED,
};

static struct result fail(struct s3_failure *why, enum s3_trouble trouble, bool unsure) {
    if (why) *why = (struct s3_failure){.trouble = trouble, .unsure = unsure};
    return err_make(codes[trouble], "the double's trouble %d", (int)trouble);
}

/* With the lock held: this request's fate. *ret_does: whether a write is done. */
static bool goes_wrong(struct s3_store_client *c, bool *ret_does) {
    const struct s3_double_plan *p = &c->plan;
    unsigned n = ++c->requests;
    bool wrong = p->from > 0 && n >= p->from && n - p->from < p->count;
    *ret_does = !wrong || (p->done_first && n == p->from);
    return wrong;
}

struct call {
    struct s3_store_client *client;
    bool wrong, does;
};

static struct call begin(struct s3_store_client *c, struct s3_failure *why) {
    struct call call = {.client = c};
    if (why) *why = (struct s3_failure){0};
    pthread_mutex_lock(&c->lock);
    call.wrong = goes_wrong(c, &call.does);
    return call;
}

/* Of a write, which is done or not by now. */
static struct result end(const struct call *call, struct s3_failure *why) {
    struct result r = call->wrong ? fail(why, call->client->plan.trouble, call->does) : OK;
    pthread_mutex_unlock(&call->client->lock);
    return r;
}

static struct result end_with(const struct call *call, struct s3_failure *why, enum s3_trouble trouble) {
    struct result r = fail(why, call->wrong ? call->client->plan.trouble : trouble, false);
    pthread_mutex_unlock(&call->client->lock);
    return r;
}

/* ---- Operations ---- */

struct result s3_store_put(struct s3_store_client *c, const struct s3_put *put, char ret_etag[S3_STORE_ETAG_BYTES],
                           struct s3_failure *why) {
    struct call call = begin(c, why);
    if (call.does) snprintf(ret_etag, S3_STORE_ETAG_BYTES, "%s", replace(c, put->key, put->body)->etag);
    return end(&call, why);
}

static void head_of(const struct object *o, struct s3_head *ret) {
    if (!ret) return;
    *ret = (struct s3_head){.size = (int64_t)o->len, .modified_ms = o->modified_ms};
    mem_copy(ret->etag, o->etag, sizeof ret->etag);
}

struct result s3_store_get(struct s3_store_client *c, const struct s3_get *get, struct s3_head *ret,
                           struct s3_failure *why) {
    struct call call = begin(c, why);
    if (call.wrong) return end(&call, why);
    const struct object *o = find(&c->bucket, get->key);
    if (!o) return end_with(&call, why, S3_TROUBLE_NOT_FOUND);
    if (get->etag && strcmp(get->etag, o->etag) != 0) return end_with(&call, why, S3_TROUBLE_PRECONDITION);
    if (get->from >= (int64_t)o->len) return end_with(&call, why, S3_TROUBLE_RANGE);
    size_t rest = o->len - (size_t)get->from, n = (int64_t)rest < get->length ? rest : (size_t)get->length;
    head_of(o, ret);
    for (size_t at = 0; at < n;) { /* in pieces of odd sizes */
        size_t piece = n - at < 10007 ? n - at : 10007;
        if (!get->take(get->arg, slice_make(o->data + get->from + at, piece)))
            return end_with(&call, why, S3_TROUBLE_CANCELLED);
        at += piece;
    }
    return end(&call, why);
}

struct result s3_store_get_whole(struct s3_store_client *c, const char *key, size_t max, struct buf *out,
                                 struct s3_head *ret, struct s3_failure *why) {
    struct call call = begin(c, why);
    if (call.wrong) return end(&call, why);
    const struct object *o = find(&c->bucket, key);
    if (!o) return end_with(&call, why, S3_TROUBLE_NOT_FOUND);
    head_of(o, ret);
    buf_append(out, o->data, o->len);
    pthread_mutex_unlock(&c->lock);
    return o->len <= max ? buf_check(out) : err_make(ERR_TOO_LARGE, "too large");
}

struct result s3_store_head(struct s3_store_client *c, const char *key, struct s3_head *ret, struct s3_failure *why) {
    struct call call = begin(c, why);
    if (call.wrong) return end(&call, why);
    const struct object *o = find(&c->bucket, key);
    if (!o) return end_with(&call, why, S3_TROUBLE_NOT_FOUND);
    head_of(o, ret);
    ret->is_kms = c->key_arn != NULL;
    if (c->key_arn) snprintf(ret->key_id, sizeof ret->key_id, "%s", c->key_arn);
    return end(&call, why);
}

struct result s3_store_delete(struct s3_store_client *c, const char *key, const char *version_id,
                              struct s3_failure *why) {
    struct call call = begin(c, why);
    if (call.does && find(&c->bucket, key)) take_out(&c->bucket, position(&c->bucket, key));
    return end(&call, why);
}

struct result s3_store_delete_many(struct s3_store_client *c, const struct s3_name *names, size_t count,
                                   struct s3_failure *why) {
    struct call call = begin(c, why);
    for (size_t i = 0; call.does && i < count; i++)
        if (find(&c->bucket, names[i].key)) take_out(&c->bucket, position(&c->bucket, names[i].key));
    return end(&call, why);
}

/* ---- Listings ---- */

void s3_entries_done(struct s3_entries *e) {
    for (size_t i = 0; i < e->count; i++) {
        mem_free(e->items[i].key);
        mem_free(e->items[i].upload_id);
    }
    mem_free(e->items);
    mem_free(e->next);
    mem_free(e->next_id);
    *e = (struct s3_entries){0};
}

enum { PAGE = 7 }; /* so that listings have pages */

static void list(const struct objects *o, const struct s3_list *l, struct s3_entries *ret) {
    size_t prefix = strlen(l->prefix);
    const char *after = l->after ? l->after->next : NULL;
    for (size_t i = 0; i < o->count; i++) {
        const struct object *one = o->items[i];
        if (strncmp(one->key, l->prefix, prefix) != 0 || one->number > 0) continue;
        const char *cut = l->delimiter ? strstr(one->key + prefix, l->delimiter) : NULL;
        char *key = cut ? str_ndup(one->key, (size_t)(cut - one->key) + 1) : str_dup(one->key);
        bool again = ret->count > 0 && strcmp(ret->items[ret->count - 1].key, key) == 0 && cut;
        if ((after && strcmp(key, after) <= 0) || again) {
            mem_free(key);
            continue;
        }
        if (ret->count == PAGE) {
            ret->next = str_dup(ret->items[ret->count - 1].key);
            mem_free(key);
            return;
        }
        ret->items = mem_resize(ret->items, (ret->count + 1) * sizeof *ret->items);
        ret->items[ret->count++] = (struct s3_entry){.key = key,
                                                     .upload_id = str_dup(one->upload_id),
                                                     .size = (int64_t)one->len,
                                                     .modified_ms = one->modified_ms,
                                                     .is_prefix = cut != NULL};
    }
}

struct result s3_store_list(struct s3_store_client *c, const struct s3_list *l, struct s3_entries *ret,
                            struct s3_failure *why) {
    struct call call = begin(c, why);
    if (!call.wrong) list(&c->bucket, l, ret);
    return end(&call, why);
}

struct result s3_store_list_uploads(struct s3_store_client *c, const struct s3_list *l, struct s3_entries *ret,
                                    struct s3_failure *why) {
    struct call call = begin(c, why);
    if (!call.wrong) list(&c->uploads, l, ret);
    c->sweeps++;
    return end(&call, why);
}

/* ---- Uploads ---- */

struct result s3_store_upload_create(struct s3_store_client *c, const char *key, char **ret_upload_id,
                                     struct s3_failure *why) {
    struct call call = begin(c, why);
    if (call.does) {
        struct object *o = add(c, &c->uploads, key, (struct slice){0});
        o->upload_id = str_dup(o->etag);
        if (!call.wrong) *ret_upload_id = str_dup(o->upload_id);
    }
    return end(&call, why);
}

static struct object *upload_part(const struct s3_store_client *c, const char *id, unsigned number) {
    for (size_t i = 0; i < c->uploads.count; i++) {
        struct object *o = c->uploads.items[i];
        if (strcmp(o->upload_id, id) == 0 && o->number == number) return o;
    }
    return NULL;
}

struct result s3_store_upload_part(struct s3_store_client *c, const char *key, const char *upload_id, unsigned number,
                                   struct slice body, char ret_etag[S3_STORE_ETAG_BYTES], struct s3_failure *why) {
    struct call call = begin(c, why);
    if (!call.wrong && !upload_part(c, upload_id, 0)) return end_with(&call, why, S3_TROUBLE_NOT_FOUND);
    if (call.does) {
        struct object *o = add(c, &c->uploads, key, body);
        o->upload_id = str_dup(upload_id);
        o->number = number;
        snprintf(ret_etag, S3_STORE_ETAG_BYTES, "%s", o->etag);
    }
    return end(&call, why);
}

static void forget_upload(struct s3_store_client *c, const char *id) {
    for (size_t i = c->uploads.count; i-- > 0;)
        if (strcmp(c->uploads.items[i]->upload_id, id) == 0) take_out(&c->uploads, i);
}

struct result s3_store_upload_complete(struct s3_store_client *c, const char *key, const char *upload_id,
                                       const struct s3_upload_part *parts, size_t count, int64_t size,
                                       char ret_etag[S3_STORE_ETAG_BYTES], struct s3_failure *why) {
    struct call call = begin(c, why);
    if (call.does) {
        BUF_AUTO(all, 1 << 30);
        for (size_t i = 0; i < count; i++) {
            const struct object *o = upload_part(c, upload_id, parts[i].number);
            if (!o || strcmp(o->etag, parts[i].etag) != 0 || (i + 1 < count && o->len < S3_STORE_MIN_PART_BYTES))
                return end_with(&call, why, S3_TROUBLE_REFUSED);
            buf_append(&all, o->data, o->len);
        }
        if ((int64_t)all.len != size) return end_with(&call, why, S3_TROUBLE_BROKEN);
        snprintf(ret_etag, S3_STORE_ETAG_BYTES, "%s", replace(c, key, buf_slice(&all))->etag);
        forget_upload(c, upload_id);
    }
    return end(&call, why);
}

struct result s3_store_upload_abort(struct s3_store_client *c, const char *key, const char *upload_id,
                                    struct s3_failure *why) {
    struct call call = begin(c, why);
    if (call.does) forget_upload(c, upload_id);
    return end(&call, why);
}

/* ---- For the tests ---- */

static struct object *nth(struct s3_store_client *c, const char *prefix, size_t n) {
    for (size_t i = 0; i < c->bucket.count; i++)
        if (strncmp(c->bucket.items[i]->key, prefix, strlen(prefix)) == 0 && n-- == 0) return c->bucket.items[i];
    return NULL;
}

size_t s3_double_count(struct s3_store_client *c, const char *prefix) {
    pthread_mutex_lock(&c->lock);
    size_t n = 0;
    while (nth(c, prefix, n))
        n++;
    pthread_mutex_unlock(&c->lock);
    return n;
}

size_t s3_double_uploads(struct s3_store_client *c) {
    pthread_mutex_lock(&c->lock);
    size_t n = c->uploads.count;
    pthread_mutex_unlock(&c->lock);
    return n;
}

void s3_double_age(struct s3_store_client *c, int64_t seconds) {
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < c->bucket.count; i++)
        c->bucket.items[i]->modified_ms -= seconds * 1000;
    for (size_t i = 0; i < c->uploads.count; i++)
        c->uploads.items[i]->modified_ms -= seconds * 1000;
    pthread_mutex_unlock(&c->lock);
}

uint8_t *s3_double_content(struct s3_store_client *c, const char *prefix, size_t n, size_t **ret_len) {
    struct object *o = nth(c, prefix, n);
    if (!o) return NULL;
    *ret_len = &o->len;
    return o->data;
}

const char *s3_double_name(struct s3_store_client *c, const char *prefix, size_t n) {
    struct object *o = nth(c, prefix, n);
    return o ? o->key : NULL;
}

void s3_double_copy(struct s3_store_client *c, const char *from, const char *to) {
    const struct object *o = find(&c->bucket, from);
    replace(c, to, slice_make(o->data, o->len));
}
