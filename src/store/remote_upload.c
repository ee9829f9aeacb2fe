/* Multipart uploads in S3: uploads/<id>/upload and uploads/<id>/p<attempt> are records, as in directories; the bodies
 * of parts are at bodies/ from the beginning, so that completing writes one record. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store/remote_priv.h"
#include "store/upload.h"

static void upload_path(const char *id, char ret[static STORE_PATH_BYTES]) {
    BUF_AUTO(path, STORE_PATH_BYTES - 1);
    buf_printf(&path, "uploads/%s/upload", id);
    mem_copy(ret, buf_str(&path), path.len + 1);
}

static void part_path(const char *id, const uint8_t *attempt, char ret[static STORE_PATH_BYTES]) {
    char file[STORE_PATH_BYTES];
    upload_record_path(attempt, file);
    BUF_AUTO(path, STORE_PATH_BYTES - 1);
    buf_printf(&path, "uploads/%s/%s", id, file);
    mem_copy(ret, buf_str(&path), path.len + 1);
}

static struct result may_commit(struct store *s, uint64_t token) {
    store_lock(s);
    struct result r = store_may_commit(s, token);
    store_unlock(s);
    return r;
}

struct result remote_upload_begin(struct store *s, struct upload *u, const struct record *record, uint64_t token) {
    BUF_AUTO(context, STORE_CONTEXT_MAX_BYTES);
    TRY(upload_record_context(s, u->id, &context));
    char path[STORE_PATH_BYTES];
    upload_path(u->id, path);
    TRY(may_commit(s, token));
    bool unsure;
    struct result r = remote_put_record(s, record, buf_slice(&context), path, &unsure);
    if (!unsure) return r;
    AUTO_FREE char *detail = str_dup(err_detail());
    result_ignore(remote_delete_path(s, path)); /* if it stays, it is over after STORE_UPLOAD_LIFE_DAYS */
    return err_make(r.code, "%s", detail);
}

struct result remote_upload_read(struct store *s, const char *id, struct record *ret) {
    BUF_AUTO(context, STORE_CONTEXT_MAX_BYTES);
    TRY(upload_record_context(s, id, &context));
    char path[STORE_PATH_BYTES];
    upload_path(id, path);
    TRY(remote_read_record(s, path, buf_slice(&context), ret));
    CHECK(ret->type == RECORD_UPLOAD, ERR_CORRUPT, "an upload's record of another shape");
    return OK;
}

/* ---- Parts ---- */

struct part_attempt {
    struct store *store;
    const char *upload_id, *key;
    struct upload *upload; /* one of its busy */
    uint8_t attempt[UPLOAD_ATTEMPT_BYTES];
    /* What it replaced: */
    bool replaces, replaced_goes;
    uint8_t replaced[UPLOAD_ATTEMPT_BYTES];
    struct record before; /* its segments */
};

static void attempt_done(struct part_attempt *a) {
    record_done(&a->before);
}

/* With the lock held. */
static struct result part_begin(struct part_attempt *a, struct record *record) {
    struct store *s = a->store;
    struct upload *u;
    TRY(upload_find(s, a->upload_id, a->key, &u));
    CHECK(!u->is_closing, ERR_CONFLICT, "the upload is being completed");
    bool found;
    size_t at = upload_position(u, record->parts[0].number, &found);
    if (found && u->parts[at].sequence > s->last_sequence) s->last_sequence = u->parts[at].sequence;
    uint64_t now = (uint64_t)clock_unix_us();
    s->last_sequence = now > s->last_sequence ? now : s->last_sequence + 1;
    record->sequence = s->last_sequence;
    u->busy++;
    a->upload = u;
    return OK;
}

static struct result part_put(struct part_attempt *a, struct record *record, const uint8_t *shared_from, uint64_t token,
                              bool *ret_asked) {
    struct store *s = a->store;
    record->info.mtime_ms = clock_unix_ms();
    BUF_AUTO(context, STORE_CONTEXT_MAX_BYTES);
    TRY(upload_part_context(s, a->upload_id, a->attempt, &context));
    TRY(remote_share_bodies(s, record, shared_from, a->attempt));
    TRY(may_commit(s, token));
    char path[STORE_PATH_BYTES];
    part_path(a->upload_id, a->attempt, path);
    bool unsure;
    struct result r = remote_put_record(s, record, buf_slice(&context), path, &unsure);
    *ret_asked = is_ok(r) || unsure;
    TRY(r);
    return may_commit(s, token);
}

/* With the lock held. */
static struct result part_end(struct part_attempt *a, const struct record *record) {
    struct upload *u = a->upload;
    CHECK(!u->is_closing, ERR_CONFLICT, "the upload is being completed");
    bool found;
    size_t at = upload_position(u, record->parts[0].number, &found);
    if (found) {
        const struct upload_part *old = &u->parts[at];
        a->replaces = true;
        a->replaced_goes = !u->maybe_completed;
        mem_copy(a->replaced, old->attempt, sizeof a->replaced);
        a->before.segments = mem_dup(old->segments, old->segment_count * sizeof *old->segments);
        a->before.segment_count = old->segment_count;
    }
    struct record_segment *segments = mem_dup(record->segments, record->segment_count * sizeof *record->segments);
    upload_put_record(u, record, a->attempt, segments);
    remote_bodies_used(a->store, record);
    return OK;
}

/* The attempt before, or this one when it failed. */
static void part_remove(struct part_attempt *a, const uint8_t *attempt, const struct record *record, bool drops) {
    char path[STORE_PATH_BYTES];
    part_path(a->upload_id, attempt, path);
    result_ignore(remote_delete_path(a->store, path)); /* a lower sequence doesn't count, and loading removes it */
    if (!drops) return;
    store_lock(a->store);
    remote_bodies_drop(a->store, attempt, record, NULL);
    store_unlock(a->store);
}

static struct result part_in_turn(struct part_attempt *a, struct record *record, const uint8_t *shared_from,
                                  uint64_t token) {
    struct store *s = a->store;
    store_lock(s);
    struct result r = part_begin(a, record);
    store_unlock(s);
    TRY(r);
    bool asked = false;
    r = part_put(a, record, shared_from, token, &asked);
    store_lock(s);
    if (is_ok(r)) r = part_end(a, record);
    AUTO_FREE char *detail = is_err(r) ? str_dup(err_detail()) : NULL;
    if (detail) {
        remote_bodies_unshare(s, a->attempt, record);
        if (asked) remote_bodies_keep(s, record); /* until it is certain that the record is not there */
    }
    a->upload->busy--;
    remote_announce(s);
    store_unlock(s);
    if (detail && asked) part_remove(a, a->attempt, record, false);
    if (detail) return err_make(r.code, "%s", detail);
    if (a->replaces) part_remove(a, a->replaced, &a->before, a->replaced_goes);
    return OK;
}

struct result remote_part_publish(struct store *s, const char *upload_id, const char *key, struct record *record,
                                  const uint8_t *shared_from, uint64_t token, struct store_written *ret) {
    AUTO(attempt_done) struct part_attempt a = {.store = s, .upload_id = upload_id, .key = key};
    record_init(&a.before);
    TRY(random_bytes(a.attempt, sizeof a.attempt));
    AUTO_FREE char *name = str_format("/%s/%u", upload_id, record->parts[0].number);
    struct remote_turn turn;
    store_lock(s);
    remote_turn_enter(s, &turn, name, record);
    store_unlock(s);
    struct result r = part_in_turn(&a, record, shared_from, token);
    store_lock(s);
    remote_turn_leave(s, &turn);
    store_unlock(s);
    TRY(r);
    *ret = (struct store_written){record->info.etag, record->info.mtime_ms, record->info.size};
    return OK;
}

struct result remote_upload_verify(struct store *s, const struct record *record) {
    for (size_t i = 0; i < record->segment_count; i++) {
        char path[STORE_PATH_BYTES];
        remote_body_path(record->segments[i].body_id, path);
        BUF_AUTO(key, S3_STORE_MAX_KEY_BYTES);
        TRY(remote_key(s, path, &key));
        struct s3_head head = {0};
        struct s3_failure why = {0};
        struct result r = s3_store_head(remote_client(s), buf_str(&key), &head, &why);
        CHECK(why.trouble != S3_TROUBLE_NOT_FOUND, ERR_INVALID, "a part's body is not there any more");
        TRY(remote_result(s, r, &why));
    }
    return OK;
}

/* ---- The end ---- */

static struct result remove_one(void *arg, const char *path, const struct s3_entry *entry) {
    return remote_delete_path(arg, path);
}

/* The record first: without it the rest is nothing. */
static struct result remove_folder(struct store *s, const char *id) {
    char path[STORE_PATH_BYTES];
    upload_path(id, path);
    TRY(remote_delete_path(s, path));
    AUTO_FREE char *folder = str_format("uploads/%s/", id);
    return remote_walk(s, folder, NULL, remove_one, s);
}

static void drop_parts(struct store *s, const struct upload *u, const struct record *completed) {
    for (size_t i = 0; i < u->part_count; i++) {
        const struct record part = {.segments = u->parts[i].segments, .segment_count = u->parts[i].segment_count};
        remote_bodies_drop(s, u->parts[i].attempt, &part, completed);
    }
}

struct result remote_upload_remove(struct store *s, struct upload *u, const struct record *completed) {
    store_lock(s);
    while (u->busy > 0)
        remote_await(s);
    store_unlock(s);
    struct result r = remove_folder(s, u->id);
    store_lock(s);
    /* Else the sweep finds out which of them an object has. */
    if (is_ok(r) && !u->maybe_completed) drop_parts(s, u, completed);
    if (is_err(r) && !completed) { /* it is an upload still, and may be aborted once more */
        u->is_closing = false;
        u->next = s->uploads;
        s->uploads = TAKE(u);
    }
    store_unlock(s);
    upload_free(u);
    return r;
}

/* ---- At the opening ---- */

struct found_file {
    char id[STORE_UPLOAD_ID_BYTES];
    char *name;
};

struct loading {
    struct store *store;
    struct found_file *files; /* ascending, as they are listed */
    size_t count, capacity;
};

static void loading_done(struct loading *l) {
    for (size_t i = 0; i < l->count; i++)
        mem_free(l->files[i].name);
    mem_free(l->files);
}

static struct result note_file(void *arg, const char *path, const struct s3_entry *entry) {
    struct loading *l = arg;
    struct slice rest = slice_str(path), head, id;
    uint8_t bytes[16];
    if (!slice_cut(rest, '/', &head, &rest) || !slice_cut(rest, '/', &id, &rest)) return OK; /* not ours */
    AUTO_FREE char *text = slice_to_str(id);
    if (is_err(upload_id_bytes(text, bytes))) return OK;
    if (l->count == l->capacity) {
        l->capacity = l->capacity ? 2 * l->capacity : 64;
        l->files = mem_resize(l->files, l->capacity * sizeof *l->files);
    }
    struct found_file *file = &l->files[l->count++];
    mem_copy(file->id, text, STORE_UPLOAD_ID_BYTES);
    file->name = slice_to_str(rest);
    return OK;
}

static struct result load_part(struct store *s, struct upload *u, const char *name) {
    uint8_t attempt[UPLOAD_ATTEMPT_BYTES];
    if (name[0] != 'p' || !remote_parse_hex(slice_str(name + 1), attempt)) return OK;
    BUF_AUTO(context, STORE_CONTEXT_MAX_BYTES);
    TRY(upload_part_context(s, u->id, attempt, &context));
    char path[STORE_PATH_BYTES];
    part_path(u->id, attempt, path);
    RECORD_AUTO(record);
    struct result r = remote_read_record(s, path, buf_slice(&context), &record);
    /* Not a part then: completing with it is refused. */
    if (r.code == ERR_CORRUPT || r.code == ERR_NOT_FOUND) return OK;
    TRY(r);
    if (record.type != RECORD_PART || record.part_count != 1 || strcmp(record.info.key, u->key) != 0) return OK;
    bool found;
    size_t at = upload_position(u, record.parts[0].number, &found);
    if (found && u->parts[at].sequence >= record.sequence) return OK;
    upload_put_record(u, &record, attempt, TAKE(record.segments));
    return OK;
}

static void upload_free_auto(struct upload **u) {
    upload_free(*u);
}

/* The files first..first + count of one upload. */
static struct result load_upload(struct loading *l, size_t first, size_t count) {
    struct store *s = l->store;
    const char *id = l->files[first].id;
    bool begun = false;
    for (size_t i = first; i < first + count; i++)
        begun = begun || strcmp(l->files[i].name, "upload") == 0;
    if (!begun) return remove_folder(s, id);
    RECORD_AUTO(record);
    struct result r = remote_upload_read(s, id, &record);
    if (r.code == ERR_CORRUPT || r.code == ERR_NOT_FOUND) return OK;
    TRY(r);
    const int64_t life_ms = STORE_UPLOAD_LIFE_DAYS * 24LL * 3600 * 1000;
    if (record.info.mtime_ms < clock_unix_ms() - life_ms) return remove_folder(s, id);
    AUTO(upload_free_auto) struct upload *u = mem_alloc(sizeof *u);
    mem_copy(u->id, id, STORE_UPLOAD_ID_BYTES);
    u->key = TAKE(record.info.key);
    u->begun_ms = record.info.mtime_ms;
    u->maybe_completed = true;
    for (size_t i = first; i < first + count; i++)
        TRY(load_part(s, u, l->files[i].name));
    u->next = s->uploads;
    s->uploads = TAKE(u);
    return OK;
}

struct result remote_uploads_load(struct store *s) {
    AUTO(loading_done) struct loading l = {.store = s};
    TRY(remote_walk(s, "uploads/", NULL, note_file, &l));
    for (size_t i = 0; i < l.count;) {
        size_t next = i + 1;
        while (next < l.count && strcmp(l.files[next].id, l.files[i].id) == 0)
            next++;
        TRY(load_upload(&l, i, next - i));
        i = next;
    }
    return OK;
}
