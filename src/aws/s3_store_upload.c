/* Multipart uploads. */
#include <stdio.h>
#include <string.h>

#include "aws/s3_store_priv.h"

enum { COMPLETE_MAX_BYTES = 4 << 20 };

/* ---- create ---- */

struct create_call {
    char *id;
};

static struct result judge_create(struct s3_request *r, const struct http_reply *reply, struct s3_failure *f) {
    struct create_call *k = r->arg;
    AUTO(xml_free_auto) struct xml_node *root = NULL;
    if (r->client->key_arn) TRY(s3_check_encryption(r->client, reply, true, f));
    CHECK(is_ok(xml_parse(buf_slice(&reply->body), &root)) &&
              strcmp(root->name, "InitiateMultipartUploadResult") == 0 && *s3_wire_child(root, "UploadId"),
          ERR_PEER, "the answer has no id of an upload");
    mem_free(k->id);
    k->id = str_dup(s3_wire_child(root, "UploadId"));
    return OK;
}

struct result s3_store_upload_create(struct s3_store_client *c, const char *key, char **ret_upload_id,
                                     struct s3_failure *why) {
    struct create_call k = {0};
    struct s3_request r = {.client = c,
                           .method = "POST",
                           .what = "beginning an upload",
                           .key = key,
                           .changes = true,
                           .encrypts = true,
                           .judge = judge_create,
                           .arg = &k};
    s3_request_param(&r, "uploads", "");
    s3_request_field(&r, "Content-Type", "application/octet-stream");
    AUTO(http_reply_done) struct http_reply reply = {0};
    TRY(s3_request_send(&r, &reply, why));
    *ret_upload_id = k.id;
    return OK;
}

/* ---- parts ---- */

struct result s3_store_upload_part(struct s3_store_client *c, const char *key, const char *upload_id, unsigned number,
                                   struct slice body, char ret_etag[S3_STORE_ETAG_BYTES], struct s3_failure *why) {
    CHECK(number >= 1 && number <= S3_STORE_MAX_PARTS, ERR_INTERNAL, "an upload has no part %u", number);
    struct s3_request r = {.client = c,
                           .method = "PUT",
                           .what = "writing a part",
                           .key = key,
                           .body = body,
                           .changes = true,
                           .judge = s3_judge_written,
                           .arg = ret_etag};
    char text[16];
    snprintf(text, sizeof text, "%u", number);
    s3_request_param(&r, "partNumber", text);
    s3_request_param(&r, "uploadId", upload_id);
    AUTO(http_reply_done) struct http_reply reply = {0};
    return s3_request_send(&r, &reply, why);
}

/* ---- complete ---- */

struct complete_call {
    char etag[S3_STORE_ETAG_BYTES];
    bool told_encryption;
};

/* An answer of 200 may begin before the work is done, and then tell an error. */
static struct result judge_complete(struct s3_request *r, const struct http_reply *reply, struct s3_failure *f) {
    struct complete_call *k = r->arg;
    AUTO(xml_free_auto) struct xml_node *root = NULL;
    struct slice kind;
    CHECK(is_ok(xml_parse(buf_slice(&reply->body), &root)), ERR_PEER, "the answer to a completion can't be read");
    if (strcmp(root->name, "Error") == 0) {
        s3_failure_read_xml(root, f);
        f->http_status = 400; /* in effect */
        enum s3_remedy remedy = s3_failure_classify(f);
        /* What may be retried is retried as an answer that is broken. */
        if (remedy == S3_REMEDY_WAIT) f->trouble = S3_TROUBLE_UNREACHABLE;
        FAIL(ERR_PEER, "S3 answers 200 %s", f->code);
    }
    CHECK(strcmp(root->name, "CompleteMultipartUploadResult") == 0, ERR_PEER,
          "the answer to a completion can't be read");
    if (r->client->key_arn) TRY(s3_check_encryption(r->client, reply, false, f));
    k->told_encryption = http_reply_header(reply, "x-amz-server-side-encryption", &kind);
    return s3_take_etag(slice_str(s3_wire_child(root, "ETag")), k->etag);
}

static struct result write_parts(const struct s3_upload_part *parts, size_t count, struct buf *out) {
    struct xml_writer w;
    xml_start(&w, out);
    xml_open_ns(&w, "CompleteMultipartUpload", "http://s3.amazonaws.com/doc/2006-03-01/");
    for (size_t i = 0; i < count; i++) {
        char etag[S3_STORE_ETAG_BYTES + 2];
        snprintf(etag, sizeof etag, "\"%s\"", parts[i].etag);
        xml_open(&w, "Part");
        xml_element_u64(&w, "PartNumber", parts[i].number);
        xml_element_str(&w, "ETag", etag);
        xml_close(&w);
    }
    xml_close(&w);
    return buf_check(out);
}

static struct result check_encrypted(struct s3_store_client *c, const struct s3_head *head, struct s3_failure *f) {
    bool good = head->is_kms && strcmp(head->key_id, c->key_arn) == 0 && (c->bucket_key || !head->bucket_key);
    if (good) return OK;
    f->trouble = S3_TROUBLE_NOT_ENCRYPTED;
    FAIL(ERR_PEER, "the store does not say that a completed upload is encrypted with the key %s", c->key_arn);
}

struct result s3_store_upload_complete(struct s3_store_client *c, const char *key, const char *upload_id,
                                       const struct s3_upload_part *parts, size_t count, int64_t size,
                                       char ret_etag[S3_STORE_ETAG_BYTES], struct s3_failure *why) {
    struct s3_failure own = {0}, *f = why ? why : &own;
    *f = own;
    BUF_AUTO(body, COMPLETE_MAX_BYTES);
    TRY(write_parts(parts, count, &body));
    struct complete_call k = {0};
    struct s3_request r = {.client = c,
                           .method = "POST",
                           .what = "completing an upload",
                           .key = key,
                           .body = buf_slice(&body),
                           .changes = true,
                           .judge = judge_complete,
                           .arg = &k};
    s3_request_param(&r, "uploadId", upload_id);
    s3_request_field(&r, "Content-Type", "application/xml");
    AUTO(http_reply_done) struct http_reply reply = {0};
    struct result done = s3_request_send(&r, &reply, f);
    /* The upload may have been completed by an attempt whose answer was lost. */
    bool lost = is_err(done) && f->trouble == S3_TROUBLE_NOT_FOUND && f->unsure;
    if (is_err(done) && !lost) return done;
    bool must_look = lost || (c->key_arn && !k.told_encryption);
    if (must_look) {
        struct s3_head head;
        TRY(s3_store_head(c, key, &head, f));
        if (c->key_arn) TRY(check_encrypted(c, &head, f));
        CHECK(head.size == size, ERR_CONFLICT, "another object than the upload's is there");
        mem_copy(k.etag, head.etag, sizeof head.etag);
    }
    mem_copy(ret_etag, k.etag, sizeof k.etag);
    return OK;
}

/* ---- abort ---- */

struct result s3_store_upload_abort(struct s3_store_client *c, const char *key, const char *upload_id,
                                    struct s3_failure *why) {
    struct s3_failure f = {0};
    struct s3_request r = {.client = c, .method = "DELETE", .what = "giving up an upload", .key = key, .changes = true};
    s3_request_param(&r, "uploadId", upload_id);
    AUTO(http_reply_done) struct http_reply reply = {0};
    struct result done = s3_request_send(&r, &reply, &f);
    if (is_err(done) && f.trouble == S3_TROUBLE_NOT_FOUND) {
        f = (struct s3_failure){.attempts = f.attempts};
        done = OK;
    }
    if (why) *why = f;
    return done;
}
