#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "store/writer.h"

struct store_writer *store_writer_free(struct store_writer *w) {
    if (!w) return NULL;
    sealed_writer_free(w->sealer);
    if (w->remote) remote_body_free(w->remote, w->published);
    fd_close(&w->fd);
    if (w->temporary[0]) unlinkat(w->store->tmp_fd, w->temporary, 0);
    buf_done(&w->waiting);
    mem_free(w->key);
    mem_free(w);
    return NULL;
}

struct result store_writer_new(struct store *s, struct store_writer **ret) {
    TRY(lease_check(s->lease));
    struct store_writer *w = mem_alloc(sizeof *w);
    w->store = s;
    w->fd = -1;
    buf_init_wiping(&w->waiting, RECORD_INLINE_MAX_BYTES);
    *ret = w;
    return OK;
}

static struct result spill_to_file(struct store_writer *w, struct slice context) {
    struct store *s = w->store;
    char name[STORE_PATH_BYTES];
    store_temporary_name(s, name);
    w->fd = openat(s->tmp_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (w->fd < 0) return err_from_errno(errno, "creating a body");
    mem_copy(w->temporary, name, sizeof name);
    return sealed_writer_new_file(s->lease, context, w->fd, &w->sealer);
}

/* The content outgrew what a record may hold, or is a part's: it goes to a body. */
static struct result spill(struct store_writer *w) {
    struct store *s = w->store;
    TRY(random_bytes(w->body_id, sizeof w->body_id));
    BUF_AUTO(context, STORE_CONTEXT_MAX_BYTES);
    TRY(bodies_context(s, w->body_id, &context));
    if (s->remote) {
        TRY(remote_body_new(s, w->body_id, &w->remote));
        const struct sealed_sink sink = {remote_body_write, w->remote};
        TRY(sealed_writer_new(s->lease, remote_version(s), buf_slice(&context), &sink, &w->sealer));
    } else
        TRY(spill_to_file(w, buf_slice(&context)));
    TRY(sealed_writer_append(w->sealer, buf_slice(&w->waiting)));
    buf_clear(&w->waiting);
    return OK;
}
static struct result append(struct store_writer *w, struct slice piece) {
    TRY(lease_check(w->store->lease));
    CHECK(piece.len <= SEALED_PLAIN_MAX_BYTES - w->size, ERR_TOO_LARGE, "an object of more than 2^48 bytes");
    w->size += piece.len;
    if (!w->sealer && w->size <= RECORD_INLINE_MAX_BYTES) {
        buf_append_slice(&w->waiting, piece);
        return buf_check(&w->waiting);
    }
    if (!w->sealer) TRY(spill(w));
    return sealed_writer_append(w->sealer, piece);
}

struct result store_writer_append(struct store_writer *w, struct slice piece) {
    CHECK(!w->finished, ERR_INTERNAL, "a writer was used after it failed or was committed");
    struct result r = append(w, piece);
    if (is_err(r)) w->finished = true;
    return r;
}

struct result writer_finish_body(struct store_writer *w) {
    if (!w->sealer && w->size > 0) TRY(spill(w));
    if (!w->sealer) return OK;
    TRY(sealed_writer_finish(w->sealer));
    if (w->remote) return remote_body_finish(w->remote);
    if (fsync(w->fd) != 0) return err_from_errno(errno, "syncing a body");
    return OK;
}

struct result writer_etag(const uint8_t *md5, struct store_etag *ret) {
    struct store_etag etag = {0};
    if (md5)
        mem_copy(etag.bytes, md5, sizeof etag.bytes);
    else
        TRY(random_bytes(etag.bytes, sizeof etag.bytes));
    *ret = etag;
    return OK;
}

void writer_add_segment(const struct store_writer *w, struct record *record) {
    if (!w->sealer) return;
    record->segments = mem_alloc(sizeof *record->segments);
    record->segment_count = 1;
    record->segments[0].size = w->size;
    mem_copy(record->segments[0].body_id, w->body_id, sizeof w->body_id);
}

static void locate_temporary(const void *arg, size_t index, int *ret_fd, char ret[static STORE_PATH_BYTES]) {
    const struct store_writer *w = arg;
    *ret_fd = w->store->tmp_fd;
    mem_copy(ret, w->temporary, sizeof w->temporary);
}

struct result store_writer_commit(struct store_writer *w, const struct store_commit *commit,
                                  struct store_written *ret) {
    CHECK(!w->finished && !w->key, ERR_INTERNAL, "a writer was used after it failed or was committed");
    w->finished = true;
    TRY(store_check_key(commit->key));
    RECORD_AUTO(record);
    record.info.key = str_dup(commit->key);
    record.info.size = w->size;
    TRY(record_set_fields(&record, commit->fields, commit->field_count));
    TRY(writer_etag(commit->md5, &record.info.etag));
    if (w->sealer)
        TRY(writer_finish_body(w));
    else
        buf_append_slice(&record.content, buf_slice(&w->waiting));
    writer_add_segment(w, &record);
    struct bodies_source source = {locate_temporary, w, record.segment_count, NULL};
    TRY(store_publish(w->store, &record, &source, &commit->condition, commit->token, ret));
    w->published = true;
    return OK;
}

/* ---- Copy ---- */

static void locate_source(const void *arg, size_t index, int *ret_fd, char ret[static STORE_PATH_BYTES]) {
    const struct writer_copied *from = arg;
    *ret_fd = from->store->bodies_fd;
    bodies_path(store_reader_tag(from->reader), from->first + index, ret);
}

struct bodies_source writer_copied_source(const struct writer_copied *from, size_t count) {
    return (struct bodies_source){locate_source, from, count, store_reader_tag(from->reader)};
}

struct result store_copy(struct store *s, const struct store_copy *copy, const struct store_commit *commit,
                         struct store_written *ret) {
    TRY(store_check_key(commit->key));
    AUTO(store_reader_free_auto) struct store_reader *reader = NULL;
    TRY(store_reader_new(s, copy->from, &reader));
    const struct record *from = store_reader_record(reader);
    CHECK(!copy->if_match || store_etag_equal(&from->info.etag, &copy->source_etag), ERR_PRECONDITION,
          "the source has another ETag");
    RECORD_AUTO(record);
    record.info.key = str_dup(commit->key);
    record.info.size = from->info.size;
    record.info.etag = from->info.etag;
    if (copy->replace_fields)
        TRY(record_set_fields(&record, commit->fields, commit->field_count));
    else
        TRY(record_set_fields(&record, from->info.fields, from->info.field_count));
    buf_append_slice(&record.content, buf_slice(&from->content));
    record.parts = mem_dup(from->parts, from->part_count * sizeof *from->parts);
    record.part_count = from->part_count;
    record.segments = mem_dup(from->segments, from->segment_count * sizeof *from->segments);
    record.segment_count = from->segment_count;
    struct writer_copied source = {s, reader, 0};
    struct bodies_source bodies = writer_copied_source(&source, record.segment_count);
    return store_publish(s, &record, &bodies, &commit->condition, commit->token, ret);
}
