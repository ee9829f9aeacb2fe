/* Single objects: put, get, head, delete; and the bucket itself. */
#include <stdio.h>
#include <string.h>

#include "aws/s3_store_priv.h"

/* ---- put ---- */

struct result s3_judge_written(struct s3_request *r, const struct http_reply *reply, struct s3_failure *f) {
    struct slice etag = {0};
    if (r->client->key_arn) TRY(s3_check_encryption(r->client, reply, r->encrypts, f));
    http_reply_header(reply, "ETag", &etag);
    return s3_take_etag(etag, r->arg);
}

struct result s3_store_put(struct s3_store_client *c, const struct s3_put *put, char ret_etag[S3_STORE_ETAG_BYTES],
                           struct s3_failure *why) {
    struct s3_request r = {.client = c,
                           .method = "PUT",
                           .what = "writing an object",
                           .key = put->key,
                           .body = put->body,
                           .changes = true,
                           .encrypts = true,
                           .judge = s3_judge_written,
                           .arg = ret_etag};
    s3_request_field(&r, "Content-Type", "application/octet-stream");
    if (put->only_new) s3_request_field(&r, "If-None-Match", "*");
    AUTO(http_reply_done) struct http_reply reply = {0};
    return s3_request_send(&r, &reply, why);
}

/* ---- get ---- */

struct get_call {
    struct s3_get get;
    struct s3_request request;
    bool whole;
    int64_t done, total, expected; /* total -1: not known yet; expected: bytes of this answer */
    int64_t max_total;             /* of a whole object; -1: no limit */
    struct s3_head head;
    char if_match[S3_STORE_ETAG_BYTES + 2], range[64];
    int status;
    enum { TOOK_ALL, TOOK_REFUSED, TOOK_TOO_LARGE, TOOK_BROKEN, TOOK_RANGELESS } outcome;
    char why[160];
    struct buf refusal;
};

static void get_done(struct get_call *g) {
    buf_done(&g->refusal);
}

static int64_t wanted(const struct get_call *g) {
    int64_t most = g->whole ? INT64_MAX : g->get.length;
    int64_t rest = g->total < 0 ? INT64_MAX : g->total - g->get.from;
    return most < rest ? most : rest;
}

static struct result prepare_get(struct s3_request *r) {
    struct get_call *g = r->arg;
    long long at = g->get.from + g->done;
    g->outcome = TOOK_ALL;
    g->expected = 0;
    buf_clear(&g->refusal);
    r->field_count = 0;
    const char *etag = g->get.etag ? g->get.etag : g->head.etag;
    snprintf(g->if_match, sizeof g->if_match, "\"%s\"", etag);
    if (*etag) s3_request_field(r, "If-Match", g->if_match);
    if (g->whole)
        snprintf(g->range, sizeof g->range, "bytes=%lld-", at);
    else
        snprintf(g->range, sizeof g->range, "bytes=%lld-%lld", at, (long long)(g->get.from + g->get.length - 1));
    if (!g->whole || at > 0) s3_request_field(r, "Range", g->range);
    return OK;
}

/* Does the answer's head belong to the object, and to the place where we are? */
static struct result check_get_head(struct get_call *g, const struct http_reply *reply) {
    int64_t at = g->get.from + g->done, last = 0, total = 0;
    struct s3_head head = {0};
    struct slice text = {0};
    TRY(s3_take_head(reply, true, &head));
    const char *etag = g->get.etag ? g->get.etag : g->head.etag;
    CHECK(!*etag || strcmp(etag, head.etag) == 0, ERR_PEER, "another version of the object came than was asked for");
    if (reply->status == 206) {
        http_reply_header(reply, "Content-Range", &text);
        TRY(s3_wire_range(text, at, &last, &total));
        g->expected = last - at + 1;
        CHECK(g->expected == head.size, ERR_PEER, "a part of an object has another length than its range");
        CHECK(g->expected <= wanted(g) - g->done, ERR_PEER, "a longer part of an object came than was asked for");
    } else {
        CHECK(at == 0, ERR_PEER, "a whole object came where a part was asked for");
        g->expected = total = head.size;
    }
    CHECK(g->total < 0 || g->total == total, ERR_PEER, "the object has another length than it had just now");
    g->total = total;
    /* Fewer bytes than were asked for come only at the object's end. */
    int64_t rest = wanted(g) - g->done;
    CHECK(g->expected >= rest, ERR_PEER, "a shorter part of an object came than was asked for");
    g->head = head;
    g->head.size = total;
    return OK;
}

static void see_get_head(void *arg, const struct http_reply *reply) {
    struct get_call *g = arg;
    g->status = reply->status;
    if (reply->status != 200 && reply->status != 206) return;
    if (is_err(check_get_head(g, reply))) {
        g->outcome = TOOK_BROKEN;
        s3_wire_clean(g->why, sizeof g->why, err_detail());
        return;
    }
    if (g->max_total >= 0 && g->total > g->max_total) g->outcome = TOOK_TOO_LARGE;
}

static bool write_get(void *arg, struct slice piece) {
    struct get_call *g = arg;
    if (g->status != 200 && g->status != 206) {
        buf_append_slice(&g->refusal, piece); /* what is over its maximum is no error that can be read */
        return true;
    }
    g->request.stopped = true; /* unless we come to the end of this */
    if (g->outcome != TOOK_ALL) return false;
    int64_t rest = wanted(g) - g->done;
    bool enough = (int64_t)piece.len >= rest;
    if ((int64_t)piece.len > rest) piece.len = (size_t)rest;
    if (piece.len && !g->get.take(g->get.arg, piece)) {
        g->outcome = TOOK_REFUSED;
        return false;
    }
    g->done += (int64_t)piece.len;
    g->request.progressed |= piece.len > 0;
    g->request.satisfied = enough;
    /* A store that ignores the range goes on; the rest is nobody's. */
    if (enough && g->status == 200 && g->total > g->done) return false;
    g->request.stopped = false;
    return true;
}

static struct result judge_get(struct s3_request *r, const struct http_reply *reply, struct s3_failure *f) {
    struct get_call *g = r->arg;
    if (!r->stopped) g->status = reply->status;
    f->http_status = g->status;
    if (r->stopped && g->outcome == TOOK_REFUSED) {
        f->trouble = S3_TROUBLE_CANCELLED;
        FAIL(ERR_CANCELLED, "its receiver gave up");
    }
    if (r->stopped && g->outcome == TOOK_TOO_LARGE)
        FAIL(ERR_TOO_LARGE, "the object has %lld bytes, over its limit of %lld", (long long)g->total,
             (long long)g->max_total);
    CHECK(g->outcome != TOOK_BROKEN, ERR_PEER, "%s", g->why);
    if (r->satisfied) return OK;
    /* Without a body nobody told the head. */
    see_get_head(g, reply);
    CHECK(g->outcome != TOOK_BROKEN, ERR_PEER, "%s", g->why);
    CHECK(g->total == 0 && g->done == 0, ERR_PEER, "the object ended early");
    return OK;
}

static struct result run_get(struct s3_store_client *c, struct get_call *g, struct s3_head *ret,
                             struct s3_failure *why) {
    g->request = (struct s3_request){.client = c,
                                     .method = "GET",
                                     .what = "reading an object",
                                     .key = g->get.key,
                                     .prepare = prepare_get,
                                     .judge = judge_get,
                                     .see_head = see_get_head,
                                     .write_body = write_get,
                                     .arg = g,
                                     .refusal = &g->refusal,
                                     .transfer_bytes = g->whole ? g->max_total : g->get.length};
    g->total = -1;
    buf_init(&g->refusal, 65536);
    AUTO(http_reply_done) struct http_reply reply = {0};
    struct result got = s3_request_send(&g->request, &reply, why);
    if (is_ok(got) && ret) *ret = g->head;
    return got;
}

struct result s3_store_get(struct s3_store_client *c, const struct s3_get *get, struct s3_head *ret,
                           struct s3_failure *why) {
    CHECK(get->from >= 0 && get->length >= 1 && get->length <= INT64_MAX - get->from && get->take, ERR_INTERNAL,
          "a range of no object");
    AUTO(get_done) struct get_call g = {.get = *get, .max_total = -1};
    return run_get(c, &g, ret, why);
}

static bool append_piece(void *arg, struct slice piece) {
    buf_append_slice(arg, piece);
    return !((struct buf *)arg)->overflowed;
}

struct result s3_store_get_whole(struct s3_store_client *c, const char *key, size_t max, struct buf *out,
                                 struct s3_head *ret, struct s3_failure *why) {
    AUTO(get_done)
    struct get_call g = {
        .get = {.key = key, .take = append_piece, .arg = out}, .whole = true, .max_total = (int64_t)max};
    return run_get(c, &g, ret, why);
}

/* ---- head ---- */

static struct result judge_head(struct s3_request *r, const struct http_reply *reply, struct s3_failure *f) {
    return s3_take_head(reply, true, r->arg);
}

struct result s3_store_head(struct s3_store_client *c, const char *key, struct s3_head *ret, struct s3_failure *why) {
    struct s3_head head = {0};
    struct s3_request r = {
        .client = c, .method = "HEAD", .what = "looking at an object", .key = key, .judge = judge_head, .arg = &head};
    AUTO(http_reply_done) struct http_reply reply = {0};
    TRY(s3_request_send(&r, &reply, why));
    *ret = head;
    return OK;
}

/* ---- delete ---- */

struct result s3_store_delete(struct s3_store_client *c, const char *key, const char *version_id,
                              struct s3_failure *why) {
    struct s3_failure f = {0};
    struct s3_request r = {.client = c, .method = "DELETE", .what = "deleting an object", .key = key, .changes = true};
    if (version_id) s3_request_param(&r, "versionId", version_id);
    AUTO(http_reply_done) struct http_reply reply = {0};
    struct result done = s3_request_send(&r, &reply, &f);
    if (is_err(done) && f.trouble == S3_TROUBLE_NOT_FOUND) {
        f = (struct s3_failure){.attempts = f.attempts};
        done = OK;
    }
    if (why) *why = f;
    return done;
}

/* ---- the bucket ---- */

struct result s3_store_head_bucket(struct s3_store_client *c, struct s3_failure *why) {
    struct s3_failure f = {0};
    struct s3_request r = {.client = c, .method = "HEAD", .what = "looking at the bucket"};
    AUTO(http_reply_done) struct http_reply reply = {0};
    struct result done = s3_request_send(&r, &reply, &f);
    if (f.trouble == S3_TROUBLE_NOT_FOUND) f.trouble = S3_TROUBLE_NO_BUCKET;
    if (why) *why = f;
    if (f.trouble == S3_TROUBLE_NO_BUCKET) FAIL(ERR_NOT_FOUND, "there is no bucket '%s'", c->bucket);
    return done;
}

struct versions_call {
    bool has;
};

static struct result judge_versioning(struct s3_request *r, const struct http_reply *reply, struct s3_failure *f) {
    struct versions_call *v = r->arg;
    AUTO(xml_free_auto) struct xml_node *root = NULL;
    CHECK(is_ok(xml_parse(buf_slice(&reply->body), &root)) && strcmp(root->name, "VersioningConfiguration") == 0,
          ERR_PEER, "the answer tells nothing of the bucket's versions");
    v->has = *s3_wire_child(root, "Status") != 0;
    return OK;
}

struct result s3_store_has_versions(struct s3_store_client *c, bool *ret, struct s3_failure *why) {
    struct versions_call v = {0};
    struct s3_request r = {
        .client = c, .method = "GET", .what = "asking for versions", .judge = judge_versioning, .arg = &v};
    s3_request_param(&r, "versioning", "");
    AUTO(http_reply_done) struct http_reply reply = {0};
    TRY(s3_request_send(&r, &reply, why));
    *ret = v.has;
    return OK;
}
