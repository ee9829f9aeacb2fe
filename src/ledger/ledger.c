#include "ledger/ledger.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/file.h"
#include "base/log.h"

enum { FILE_BYTES = 16 << 20, SYNC_EVERY_MS = 60000, TAIL_BYTES = 2 * LEDGER_LINE_BYTES };

struct ledger {
    struct ledgers *all;
    struct ledger *next;
    char *region, *org, *folder, *head;
    pthread_mutex_t lock;
    bool is_open, is_failing;
    struct ledger_mark last;
    uint64_t expected; /* a record that was written once */
    unsigned file;     /* the number of the one that grows */
    off_t size;        /* of it */
    int64_t synced_ns;
};

struct ledgers {
    pthread_mutex_t lock;
    char *root;
    off_t file_bytes;
    struct ledger *first;
};

struct ledgers *ledgers_new(const char *root, size_t file_bytes) {
    struct ledgers *l = mem_alloc(sizeof *l);
    pthread_mutex_init(&l->lock, NULL);
    l->root = str_dup(root);
    l->file_bytes = file_bytes ? (off_t)file_bytes : FILE_BYTES;
    return l;
}

struct ledger *ledgers_get(struct ledgers *l, const char *region, const char *org) {
    pthread_mutex_lock(&l->lock);
    struct ledger *one = l->first;
    while (one && (strcmp(one->region, region) != 0 || strcmp(one->org, org) != 0))
        one = one->next;
    if (!one) {
        one = mem_alloc(sizeof *one);
        one->all = l;
        one->region = str_dup(region);
        one->org = str_dup(org);
        one->folder = str_format("%s/%s/%s", l->root, region, org);
        one->head = str_format("%s/head", one->folder);
        pthread_mutex_init(&one->lock, NULL);
        one->next = l->first;
        l->first = one;
    }
    pthread_mutex_unlock(&l->lock);
    return one;
}

void ledgers_free(struct ledgers *l) {
    if (!l) return;
    while (l->first) {
        struct ledger *one = l->first;
        l->first = one->next;
        mem_free(one->region);
        mem_free(one->org);
        mem_free(one->folder);
        mem_free(one->head);
        pthread_mutex_destroy(&one->lock);
        mem_free(one);
    }
    pthread_mutex_destroy(&l->lock);
    mem_free(l->root);
    mem_free(l);
}

static char *file_path(const struct ledger *l, unsigned number) {
    return str_format("%s/%08u.jsonl", l->folder, number);
}

/* ---- Appending (all with the ledger's lock) ---- */

static struct result sync_fd(int fd, const char *path) {
    if (fdatasync(fd) != 0) return err_from_errno(errno, "fdatasync %s", path);
    return OK;
}

static struct result begin_file(struct ledger *l, unsigned number) {
    AUTO_FREE char *path = file_path(l, number);
    FD_AUTO(fd) = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return err_from_errno(errno, "%s", path);
    TRY(file_sync_dir(l->folder));
    l->file = number;
    l->size = 0;
    return OK;
}

static struct result write_head(const struct ledger *l, bool syncs) {
    char text[LEDGER_HEAD_BYTES];
    ledger_head_write(&l->last, text);
    FD_AUTO(fd) = open(l->head, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return err_from_errno(errno, "%s", l->head);
    ssize_t n = pwrite(fd, text, sizeof text, 0);
    if (n != (ssize_t)sizeof text) return err_from_errno(n < 0 ? errno : ENOSPC, "%s", l->head);
    return syncs ? sync_fd(fd, l->head) : OK;
}

/* A line that could not be written whole was never there: nobody was told of it. */
static struct result write_line(struct ledger *l, int fd, struct slice line, const char *path) {
    struct stat s;
    if (fstat(fd, &s) != 0) return err_from_errno(errno, "%s", path);
    CHECK(s.st_size == l->size, ERR_IO, "%s is %lld bytes, and %lld were written: somebody else writes there", path,
          (long long)s.st_size, (long long)l->size);
    struct result written = file_write_all(fd, line, path);
    if (is_ok(written)) return OK;
    AUTO_FREE char *why = str_dup(err_detail());
    if (ftruncate(fd, l->size) != 0) log_warn("ledger.half_a_line", KV("file", path), KVI("errno", errno));
    return err_make(written.code, "%s", why);
}

static struct result append(struct ledger *l, const char *kind, const json_t *fields, bool syncs) {
    BUF_AUTO(line, LEDGER_LINE_BYTES);
    struct ledger_mark next = l->last;
    TRY(ledger_record_write(&next, clock_unix_ms(), l->region, l->org, kind, fields, &line));
    TRY(buf_check(&line));
    if (l->size > 0 && l->size + (off_t)line.len > l->all->file_bytes) {
        AUTO_FREE char *full = file_path(l, l->file);
        FD_AUTO(before) = open(full, O_RDONLY | O_CLOEXEC);
        if (before < 0) return err_from_errno(errno, "%s", full);
        TRY(sync_fd(before, full));
        TRY(begin_file(l, l->file + 1));
    }
    AUTO_FREE char *path = file_path(l, l->file);
    FD_AUTO(fd) = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd < 0) return err_from_errno(errno, "%s", path);
    TRY(write_line(l, fd, buf_slice(&line), path));
    l->size += (off_t)line.len;
    l->last = next;
    /* The record is durable before the head names it. */
    if (syncs) TRY(sync_fd(fd, path));
    TRY(write_head(l, syncs));
    if (syncs) l->synced_ns = clock_boottime_ns();
    return OK;
}

/* ---- Opening: what did the last run leave? ---- */

static struct result newest_file(const struct ledger *l, unsigned *ret) {
    *ret = 0;
    DIR *dir = opendir(l->folder);
    if (!dir) return err_from_errno(errno, "%s", l->folder);
    for (struct dirent *e; (e = readdir(dir));) {
        if (strspn(e->d_name, "0123456789") != 8 || strcmp(e->d_name + 8, ".jsonl") != 0) continue;
        unsigned number = (unsigned)strtoul(e->d_name, NULL, 10);
        if (number > *ret) *ret = number;
    }
    closedir(dir);
    return OK;
}

/* The last bytes of a file, at most TAIL_BYTES, and its size. */
static struct result read_tail(const char *path, struct buf *out, off_t *ret_size) {
    FD_AUTO(fd) = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return err_from_errno(errno, "%s", path);
    struct stat s;
    if (fstat(fd, &s) != 0) return err_from_errno(errno, "%s", path);
    size_t len = s.st_size < TAIL_BYTES ? (size_t)s.st_size : TAIL_BYTES;
    uint8_t *to = buf_reserve(out, len ? len : 1);
    CHECK(to, ERR_INTERNAL, "no room for the end of %s", path);
    for (size_t got = 0; got < len;) {
        ssize_t n = pread(fd, to + got, len - got, s.st_size - (off_t)(len - got));
        if (n <= 0) return err_from_errno(n < 0 ? errno : EIO, "%s", path);
        got += (size_t)n;
    }
    out->len = len;
    *ret_size = s.st_size;
    return OK;
}

static char *torn_path(const struct ledger *l, uint64_t seq) {
    return str_format("%s/torn-%llu", l->folder, (unsigned long long)seq);
}

/* Half a line at the end: kept beside the file, before it is taken out of it. */
static struct result put_aside(struct ledger *l, const char *path, struct slice torn, off_t keep) {
    AUTO_FREE char *aside = torn_path(l, l->last.seq + 1);
    BUF_AUTO(all, 1 << 20);
    struct result earlier = file_read(aside, 1 << 20, &all); /* a crash while the last crash was being told of */
    if (is_err(earlier) && earlier.code != ERR_NOT_FOUND) return earlier;
    bool is_kept = all.len >= torn.len && slice_equal(slice_make(all.data + all.len - torn.len, torn.len), torn);
    if (!is_kept) buf_append_slice(&all, torn); /* else it died between keeping and cutting */
    TRY(buf_check(&all));
    TRY(file_write_atomic(aside, buf_slice(&all), 0600));
    FD_AUTO(fd) = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || ftruncate(fd, keep) != 0) return err_from_errno(errno, "%s", path);
    TRY(sync_fd(fd, path));
    l->size = keep;
    return OK;
}

/* Where the newest file ends. *ret_damage: the last line is no record (and stays as it is). */
static struct result find_end(struct ledger *l, bool *ret_damage) {
    AUTO_FREE char *path = file_path(l, l->file);
    BUF_AUTO(tail, TAIL_BYTES);
    TRY(read_tail(path, &tail, &l->size));
    size_t end = tail.len;
    while (end > 0 && tail.data[end - 1] != '\n')
        end--;
    size_t begin = end ? end - 1 : 0;
    while (begin > 0 && tail.data[begin - 1] != '\n')
        begin--;
    if (end == 0 && l->file > 1) { /* a file that was just begun: the record before is in the one before it */
        AUTO_FREE char *older = file_path(l, l->file - 1);
        BUF_AUTO(before, TAIL_BYTES);
        off_t size;
        struct slice torn = buf_slice(&tail);
        if (is_ok(read_tail(older, &before, &size)) && before.len > 0 && before.data[before.len - 1] == '\n') {
            size_t from = before.len - 1;
            while (from > 0 && before.data[from - 1] != '\n')
                from--;
            AUTO(ledger_record_done) struct ledger_record r = {0};
            *ret_damage = is_err(ledger_record_read(slice_make(before.data + from, before.len - 1 - from), &r));
            if (!*ret_damage) l->last = r.mark;
        } else {
            *ret_damage = true;
        }
        return torn.len ? put_aside(l, path, torn, 0) : OK;
    }
    if (end > 0) {
        AUTO(ledger_record_done) struct ledger_record r = {0};
        *ret_damage = is_err(ledger_record_read(slice_make(tail.data + begin, end - 1 - begin), &r));
        if (!*ret_damage) l->last = r.mark;
    }
    if (*ret_damage || end == tail.len) return OK;
    return put_aside(l, path, slice_make(tail.data + end, tail.len - end), l->size - (off_t)(tail.len - end));
}

static struct result tell_torn(struct ledger *l) {
    AUTO_FREE char *aside = torn_path(l, l->last.seq + 1);
    BUF_AUTO(torn, 1 << 20);
    struct result found = file_read(aside, 1 << 20, &torn);
    if (found.code == ERR_NOT_FOUND) return OK;
    TRY(found);
    uint8_t digest[SHA256_BYTES];
    TRY(sha256(buf_slice(&torn), digest));
    BUF_AUTO(hex, LEDGER_HASH_BYTES);
    hex_encode(slice_make(digest, sizeof digest), &hex);
    log_error("ledger.torn", KV("folder", l->folder), KV("kept", aside), KVI("bytes", (int64_t)torn.len));
    JSON_AUTO(fields);
    fields = json_pack("{s:s, s:s, s:I, s:s}", "reason",
                       "half a line was found at the end: writing it was cut off; it is kept in the file torn-SEQ",
                       "file", strrchr(aside, '/') + 1, "bytes", (json_int_t)torn.len, "sha256", buf_str(&hex));
    return append(l, "torn", fields, true);
}

static struct result tell_gap(struct ledger *l, const struct ledger_mark *found, const struct ledger_mark *head,
                              const char *reason) {
    log_error("ledger.gap", KV("folder", l->folder), KV("reason", reason), KVI("last", (int64_t)found->seq),
              KVI("head", (int64_t)head->seq));
    JSON_AUTO(fields);
    fields = json_pack("{s:s, s:I, s:s, s:I, s:s}", "reason", reason, "found", (json_int_t)found->seq, "found_hash",
                       found->hash, "head", (json_int_t)head->seq, "head_hash", head->hash);
    if (head->seq >= found->seq) l->last = *head; /* chained to what was lost */
    TRY(begin_file(l, l->file + 1));
    return append(l, "gap", fields, true);
}

static struct result open_ledger(struct ledger *l) {
    TRY(file_make_dirs(l->folder));
    l->last = LEDGER_BEGINNING;
    l->size = 0;
    TRY(newest_file(l, &l->file));
    struct ledger_mark head = LEDGER_BEGINNING;
    BUF_AUTO(text, LEDGER_HEAD_BYTES);
    struct result read = file_read(l->head, LEDGER_HEAD_BYTES, &text);
    bool has_head = read.code != ERR_NOT_FOUND, is_head_good = false;
    if (has_head) is_head_good = is_ok(read) && is_ok(ledger_head_read(buf_slice(&text), &head));
    bool is_damaged = false;
    if (l->file > 0) TRY(find_end(l, &is_damaged));
    l->is_open = true;
    struct ledger_mark found = l->last;
    if (is_damaged) return tell_gap(l, &found, &head, "the last line of the newest file is no record of this ledger");
    bool is_behind = head.seq > found.seq;
    bool is_other = head.seq == found.seq && strcmp(head.hash, found.hash) != 0;
    if (is_behind) return tell_gap(l, &found, &head, "records that the head names are missing at the end");
    if (is_other) return tell_gap(l, &found, &head, "the head names another last record");
    if (l->expected > found.seq) {
        struct ledger_mark known = LEDGER_BEGINNING;
        known.seq = l->expected;
        return tell_gap(l, &found, &known, "records that were written earlier are missing, and the head with them");
    }
    if (!is_head_good && found.seq > 1)
        return tell_gap(l, &found, &head, has_head ? "the head can't be read" : "the head is missing");
    if (l->file == 0) {
        AUTO_FREE char *region = str_format("%s/%s", l->all->root, l->region);
        TRY(begin_file(l, 1));
        TRY(file_sync_dir(region));
        TRY(file_sync_dir(l->all->root));
    }
    return tell_torn(l);
}

void ledger_expect(struct ledger *l, uint64_t seq) {
    pthread_mutex_lock(&l->lock);
    if (seq > l->expected) l->expected = seq;
    pthread_mutex_unlock(&l->lock);
}

uint64_t ledger_seq(struct ledger *l) {
    pthread_mutex_lock(&l->lock);
    uint64_t seq = l->last.seq;
    pthread_mutex_unlock(&l->lock);
    return seq;
}

struct result ledger_append(struct ledger *l, const char *kind, json_t *fields, enum ledger_durability how) {
    JSON_AUTO(owned);
    owned = fields;
    pthread_mutex_lock(&l->lock);
    struct result r = OK;
    if (!l->is_open) r = open_ledger(l);
    bool syncs = how == LEDGER_SYNCED || clock_boottime_ns() - l->synced_ns >= SYNC_EVERY_MS * NS_PER_MS;
    if (is_ok(r)) r = append(l, kind, owned, syncs);
    if (is_err(r)) l->is_open = false; /* looked at anew */
    if (is_ok(r)) l->expected = l->last.seq;
    bool was_failing = l->is_failing;
    l->is_failing = is_err(r);
    pthread_mutex_unlock(&l->lock);
    if (is_err(r)) {
        AUTO_FREE char *why = str_dup(err_detail());
        if (!was_failing) log_error("ledger.unwritable", KV("folder", l->folder), KV("reason", why));
        return err_make(r.code, "the audit ledger can't be written: %.600s", why);
    }
    if (was_failing) log_info("ledger.writable", KV("folder", l->folder));
    return r;
}
