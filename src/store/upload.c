/* The folders of uploads/: uploads/<id>/upload is the sealed record of what is to become (key and fields); parts are
 * beside it. The folder without that record is nothing: begin writes it last, the end of an upload removes it first. */
#include "store/upload.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

struct result upload_id_bytes(const char *id, uint8_t ret[static 16]) {
    BUF_AUTO(bytes, 16);
    CHECK(id && strlen(id) == STORE_UPLOAD_ID_BYTES - 1 && is_ok(hex_decode(slice_str(id), &bytes)), ERR_NOT_FOUND,
          "no such upload");
    /* One spelling only: the id is a file name. */
    BUF_AUTO(text, STORE_UPLOAD_ID_BYTES);
    hex_encode(buf_slice(&bytes), &text);
    CHECK(strcmp(buf_str(&text), id) == 0, ERR_NOT_FOUND, "no such upload");
    mem_copy(ret, bytes.data, 16);
    return OK;
}

struct result upload_open_folder(struct store *s, const char *id, int *ret_fd) {
    int fd = openat(s->uploads_fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return err_make(ERR_NOT_FOUND, "no such upload");
    if (fd < 0) return err_from_errno(errno, "opening an upload's folder");
    *ret_fd = fd;
    return OK;
}

struct result upload_record_context(const struct store *s, const char *id, struct buf *out) {
    uint8_t bytes[16];
    TRY(upload_id_bytes(id, bytes));
    return store_context(s, "upload", slice_make(bytes, sizeof bytes), out);
}

struct result upload_part_context(const struct store *s, const char *id, const uint8_t *attempt, struct buf *out) {
    uint8_t bytes[16 + UPLOAD_ATTEMPT_BYTES];
    TRY(upload_id_bytes(id, bytes));
    mem_copy(bytes + 16, attempt, UPLOAD_ATTEMPT_BYTES);
    return store_context(s, "part", slice_make(bytes, sizeof bytes), out);
}

static void attempt_path(const char *format, const uint8_t *attempt, size_t index, char *ret) {
    BUF_AUTO(hex, 2 * UPLOAD_ATTEMPT_BYTES);
    hex_encode(slice_make(attempt, UPLOAD_ATTEMPT_BYTES), &hex);
    BUF_AUTO(path, STORE_PATH_BYTES - 1);
    buf_append_str(&path, format);
    buf_append_slice(&path, buf_slice(&hex));
    if (*format == 'b') buf_printf(&path, ".%zu", index);
    mem_copy(ret, buf_str(&path), path.len + 1);
}

void upload_record_path(const uint8_t *attempt, char ret[static STORE_PATH_BYTES]) {
    attempt_path("p", attempt, 0, ret);
}

void upload_body_path(const uint8_t *attempt, size_t index, char ret[static STORE_PATH_BYTES]) {
    attempt_path("b", attempt, index, ret);
}

/* ---- In memory ---- */

struct upload *upload_free(struct upload *u) {
    if (!u) return NULL;
    for (size_t i = 0; i < u->part_count; i++)
        mem_free(u->parts[i].segments);
    mem_free(u->parts);
    mem_free(u->key);
    mem_free(u);
    return NULL;
}

static void upload_free_auto(struct upload **u) {
    upload_free(*u);
}

void uploads_forget(struct store *s) {
    while (s->uploads) {
        struct upload *next = s->uploads->next;
        upload_free(s->uploads);
        s->uploads = next;
    }
}

void upload_unlink(struct store *s, struct upload *u) {
    struct upload **at = &s->uploads;
    while (*at && *at != u)
        at = &(*at)->next;
    if (*at) *at = u->next;
}

struct result upload_find(struct store *s, const char *id, const char *key, struct upload **ret) {
    for (struct upload *u = s->uploads; u; u = u->next) {
        if (strcmp(u->id, id) != 0 || strcmp(u->key, key) != 0) continue;
        *ret = u;
        return OK;
    }
    FAIL(ERR_NOT_FOUND, "no such upload");
}

size_t upload_position(const struct upload *u, unsigned number, bool *ret_found) {
    size_t low = 0, high = u->part_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (u->parts[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_found = low < u->part_count && u->parts[low].number == number;
    return low;
}

static void take_note(struct upload_part *part, const struct record *record) {
    const char *note = store_info_field(&record->info, UPLOAD_NOTE_FIELD);
    if (note != NULL && strlen(note) < sizeof part->note) mem_copy(part->note, note, strlen(note) + 1);
}

static void put_part(struct upload *u, const struct upload_part *part) {
    bool found;
    size_t at = upload_position(u, part->number, &found);
    if (found) {
        mem_free(u->parts[at].segments);
    } else {
        if (u->part_count == u->part_capacity) {
            u->part_capacity = u->part_capacity ? u->part_capacity * 2 : 16;
            u->parts = mem_resize(u->parts, u->part_capacity * sizeof *u->parts);
        }
        mem_move(u->parts + at + 1, u->parts + at, (u->part_count - at) * sizeof *u->parts);
        u->part_count++;
    }
    u->parts[at] = *part;
}

void upload_put_record(struct upload *u, const struct record *record, const uint8_t *attempt,
                       struct record_segment *segments) {
    struct upload_part part = {.number = record->parts[0].number,
                               .sequence = record->sequence,
                               .size = record->info.size,
                               .mtime_ms = record->info.mtime_ms,
                               .etag = record->info.etag,
                               .segments = segments,
                               .segment_count = record->segment_count};
    mem_copy(part.attempt, attempt, sizeof part.attempt);
    take_note(&part, record);
    put_part(u, &part);
}

/* ---- From the disk ---- */

static void dir_close(DIR **d) {
    if (*d) closedir(*d);
}

/* Leaves the descriptor as it is. NULL: see errno. */
static DIR *dir_open(int fd) {
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (copy < 0) return NULL;
    DIR *dir = fdopendir(copy);
    if (!dir) close(copy);
    return dir;
}

static void remove_attempt(int fd, const uint8_t *attempt) {
    char path[STORE_PATH_BYTES];
    upload_record_path(attempt, path);
    unlinkat(fd, path, 0);
    for (size_t i = 0;; i++) {
        upload_body_path(attempt, i, path);
        if (unlinkat(fd, path, 0) != 0) return;
    }
}

static bool bodies_are_there(int fd, const uint8_t *attempt, size_t count) {
    char path[STORE_PATH_BYTES];
    struct stat st;
    for (size_t i = 0; i < count; i++) {
        upload_body_path(attempt, i, path);
        if (fstatat(fd, path, &st, AT_SYMLINK_NOFOLLOW) != 0) return false;
    }
    return true;
}

static struct result read_part(struct store *s, struct upload *u, int fd, const char *file, const uint8_t *attempt,
                               struct record *record) {
    BUF_AUTO(context, STORE_CONTEXT_MAX_BYTES);
    TRY(upload_part_context(s, u->id, attempt, &context));
    FD_AUTO(in) = openat(fd, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (in < 0) return err_from_errno(errno, "opening a part's record");
    TRY(store_read_record(s, in, buf_slice(&context), record));
    CHECK(record->type == RECORD_PART && record->part_count == 1 && strcmp(record->info.key, u->key) == 0, ERR_CORRUPT,
          "a part's record of another shape");
    return OK;
}

/* One p file. The attempt that lost against another is removed when `cleans`. */
static struct result adopt_part(struct store *s, struct upload *u, int fd, const char *file, const uint8_t *attempt,
                                bool cleans) {
    RECORD_AUTO(record);
    struct result r = read_part(s, u, fd, file, attempt, &record);
    if (r.code == ERR_CORRUPT) return OK; /* not a part then: completing with it is refused */
    TRY(r);
    if (!bodies_are_there(fd, attempt, record.segment_count)) return OK;
    bool found;
    size_t at = upload_position(u, record.parts[0].number, &found);
    if (found && u->parts[at].sequence >= record.sequence) {
        if (cleans) remove_attempt(fd, attempt);
        return OK;
    }
    if (found && cleans) remove_attempt(fd, u->parts[at].attempt);
    upload_put_record(u, &record, attempt, TAKE(record.segments));
    return OK;
}

static bool attempt_parse(const char *file, uint8_t *ret) {
    struct slice hex, index;
    slice_cut(slice_str(file + 1), '.', &hex, &index);
    BUF_AUTO(bytes, UPLOAD_ATTEMPT_BYTES);
    if (is_err(hex_decode(hex, &bytes)) || bytes.len != UPLOAD_ATTEMPT_BYTES) return false;
    mem_copy(ret, bytes.data, bytes.len);
    return true;
}

/* Bodies whose record was never written. */
static struct result clean(int fd) {
    AUTO(dir_close) DIR *dir = dir_open(fd);
    if (!dir) return err_from_errno(errno, "reading an upload's folder");
    for (struct dirent *e; (e = readdir(dir));) {
        uint8_t attempt[UPLOAD_ATTEMPT_BYTES];
        char path[STORE_PATH_BYTES];
        struct stat st;
        if (e->d_name[0] != 'b' || !attempt_parse(e->d_name, attempt)) continue;
        upload_record_path(attempt, path);
        if (fstatat(fd, path, &st, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT) unlinkat(fd, e->d_name, 0);
    }
    return OK;
}

struct result upload_read_parts(struct store *s, struct upload *u, bool cleans) {
    for (size_t i = 0; i < u->part_count; i++)
        mem_free(u->parts[i].segments);
    u->part_count = 0;
    FD_AUTO(fd) = -1;
    TRY(upload_open_folder(s, u->id, &fd));
    AUTO(dir_close) DIR *dir = dir_open(fd);
    if (!dir) return err_from_errno(errno, "reading an upload's folder");
    for (struct dirent *e; (e = readdir(dir));) {
        uint8_t attempt[UPLOAD_ATTEMPT_BYTES];
        if (e->d_name[0] != 'p' || !attempt_parse(e->d_name, attempt)) continue;
        TRY(adopt_part(s, u, fd, e->d_name, attempt, cleans));
    }
    return cleans ? clean(fd) : OK;
}

/* *ret: NULL if the folder is no upload (any more), or one whose record does not verify. */
static struct result load_one(struct store *s, const char *id, bool *ret_remove, struct upload **ret) {
    FD_AUTO(fd) = -1;
    TRY(upload_open_folder(s, id, &fd));
    FD_AUTO(in) = openat(fd, "upload", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    *ret_remove = in < 0 && errno == ENOENT;
    if (*ret_remove) return OK;
    if (in < 0) return err_from_errno(errno, "opening an upload's record");
    BUF_AUTO(context, STORE_CONTEXT_MAX_BYTES);
    TRY(upload_record_context(s, id, &context));
    RECORD_AUTO(record);
    struct result r = store_read_record(s, in, buf_slice(&context), &record);
    if (r.code == ERR_CORRUPT || (is_ok(r) && record.type != RECORD_UPLOAD)) return OK;
    TRY(r);
    const int64_t life_ms = STORE_UPLOAD_LIFE_DAYS * 24LL * 3600 * 1000;
    *ret_remove = record.info.mtime_ms < clock_unix_ms() - life_ms;
    if (*ret_remove) return OK;
    AUTO(upload_free_auto) struct upload *u = mem_alloc(sizeof *u);
    mem_copy(u->id, id, STORE_UPLOAD_ID_BYTES);
    u->key = TAKE(record.info.key);
    u->begun_ms = record.info.mtime_ms;
    TRY(upload_read_parts(s, u, true));
    *ret = TAKE(u);
    return OK;
}

struct result uploads_load(struct store *s) {
    AUTO(dir_close) DIR *dir = dir_open(s->uploads_fd);
    if (!dir) return err_from_errno(errno, "reading the folder of uploads");
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(dir);
        if (!e && errno != 0) return err_from_errno(errno, "reading the folder of uploads");
        if (!e) return OK;
        uint8_t bytes[16];
        if (is_err(upload_id_bytes(e->d_name, bytes))) continue;
        bool removes = false;
        struct upload *u = NULL;
        TRY(load_one(s, e->d_name, &removes, &u));
        if (removes) TRY(store_remove_upload_folder(s->uploads_fd, e->d_name));
        if (!u) continue;
        u->next = s->uploads;
        s->uploads = u;
    }
}

struct result store_remove_upload_folder(int parent_fd, const char *name) {
    FD_AUTO(fd) = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return OK;
    if (fd < 0) return err_from_errno(errno, "opening an upload's folder");
    if (unlinkat(fd, "upload", 0) != 0) {
        if (errno != ENOENT) return err_from_errno(errno, "removing an upload's record");
    } else if (fsync(fd) != 0)
        return err_from_errno(errno, "syncing an upload's folder");
    AUTO(dir_close) DIR *dir = dir_open(fd);
    if (!dir) return err_from_errno(errno, "reading an upload's folder");
    for (struct dirent *e; (e = readdir(dir));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) unlinkat(fd, e->d_name, 0);
    if (unlinkat(parent_fd, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        return err_from_errno(errno, "removing an upload's folder");
    return OK;
}
