/* The operations of multipart uploads. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "store/remote.h"
#include "store/upload.h"

/* ---- Begin ---- */

/* Time first, so that ids sort as uploads began. */
static struct result new_id(char ret[static STORE_UPLOAD_ID_BYTES]) {
    uint8_t random[8];
    TRY(random_bytes(random, sizeof random));
    BUF_AUTO(bytes, 16);
    put_u64(&bytes, (uint64_t)clock_unix_us());
    buf_append(&bytes, random, sizeof random);
    BUF_AUTO(hex, STORE_UPLOAD_ID_BYTES);
    hex_encode(buf_slice(&bytes), &hex);
    mem_copy(ret, buf_str(&hex), STORE_UPLOAD_ID_BYTES);
    return OK;
}

static struct result begin_locked(struct store *s, const struct upload *u, const char *temporary, uint64_t token,
                                  int *ret_fd) {
    TRY(store_may_commit(s, token));
    if (mkdirat(s->uploads_fd, u->id, 0700) != 0) return err_from_errno(errno, "creating an upload's folder");
    FD_AUTO(fd) = -1;
    struct result r = upload_open_folder(s, u->id, &fd);
    if (is_ok(r) && renameat(s->tmp_fd, temporary, fd, "upload") != 0)
        r = err_from_errno(errno, "renaming an upload's record");
    if (is_err(r)) {
        unlinkat(s->uploads_fd, u->id, AT_REMOVEDIR);
        return r;
    }
    *ret_fd = TAKE_FD(fd);
    return OK;
}

static void upload_free_auto(struct upload **u) {
    upload_free(*u);
}

/* It is there: known from here on. */
static void begin_end(struct store *s, struct upload *u, char *ret_id) {
    mem_copy(ret_id, u->id, STORE_UPLOAD_ID_BYTES);
    store_lock(s);
    u->next = s->uploads;
    s->uploads = u;
    store_unlock(s);
}

struct result store_upload_begin(struct store *s, const struct store_commit *commit,
                                 char ret_id[static STORE_UPLOAD_ID_BYTES]) {
    TRY(store_check_key(commit->key));
    TRY(lease_check(s->lease));
    AUTO(upload_free_auto) struct upload *u = mem_alloc(sizeof *u);
    TRY(new_id(u->id));
    u->key = str_dup(commit->key);
    u->begun_ms = clock_unix_ms();
    RECORD_AUTO(record);
    record.type = RECORD_UPLOAD;
    record.info.key = str_dup(commit->key);
    record.info.mtime_ms = u->begun_ms;
    TRY(record_set_fields(&record, commit->fields, commit->field_count));
    if (s->remote) {
        TRY(remote_upload_begin(s, u, &record, commit->token));
        begin_end(s, TAKE(u), ret_id);
        return OK;
    }
    BUF_AUTO(context, STORE_CONTEXT_MAX_BYTES);
    TRY(upload_record_context(s, u->id, &context));
    char temporary[STORE_PATH_BYTES];
    TRY(store_write_record(s, &record, buf_slice(&context), temporary));
    FD_AUTO(fd) = -1;
    store_lock(s);
    struct result r = begin_locked(s, u, temporary, commit->token, &fd);
    store_unlock(s);
    if (is_err(r)) unlinkat(s->tmp_fd, temporary, 0);
    TRY(r);
    if (fsync(fd) != 0 || fsync(s->uploads_fd) != 0) {
        r = err_from_errno(errno, "syncing an upload's folder");
        result_ignore(store_remove_upload_folder(s->uploads_fd, u->id)); /* the next open sweeps it */
        return r;
    }
    begin_end(s, TAKE(u), ret_id);
    return OK;
}

/* ---- Parts ---- */

struct result store_part_new(struct store *s, const char *upload_id, const char *key, unsigned number,
                             struct store_writer **ret) {
    CHECK(number >= 1 && number <= STORE_PART_MAX, ERR_INVALID, "part numbers go from 1 to %d", STORE_PART_MAX);
    store_lock(s);
    struct upload *u;
    struct result r = upload_find(s, upload_id, key, &u);
    store_unlock(s);
    TRY(r);
    struct store_writer *w;
    TRY(store_writer_new(s, &w));
    w->key = str_dup(key);
    mem_copy(w->upload_id, upload_id, STORE_UPLOAD_ID_BYTES);
    w->number = number;
    *ret = w;
    return OK;
}

struct part_attempt {
    struct store *store;
    const char *upload_id, *key;
    int fd; /* the upload's folder */
    uint8_t attempt[UPLOAD_ATTEMPT_BYTES];
    char temporary[STORE_PATH_BYTES]; /* the record in tmp/ */
};

static void remove_files(int fd, const uint8_t *attempt) {
    char path[STORE_PATH_BYTES];
    upload_record_path(attempt, path);
    unlinkat(fd, path, 0);
    for (size_t i = 0;; i++) {
        upload_body_path(attempt, i, path);
        if (unlinkat(fd, path, 0) != 0) return;
    }
}

static struct result part_prepare(struct part_attempt *a, struct record *record, const struct bodies_source *bodies) {
    struct store *s = a->store;
    TRY(random_bytes(a->attempt, sizeof a->attempt));
    char from[STORE_PATH_BYTES], to[STORE_PATH_BYTES];
    struct result r = OK;
    for (size_t i = 0; is_ok(r) && i < bodies->count; i++) {
        int from_fd;
        bodies->locate(bodies->arg, i, &from_fd, from);
        upload_body_path(a->attempt, i, to);
        r = bodies_link(from_fd, from, a->fd, to);
    }
    BUF_AUTO(context, STORE_CONTEXT_MAX_BYTES);
    if (is_ok(r)) r = upload_part_context(s, a->upload_id, a->attempt, &context);
    if (is_ok(r)) r = store_write_record(s, record, buf_slice(&context), a->temporary);
    if (is_err(r)) remove_files(a->fd, a->attempt);
    return r;
}

/* *ret_behind: an attempt with a higher sequence was committed meanwhile. */
static struct result part_commit_locked(struct part_attempt *a, struct record *record, uint64_t token, bool *ret_behind,
                                        bool *ret_replaces, uint8_t *ret_replaced) {
    struct store *s = a->store;
    struct upload *u;
    TRY(upload_find(s, a->upload_id, a->key, &u));
    CHECK(!u->is_closing, ERR_CONFLICT, "the upload is being completed");
    bool found;
    size_t at = upload_position(u, record->parts[0].number, &found);
    *ret_behind = found && u->parts[at].sequence >= record->sequence;
    if (*ret_behind) {
        if (s->last_sequence < u->parts[at].sequence) s->last_sequence = u->parts[at].sequence;
        return OK;
    }
    TRY(store_may_commit(s, token));
    char path[STORE_PATH_BYTES];
    upload_record_path(a->attempt, path);
    if (renameat(s->tmp_fd, a->temporary, a->fd, path) != 0) return err_from_errno(errno, "renaming a part's record");
    *ret_replaces = found;
    if (found) mem_copy(ret_replaced, u->parts[at].attempt, UPLOAD_ATTEMPT_BYTES);
    struct record_segment *segments = mem_dup(record->segments, record->segment_count * sizeof *record->segments);
    upload_put_record(u, record, a->attempt, segments);
    return OK;
}

static struct result part_sync(struct part_attempt *a) {
    if (fsync(a->fd) == 0) return OK;
    struct result r = err_from_errno(errno, "syncing an upload's folder");
    store_lock(a->store);
    remove_files(a->fd, a->attempt);
    struct upload *u;
    if (is_ok(upload_find(a->store, a->upload_id, a->key, &u)))
        result_ignore(upload_read_parts(a->store, u, false)); /* a part less is noticed when completing */
    store_unlock(a->store);
    return r;
}

static struct result part_publish_once(struct part_attempt *a, struct record *record,
                                       const struct bodies_source *bodies, uint64_t token, bool *ret_behind) {
    struct store *s = a->store;
    store_lock(s);
    uint64_t now = (uint64_t)clock_unix_us();
    s->last_sequence = now > s->last_sequence ? now : s->last_sequence + 1;
    record->sequence = s->last_sequence;
    store_unlock(s);
    record->info.mtime_ms = clock_unix_ms();
    TRY(part_prepare(a, record, bodies));
    bool replaces = false;
    uint8_t replaced[UPLOAD_ATTEMPT_BYTES];
    store_lock(s);
    struct result r = part_commit_locked(a, record, token, ret_behind, &replaces, replaced);
    store_unlock(s);
    if (is_err(r) || *ret_behind) {
        unlinkat(s->tmp_fd, a->temporary, 0);
        remove_files(a->fd, a->attempt);
        return r;
    }
    TRY(part_sync(a));
    if (replaces) remove_files(a->fd, replaced);
    return OK;
}

static struct result part_publish(struct store *s, const char *upload_id, const char *key, struct record *record,
                                  const struct bodies_source *bodies, uint64_t token, struct store_written *ret) {
    if (s->remote) return remote_part_publish(s, upload_id, key, record, bodies->shared_from, token, ret);
    struct part_attempt a = {.store = s, .upload_id = upload_id, .key = key};
    uint8_t id[16];
    TRY(upload_id_bytes(upload_id, id));
    FD_AUTO(fd) = -1;
    TRY(upload_open_folder(s, upload_id, &fd));
    a.fd = fd;
    bool behind = true;
    while (behind) {
        behind = false;
        TRY(part_publish_once(&a, record, bodies, token, &behind));
    }
    *ret = (struct store_written){record->info.etag, record->info.mtime_ms, record->info.size};
    return OK;
}

static void part_record(struct record *record, const char *key, unsigned number, uint64_t size) {
    record->type = RECORD_PART;
    record->info.key = str_dup(key);
    record->info.size = size;
    record->parts = mem_alloc(sizeof *record->parts);
    record->part_count = 1;
    record->parts[0].number = (uint16_t)number;
}

static void locate_temporary(const void *arg, size_t index, int *ret_fd, char ret[static STORE_PATH_BYTES]) {
    const struct store_writer *w = arg;
    *ret_fd = w->store->tmp_fd;
    mem_copy(ret, w->temporary, sizeof w->temporary);
}

void store_part_note(struct store_writer *w, const char *note) {
    size_t len = strlen(note);
    assert(len < sizeof w->note);
    mem_copy(w->note, note, len + 1);
}

struct result store_part_commit(struct store_writer *w, const uint8_t *md5, uint64_t token, struct store_written *ret) {
    CHECK(!w->finished && w->key, ERR_INTERNAL, "a writer was used after it failed or was committed");
    w->finished = true;
    TRY(writer_finish_body(w));
    RECORD_AUTO(record);
    part_record(&record, w->key, w->number, w->size);
    TRY(writer_etag(md5, &record.info.etag));
    const struct store_field note = {UPLOAD_NOTE_FIELD, w->note};
    if (w->note[0] != '\0') TRY(record_set_fields(&record, &note, 1));
    writer_add_segment(w, &record);
    record.parts[0].segments = (uint32_t)record.segment_count;
    struct bodies_source source = {locate_temporary, w, record.segment_count, NULL};
    TRY(part_publish(w->store, w->upload_id, w->key, &record, &source, token, ret));
    w->published = true;
    return OK;
}

/* Do whole segments make up the range? */
static bool covers_segments(const struct record *record, uint64_t offset, uint64_t length, size_t *ret_first,
                            size_t *ret_count) {
    uint64_t start = 0;
    size_t i = 0;
    while (i < record->segment_count && start < offset)
        start += record->segments[i++].size;
    if (start != offset || length == 0) return false;
    *ret_first = i;
    while (i < record->segment_count && start < offset + length)
        start += record->segments[i++].size;
    *ret_count = i - *ret_first;
    return start == offset + length;
}

static struct result copy_shared(struct store *s, const struct store_part_copy *copy, struct store_reader *reader,
                                 uint64_t length, size_t first, size_t count, struct store_written *ret) {
    RECORD_AUTO(record);
    part_record(&record, copy->key, copy->number, length);
    TRY(writer_etag(NULL, &record.info.etag));
    record.segments = mem_dup(store_reader_record(reader)->segments + first, count * sizeof *record.segments);
    record.segment_count = count;
    record.parts[0].segments = (uint32_t)count;
    struct writer_copied from = {s, reader, first};
    struct bodies_source source = writer_copied_source(&from, count);
    return part_publish(s, copy->upload_id, copy->key, &record, &source, copy->token, ret);
}

struct piece {
    uint8_t bytes[2 * LEASE_CHUNK_BYTES];
};

static void piece_free(struct piece **p) {
    if (*p) wipe(*p, sizeof **p);
    mem_free(*p);
}

static struct result copy_streaming(struct store_writer *w, struct store_reader *reader, uint64_t offset,
                                    uint64_t length) {
    AUTO(piece_free) struct piece *piece = mem_alloc(sizeof *piece);
    while (length > 0) {
        size_t n;
        TRY(store_reader_read(reader, offset, piece->bytes,
                              length < sizeof piece->bytes ? (size_t)length : sizeof piece->bytes, &n));
        TRY(store_writer_append(w, slice_make(piece->bytes, n)));
        offset += n;
        length -= n;
    }
    return OK;
}

struct result store_part_copy(struct store *s, const struct store_part_copy *copy, struct store_written *ret) {
    AUTO(store_writer_free_auto) struct store_writer *w = NULL;
    TRY(store_part_new(s, copy->upload_id, copy->key, copy->number, &w));
    AUTO(store_reader_free_auto) struct store_reader *reader = NULL;
    TRY(store_reader_new(s, copy->from, &reader));
    const struct record *from = store_reader_record(reader);
    CHECK(!copy->if_match || store_etag_equal(&from->info.etag, &copy->source_etag), ERR_PRECONDITION,
          "the source has another ETag");
    uint64_t offset = copy->whole ? 0 : copy->offset, length = copy->whole ? from->info.size : copy->length;
    CHECK(copy->whole || length > 0, ERR_RANGE, "an empty range");
    CHECK(offset <= from->info.size && length <= from->info.size - offset, ERR_RANGE,
          "the range is not inside of the source");
    size_t first, count;
    if (covers_segments(from, offset, length, &first, &count))
        return copy_shared(s, copy, reader, length, first, count, ret);
    TRY(copy_streaming(w, reader, offset, length));
    return store_part_commit(w, NULL, copy->token, ret);
}

/* ---- Complete ---- */

/* What is being joined; lives while the upload is closing. */
struct joining {
    struct store *store;
    int fd; /* the upload's folder */
    struct {
        uint8_t attempt[UPLOAD_ATTEMPT_BYTES];
        size_t index;
    } * bodies;
};

static void joining_done(struct joining *j) {
    fd_close(&j->fd);
    mem_free(j->bodies);
}

static void locate_joined(const void *arg, size_t index, int *ret_fd, char ret[static STORE_PATH_BYTES]) {
    const struct joining *j = arg;
    *ret_fd = j->fd;
    upload_body_path(j->bodies[index].attempt, j->bodies[index].index, ret);
}

static struct result check_list(const struct upload *u, const struct store_complete *complete,
                                enum store_complete_problem *ret_problem) {
    unsigned last = 0;
    for (size_t i = 0; i < complete->part_count; i++) {
        const struct store_part *wanted = &complete->parts[i];
        *ret_problem = STORE_COMPLETE_ORDER;
        CHECK(wanted->number > last, ERR_INVALID, "the parts are not in ascending order");
        last = wanted->number;
    }
    for (size_t i = 0; i < complete->part_count; i++) {
        const struct store_part *wanted = &complete->parts[i];
        bool found;
        size_t at = upload_position(u, wanted->number, &found);
        *ret_problem = STORE_COMPLETE_PART;
        CHECK(found, ERR_INVALID, "part %u was not uploaded", wanted->number);
        CHECK(store_etag_equal(&u->parts[at].etag, &wanted->etag), ERR_INVALID, "part %u has another ETag",
              wanted->number);
        *ret_problem = STORE_COMPLETE_TOO_SMALL;
        CHECK(i + 1 == complete->part_count || u->parts[at].size >= complete->min_part_bytes, ERR_INVALID,
              "part %u is smaller than %llu bytes and not the last", wanted->number,
              (unsigned long long)complete->min_part_bytes);
    }
    *ret_problem = STORE_COMPLETE_PART;
    CHECK(complete->part_count >= 1, ERR_INVALID, "no parts");
    *ret_problem = STORE_COMPLETE_OK;
    return OK;
}

/* Fills record and joining from the parts, whose list has been checked. */
static struct result join(const struct upload *u, const struct store_complete *complete, struct record *record,
                          struct joining *j) {
    size_t segments = 0, at = 0;
    bool found;
    for (size_t i = 0; i < complete->part_count; i++)
        segments += u->parts[upload_position(u, complete->parts[i].number, &found)].segment_count;
    CHECK(segments <= RECORD_SEGMENTS_MAX, ERR_TOO_LARGE, "the object would have more than %d pieces",
          RECORD_SEGMENTS_MAX);
    record->parts = mem_alloc_array(complete->part_count, sizeof *record->parts);
    record->part_count = complete->part_count;
    record->segments = mem_alloc_array(segments, sizeof *record->segments);
    record->segment_count = segments;
    j->bodies = mem_alloc_array(segments, sizeof *j->bodies);
    AUTO(digest_free_auto) struct digest *md5 = NULL;
    TRY(digest_new(DIGEST_MD5, &md5));
    for (size_t i = 0; i < complete->part_count; i++) {
        const struct upload_part *p = &u->parts[upload_position(u, complete->parts[i].number, &found)];
        record->parts[i] = (struct record_part){(uint16_t)p->number, (uint32_t)p->segment_count};
        record->info.size += p->size;
        TRY(digest_update(md5, slice_make(p->etag.bytes, sizeof p->etag.bytes)));
        for (size_t k = 0; k < p->segment_count; k++, at++) {
            record->segments[at] = p->segments[k];
            mem_copy(j->bodies[at].attempt, p->attempt, UPLOAD_ATTEMPT_BYTES);
            j->bodies[at].index = k;
        }
    }
    record->info.etag.parts = (uint32_t)complete->part_count;
    return digest_finish(md5, record->info.etag.bytes);
}

static struct result read_upload(struct store *s, const char *id, int fd, struct record *begun) {
    BUF_AUTO(context, STORE_CONTEXT_MAX_BYTES);
    TRY(upload_record_context(s, id, &context));
    FD_AUTO(in) = openat(fd, "upload", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (in < 0) return err_from_errno(errno, "opening an upload's record");
    return store_read_record(s, in, buf_slice(&context), begun);
}

/* Key and fields as they were given at begin, and the fields of `more`. */
static struct result set_fields(const struct record *begun, const struct store_commit *more, struct record *record) {
    record->info.key = str_dup(begun->info.key);
    size_t count = begun->info.field_count + more->field_count;
    AUTO_FREE struct store_field *fields = mem_alloc_array(count, sizeof *fields);
    for (size_t i = 0; i < count; i++)
        fields[i] = i < begun->info.field_count ? begun->info.fields[i] : more->fields[i - begun->info.field_count];
    return record_set_fields(record, fields, count);
}

static struct result list_hash(const struct store_complete *complete, const char *key,
                               uint8_t ret[static SHA256_BYTES]) {
    AUTO(digest_free_auto) struct digest *d = NULL;
    TRY(digest_new(DIGEST_SHA256, &d));
    TRY(digest_update(d, slice_make(key, strlen(key) + 1)));
    for (size_t i = 0; i < complete->part_count; i++) {
        BUF_AUTO(part, 32);
        put_u32(&part, complete->parts[i].number);
        put_u32(&part, complete->parts[i].etag.parts);
        buf_append(&part, complete->parts[i].etag.bytes, sizeof complete->parts[i].etag.bytes);
        TRY(digest_update(d, buf_slice(&part)));
    }
    return digest_finish(d, ret);
}

static bool was_completed(struct store *s, const char *id, const uint8_t *hash, struct store_written *ret) {
    for (size_t i = 0; i < STORE_COMPLETED_KEPT; i++) {
        const struct store_completed *c = &s->completed[i];
        if (strcmp(c->id, id) != 0 || mem_order(c->list_hash, hash, SHA256_BYTES) != 0) continue;
        *ret = c->written;
        return true;
    }
    return false;
}

/* With the lock held. On success the upload is closing and belongs to this call. `begun`: as it was begun; in a
 * directory it is read here. */
static struct result complete_start(struct store *s, const struct store_complete *complete,
                                    const struct store_commit *commit, struct record *begun, struct record *record,
                                    struct joining *j, enum store_complete_problem *ret_problem, struct upload **ret) {
    struct upload *u;
    TRY(upload_find(s, complete->upload_id, commit->key, &u));
    CHECK(!u->is_closing, ERR_CONFLICT, "the upload is being completed");
    TRY(check_list(u, complete, ret_problem));
    TRY(join(u, complete, record, j));
    if (!s->remote) {
        TRY(upload_open_folder(s, u->id, &j->fd));
        TRY(read_upload(s, u->id, j->fd, begun));
    }
    TRY(set_fields(begun, commit, record));
    u->is_closing = true;
    *ret = u;
    return OK;
}

struct result store_upload_complete(struct store *s, const struct store_complete *complete,
                                    const struct store_commit *commit, enum store_complete_problem *ret_problem,
                                    struct store_written *ret) {
    *ret_problem = STORE_COMPLETE_OK;
    TRY(store_check_key(commit->key));
    TRY(lease_check(s->lease));
    uint8_t hash[SHA256_BYTES];
    TRY(list_hash(complete, commit->key, hash));
    RECORD_AUTO(record);
    AUTO(joining_done) struct joining j = {.store = s, .fd = -1};
    RECORD_AUTO(begun);
    struct upload *u = NULL;
    store_lock(s);
    bool again = was_completed(s, complete->upload_id, hash, ret);
    struct result r = again ? OK : upload_find(s, complete->upload_id, commit->key, &u);
    store_unlock(s);
    if (again) return OK;
    TRY(r);
    if (s->remote) TRY(remote_upload_read(s, complete->upload_id, &begun));
    store_lock(s);
    r = complete_start(s, complete, commit, &begun, &record, &j, ret_problem, &u);
    bool verifies = is_ok(r) && s->remote && u->maybe_completed;
    store_unlock(s);
    TRY(r);
    if (verifies) r = remote_upload_verify(s, &record);
    if (r.code == ERR_INVALID) *ret_problem = STORE_COMPLETE_PART;
    struct bodies_source source = {locate_joined, &j, record.segment_count, NULL};
    if (is_ok(r)) r = store_publish(s, &record, &source, &commit->condition, commit->token, ret);
    store_lock(s);
    u->is_closing = false;
    if (is_err(r)) u->maybe_completed = s->remote != NULL;
    if (is_ok(r)) {
        struct store_completed *c = &s->completed[s->completed_next++ % STORE_COMPLETED_KEPT];
        mem_copy(c->id, u->id, sizeof c->id);
        mem_copy(c->list_hash, hash, sizeof hash);
        c->written = *ret;
        upload_unlink(s, u);
        u->is_closing = true; /* for parts that are still being written */
        if (!s->remote) upload_free(u);
    }
    store_unlock(s);
    if (is_ok(r) && s->remote) result_ignore(remote_upload_remove(s, u, &record));
    if (s->remote) return r;
    /* Should that fail, the upload is there again after a restart, and swept when its time is over. */
    if (is_ok(r)) result_ignore(store_remove_upload_folder(s->uploads_fd, complete->upload_id));
    return r;
}

/* ---- Abort and lists ---- */

/* Takes the upload out of the list. */
static struct result abort_locked(struct store *s, const char *id, const char *key, uint64_t token,
                                  struct upload **ret) {
    struct upload *u;
    TRY(upload_find(s, id, key, &u));
    CHECK(!u->is_closing, ERR_CONFLICT, "the upload is being completed");
    TRY(store_may_commit(s, token));
    upload_unlink(s, u);
    u->is_closing = true; /* for parts that are still being written */
    *ret = u;
    return OK;
}

/* It could not be removed: it is an upload still, with the parts that are there, and may be aborted once more. */
static void abort_failed(struct store *s, struct upload *u) {
    char path[STORE_PATH_BYTES];
    snprintf(path, sizeof path, "%s/upload", u->id);
    if (faccessat(s->uploads_fd, path, F_OK, 0) != 0 && errno == ENOENT) {
        upload_free(u);
        return;
    }
    store_lock(s);
    u->is_closing = false;
    u->next = s->uploads;
    s->uploads = u;
    result_ignore(upload_read_parts(s, u, false)); /* a part less is noticed when completing */
    store_unlock(s);
}

struct result store_upload_abort(struct store *s, const char *upload_id, const char *key, uint64_t token) {
    TRY(lease_check(s->lease));
    AUTO(upload_free_auto) struct upload *u = NULL;
    store_lock(s);
    struct result r = abort_locked(s, upload_id, key, token, &u);
    store_unlock(s);
    TRY(r);
    if (s->remote) return remote_upload_remove(s, TAKE(u), NULL);
    r = store_remove_upload_folder(s->uploads_fd, upload_id);
    if (is_err(r)) {
        AUTO_FREE char *detail = str_dup(err_detail());
        abort_failed(s, TAKE(u));
        err_note("%s", detail);
        return r;
    }
    if (fsync(s->uploads_fd) != 0) return err_from_errno(errno, "syncing the folder of uploads");
    return OK;
}

struct result store_upload_parts(struct store *s, const char *upload_id, const char *key, unsigned after, size_t max,
                                 struct store_part_list *ret) {
    TRY(lease_check(s->lease));
    struct store_part_list list = {0};
    store_lock(s);
    struct upload *u;
    struct result r = upload_find(s, upload_id, key, &u);
    if (is_ok(r)) {
        bool found;
        size_t first = upload_position(u, after, &found) + (found ? 1 : 0), rest = u->part_count - first;
        list.count = rest < max ? rest : max;
        list.truncated = rest > max;
        list.parts = mem_alloc_array(list.count, sizeof *list.parts);
        for (size_t i = 0; i < list.count; i++) {
            const struct upload_part *p = &u->parts[first + i];
            list.parts[i] = (struct store_part){p->number, p->etag, p->size, p->mtime_ms, {0}};
            mem_copy(list.parts[i].note, p->note, sizeof p->note);
        }
    }
    store_unlock(s);
    if (is_ok(r)) *ret = list;
    return r;
}

void store_part_list_done(struct store_part_list *list) {
    mem_free(list->parts);
    *list = (struct store_part_list){0};
}

static int upload_order(const void *a, const void *b) {
    const struct store_upload *x = a, *y = b;
    int order = strcmp(x->key, y->key); /* UTF-8 without NUL: byte order */
    return order != 0 ? order : strcmp(x->id, y->id);
}

static bool upload_is_after(const struct upload *u, const char *after_key, const char *after_id) {
    if (!after_key || !*after_key) return true;
    int order = strcmp(u->key, after_key);
    if (order != 0) return order > 0;
    return after_id && *after_id && strcmp(u->id, after_id) > 0;
}

struct result store_upload_list(struct store *s, const char *prefix, const char *after_key, const char *after_id,
                                size_t max, struct store_upload_list *ret) {
    TRY(lease_check(s->lease));
    struct store_upload_list list = {0};
    size_t capacity = 0, prefix_len = prefix ? strlen(prefix) : 0;
    store_lock(s);
    for (const struct upload *u = s->uploads; u; u = u->next) {
        if (strncmp(u->key, prefix_len ? prefix : "", prefix_len) != 0 || !upload_is_after(u, after_key, after_id))
            continue;
        if (list.count == capacity) {
            capacity = capacity ? capacity * 2 : 16;
            list.uploads = mem_resize(list.uploads, capacity * sizeof *list.uploads);
        }
        struct store_upload *one = &list.uploads[list.count++];
        *one = (struct store_upload){.key = str_dup(u->key), .begun_ms = u->begun_ms};
        mem_copy(one->id, u->id, sizeof one->id);
    }
    store_unlock(s);
    if (list.count > 1) qsort(list.uploads, list.count, sizeof *list.uploads, upload_order);
    list.truncated = list.count > max;
    while (list.count > max)
        mem_free(list.uploads[--list.count].key);
    *ret = list;
    return OK;
}

void store_upload_list_done(struct store_upload_list *list) {
    for (size_t i = 0; i < list->count; i++)
        mem_free(list->uploads[i].key);
    mem_free(list->uploads);
    *list = (struct store_upload_list){0};
}
