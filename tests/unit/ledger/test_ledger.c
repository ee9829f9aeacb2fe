#include "testing.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "ledger/ledger.h"
#include "ledger/walk.h"

#define ORG "o0123456789abcdef0123"
#define REGION "us-west-2"

static char root[64];
static char folder[128];

static int make_root(void **state) {
    snprintf(root, sizeof root, "/tmp/lockset-ledger-XXXXXX");
    if (!mkdtemp(root)) return -1;
    snprintf(folder, sizeof folder, "%s/%s/%s", root, REGION, ORG);
    return 0;
}

static int remove_root(void **state) {
    return is_ok(file_remove_tree(root)) ? 0 : -1;
}

static void ledgers_free_auto(struct ledgers **l) {
    ledgers_free(*l);
}
#define LEDGERS(name, bytes) AUTO(ledgers_free_auto) struct ledgers *name = ledgers_new(root, bytes)

static json_t *some(int i) {
    return json_pack("{s:i, s:s}", "number", i, "text", "with \"quotes\", a newline\n and \xc3\xa9");
}

static void write_some(struct ledgers *l, int from, int count) {
    struct ledger *one = ledgers_get(l, REGION, ORG);
    for (int i = from; i < from + count; i++)
        ASSERT_OK(ledger_append(one, "kms", some(i), i % 3 ? LEDGER_BATCHED : LEDGER_SYNCED));
}

static char *path_of(const char *name) {
    return str_format("%s/%s", folder, name);
}

static void read_whole(const char *name, struct buf *out) {
    AUTO_FREE char *path = path_of(name);
    buf_clear(out);
    ASSERT_OK(file_read(path, 1 << 20, out));
}

static void write_whole(const char *name, struct slice content) {
    AUTO_FREE char *path = path_of(name);
    ASSERT_OK(file_write_atomic(path, content, 0600));
}

static struct ledger_report walk(void) {
    struct ledger_report r;
    ASSERT_OK(ledger_walk(folder, false, NULL, NULL, &r));
    return r;
}

static struct result note_numbers(void *context, const struct ledger_record *r) {
    int64_t number = -1;
    TRY(json_opt_int(r->json, "number", 0, 1 << 20, &number));
    if (number < 0) return OK;
    int *next = context;
    CHECK(number == *next, ERR_CORRUPT, "%d came, not %d", (int)number, *next);
    ++*next;
    return OK;
}

/* ---- Writing and reading ---- */

static void what_is_written_is_read_also_by_the_next_run(void **state) {
    for (int run = 0; run < 3; run++) {
        LEDGERS(l, 0);
        assert_ptr_equal(ledgers_get(l, REGION, ORG), ledgers_get(l, REGION, ORG));
        write_some(l, 5 * run, 5);
        struct ledger_report r;
        int next = 0;
        ASSERT_OK(ledger_walk(folder, false, note_numbers, &next, &r));
        assert_false(r.is_bad);
        assert_int_equal(r.records, 5 * (run + 1));
        assert_int_equal(r.first, 1);
        assert_int_equal(next, 5 * (run + 1));
    }
}

static void rotation_does_not_break_the_chain(void **state) {
    for (int run = 0; run < 4; run++) {
        LEDGERS(l, 1000);
        write_some(l, 10 * run, 10);
    }
    int next = 0;
    struct ledger_report r;
    ASSERT_OK(ledger_walk(folder, false, note_numbers, &next, &r));
    assert_false(r.is_bad);
    assert_int_equal(next, 40);
    assert_true(r.files > 10);
    /* Without the oldest files it is one that was taken apart, unless that is said. */
    AUTO_FREE char *first = path_of("00000001.jsonl"), *third = path_of("00000003.jsonl");
    assert_int_equal(unlink(first), 0);
    r = walk();
    assert_true(r.is_bad);
    ASSERT_OK(ledger_walk(folder, true, NULL, NULL, &r));
    assert_false(r.is_bad);
    assert_true(r.first > 1);
    assert_int_equal(unlink(third), 0);
    ASSERT_OK(ledger_walk(folder, true, NULL, NULL, &r));
    assert_true(r.is_bad);
    assert_string_equal(r.bad_file, "00000004.jsonl");
}

static void *write_beside(void *context) {
    static const char *const orgs[] = {ORG, LEDGER_OPERATOR};
    for (int i = 0; i < 60; i++) {
        struct ledger *one = ledgers_get(context, REGION, orgs[i & 1]);
        if (is_err(ledger_append(one, "kms", some(i), i % 7 ? LEDGER_BATCHED : LEDGER_SYNCED))) return context;
    }
    return NULL;
}

static void many_may_write_at_once(void **state) {
    LEDGERS(l, 5000);
    pthread_t threads[8];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_beside, l), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    struct ledger_report r = walk();
    assert_false(r.is_bad);
    assert_int_equal(r.records, 240);
    AUTO_FREE char *other = str_format("%s/%s/%s", root, REGION, LEDGER_OPERATOR);
    ASSERT_OK(ledger_walk(other, false, NULL, NULL, &r));
    assert_false(r.is_bad);
    assert_int_equal(r.records, 240);
}

/* ---- Tampering ---- */

/* Every byte of every record, changed: the record that it stands in (or the one after) is named, never a later one. */
static void every_byte_counts(void **state) {
    LEDGERS(l, 0);
    write_some(l, 0, 4);
    BUF_AUTO(good, 1 << 20);
    read_whole("00000001.jsonl", &good);
    uint64_t line = 1;
    for (size_t i = 0; i < good.len; i++) {
        static const uint8_t flips[] = {0x01, 0x20, 0x80};
        uint8_t kept = good.data[i];
        for (size_t f = 0; f < ARRAY_LEN(flips); f++) {
            good.data[i] = kept ^ flips[f];
            AUTO_FREE char *path = path_of("00000001.jsonl");
            FD_AUTO(fd) = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
            ASSERT_OK(file_write_all(fd, buf_slice(&good), path));
            struct ledger_report r = walk();
            if (!r.is_bad) fail_msg("byte %zu as %02x is not noticed", i, good.data[i]);
            if (r.bad_seq != line) fail_msg("byte %zu of record %d: %d is blamed", i, (int)line, (int)r.bad_seq);
        }
        good.data[i] = kept;
        if (kept == '\n') line++;
    }
}

struct lines {
    struct slice items[64];
    size_t count;
};

static struct lines split(const struct buf *text) {
    struct lines l = {0};
    struct slice rest = buf_slice(text), head;
    while (rest.len && slice_cut(rest, '\n', &head, &rest))
        l.items[l.count++] = head;
    return l;
}

static void join(const struct lines *l) {
    BUF_AUTO(text, 1 << 20);
    for (size_t i = 0; i < l->count; i++) {
        buf_append_slice(&text, l->items[i]);
        buf_append_byte(&text, '\n');
    }
    write_whole("00000001.jsonl", buf_slice(&text));
}

/* Each field of each record changed as somebody would who knows the format: the hash computed anew. Then it is the next
 * record, or the head, that doesn't fit. */
static void a_field_with_a_new_hash_is_noticed_at_what_follows(void **state) {
    LEDGERS(l, 0);
    write_some(l, 0, 4);
    BUF_AUTO(text, 1 << 20);
    read_whole("00000001.jsonl", &text);
    struct lines lines = split(&text);
    assert_int_equal(lines.count, 4);
    for (size_t i = 0; i < lines.count; i++) {
        AUTO(ledger_record_done) struct ledger_record r = {0};
        ASSERT_OK(ledger_record_read(lines.items[i], &r));
        const char *name;
        json_t *value;
        json_object_foreach(r.json, name, value) {
            JSON_AUTO(fields);
            fields = json_deep_copy(r.json);
            static const char *const made[] = {"seq", "prev", "time", "region", "org", "kind", "hash"};
            for (size_t m = 0; m < ARRAY_LEN(made); m++)
                json_object_del(fields, made[m]);
            struct ledger_mark at = {.seq = r.mark.seq - 1};
            snprintf(at.hash, sizeof at.hash, "%s", r.prev);
            const char *region = REGION, *org = ORG, *kind = "kms";
            int64_t ms = 1795492364123;
            if (strcmp(name, "seq") == 0) at.seq += 7;
            if (strcmp(name, "prev") == 0) at.hash[5] = at.hash[5] == '0' ? '1' : '0';
            if (strcmp(name, "region") == 0) region = "us-east-1";
            if (strcmp(name, "org") == 0) org = "o99999999999999999999";
            if (strcmp(name, "kind") == 0) kind = "lease";
            if (json_object_get(fields, name)) json_object_set_new(fields, name, json_string("another"));
            BUF_AUTO(forged, LEDGER_LINE_BYTES);
            ASSERT_OK(ledger_record_write(&at, ms, region, org, kind, fields, &forged));
            struct lines changed = lines;
            changed.items[i] = slice_make(forged.data, forged.len - 1);
            join(&changed);
            struct ledger_report report = walk();
            if (!report.is_bad) fail_msg("'%s' of record %zu, changed with its hash, is not noticed", name, i + 1);
            assert_in_range(report.bad_seq, i + 1, i + 8);
        }
    }
    join(&lines);
    assert_false(walk().is_bad);
}

static void removed_repeated_and_moved_records_are_noticed(void **state) {
    LEDGERS(l, 0);
    write_some(l, 0, 6);
    BUF_AUTO(text, 1 << 20);
    read_whole("00000001.jsonl", &text);
    struct lines lines = split(&text);
    for (size_t i = 0; i < lines.count; i++) {
        struct lines changed = lines;
        for (size_t j = i; j + 1 < lines.count; j++)
            changed.items[j] = lines.items[j + 1];
        changed.count--;
        join(&changed);
        assert_true(walk().is_bad); /* removed, also the last one */
        changed = lines;
        for (size_t j = lines.count; j > i; j--)
            changed.items[j] = lines.items[j - 1];
        changed.count++;
        join(&changed);
        struct ledger_report r = walk();
        assert_true(r.is_bad); /* repeated */
        assert_int_equal(r.bad_line, i + 2);
        for (size_t j = 0; j < i; j++) {
            changed = lines;
            changed.items[i] = lines.items[j];
            changed.items[j] = lines.items[i];
            join(&changed);
            r = walk();
            assert_true(r.is_bad); /* exchanged */
            assert_int_equal(r.bad_line, j + 1);
        }
    }
    for (size_t keep = 0; keep < lines.count; keep++) { /* the end cut off at a record */
        struct lines changed = lines;
        changed.count = keep;
        join(&changed);
        struct ledger_report r = walk();
        assert_true(r.is_bad);
        assert_string_equal(r.bad_file, "head");
        assert_int_equal(r.bad_seq, keep + 1);
    }
}

static void a_ledger_without_its_head_or_with_anothers_is_bad(void **state) {
    LEDGERS(l, 0);
    write_some(l, 0, 3);
    AUTO_FREE char *head = path_of("head");
    BUF_AUTO(text, 4096);
    read_whole("head", &text);
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == ' ' || text.data[i] == '\n') continue; /* blanks mean nothing */
        uint8_t kept = text.data[i];
        text.data[i] ^= 1;
        write_whole("head", buf_slice(&text));
        text.data[i] = kept;
        if (!walk().is_bad) fail_msg("byte %zu of the head is not noticed", i);
    }
    assert_int_equal(unlink(head), 0);
    struct ledger_report r = walk();
    assert_true(r.is_bad);
    assert_string_equal(r.bad_file, "head");
}

/* ---- Crashes ---- */

/* Cut off at every byte of its last record, and told of for ever; nothing of it is lost. */
static void half_a_line_is_kept_and_told(void **state) {
    LEDGERS(first, 0);
    write_some(first, 0, 2);
    BUF_AUTO(two, 1 << 20);
    BUF_AUTO(three, 1 << 20);
    BUF_AUTO(head, 4096);
    read_whole("00000001.jsonl", &two);
    read_whole("head", &head);
    write_some(first, 2, 1);
    read_whole("00000001.jsonl", &three);
    for (size_t len = two.len + 1; len < three.len; len++) {
        AUTO_FREE char *aside = path_of("torn-3"), *more = path_of("torn-4");
        write_whole("00000001.jsonl", slice_make(three.data, len));
        write_whole("head", buf_slice(&head));
        struct ledger_report r = walk();
        assert_true(r.is_bad);
        assert_int_equal(r.bad_line, 3);
        LEDGERS(again, 0);
        write_some(again, 2, 1);
        int next = 0;
        ASSERT_OK(ledger_walk(folder, false, note_numbers, &next, &r));
        assert_false(r.is_bad);
        assert_int_equal(r.torn, 1);
        assert_int_equal(r.records, 4);
        assert_int_equal(next, 3);
        BUF_AUTO(kept, 1 << 20);
        ASSERT_OK(file_read(aside, 1 << 20, &kept));
        assert_true(slice_equal(buf_slice(&kept), slice_make(three.data + two.len, len - two.len)));
        if (len % 50 == 0) { /* and what was kept belongs to the ledger, too */
            kept.data[0] ^= 1;
            ASSERT_OK(file_write_atomic(aside, buf_slice(&kept), 0600));
            assert_true(walk().is_bad);
        }
        assert_int_equal(unlink(aside), 0);
        assert_int_equal(access(more, F_OK), -1);
    }
}

static void assert_goes_on(const char *what, unsigned torn, uint64_t records) {
    LEDGERS(l, 1000);
    write_some(l, 100, 1);
    struct ledger_report r = walk();
    if (r.is_bad) fail_msg("%s: %s line %d: %s", what, r.bad_file, (int)r.bad_line, r.bad_text);
    if (r.torn != torn || r.records != records) fail_msg("%s: %u torn, %d records", what, r.torn, (int)r.records);
}

/* Between any two writes of an append, a rotation, and of telling of half a line. */
static void whatever_a_crash_leaves_the_chain_goes_on(void **state) {
    BUF_AUTO(two, 1 << 20);
    BUF_AUTO(three, 1 << 20);
    BUF_AUTO(head, 4096);
    {
        LEDGERS(l, 1000);
        write_some(l, 0, 2);
        read_whole("00000001.jsonl", &two);
        read_whole("head", &head);
        write_some(l, 2, 1);
        read_whole("00000001.jsonl", &three);
    }
    AUTO_FREE char *second = path_of("00000002.jsonl");
    struct slice half = slice_make(three.data + two.len, 40), other = slice_make(three.data, 30);
    static const char *const states[] = {"the head is one behind",    "a new file is empty",
                                         "half a line in a new file", "kept and not cut",
                                         "kept and cut, not told",    "half told"};
    for (int i = 0; i < 6; i++) {
        ASSERT_OK(file_remove_tree(folder));
        ASSERT_OK(file_make_dirs(folder));
        BUF_AUTO(file, 1 << 20);
        buf_append_slice(&file, i == 0 ? buf_slice(&three) : buf_slice(&two));
        if (i == 3) buf_append_slice(&file, half);
        if (i == 5) buf_append_slice(&file, other);
        write_whole("00000001.jsonl", buf_slice(&file));
        write_whole("head", buf_slice(&head));
        if (i == 1) ASSERT_OK(file_write_atomic(second, slice_str(""), 0600));
        if (i == 2) ASSERT_OK(file_write_atomic(second, half, 0600));
        if (i >= 3) write_whole("torn-3", half);
        assert_goes_on(states[i], i >= 2, i == 1 ? 3 : 4);
        if (i < 3) continue;
        BUF_AUTO(kept, 4096);
        read_whole("torn-3", &kept);
        assert_int_equal(kept.len, i == 5 ? 70 : 40);
    }
}

static void a_crash_at_the_very_beginning_is_a_beginning(void **state) {
    for (int i = 0; i < 3; i++) {
        ASSERT_OK(file_remove_tree(folder));
        ASSERT_OK(file_make_dirs(folder));
        if (i == 1) write_whole("00000001.jsonl", slice_str(""));
        if (i == 2) {
            LEDGERS(l, 1000);
            write_some(l, 0, 1);
            write_whole("head", slice_str("")); /* made, and not yet written */
        }
        assert_goes_on("the beginning", 0, i == 2 ? 2 : 1);
    }
}

static void what_the_head_promises_and_is_not_there_is_a_gap_for_ever(void **state) {
    {
        LEDGERS(l, 0);
        write_some(l, 0, 5);
    }
    BUF_AUTO(text, 1 << 20);
    read_whole("00000001.jsonl", &text);
    struct lines lines = split(&text);
    lines.count = 3;
    join(&lines);
    LEDGERS(l, 0);
    write_some(l, 5, 2);
    struct ledger_report r = walk();
    assert_true(r.is_bad);
    assert_int_equal(r.bad_seq, 6); /* after the five that were */
    assert_string_equal(r.bad_file, "00000002.jsonl");
    assert_int_equal(r.last.seq, 3);
}

/* Taken away as a whole, it would begin anew: whoever knows better says so. */
static void a_ledger_that_vanished_is_a_gap(void **state) {
    LEDGERS(l, 0);
    for (int i = 0; i < 2; i++) {
        ASSERT_OK(file_remove_tree(folder));
        LEDGERS(another, 0);
        struct ledgers *used = i ? another : l;
        if (i == 0) {
            write_some(used, 0, 5);
            assert_int_equal(ledger_seq(ledgers_get(used, REGION, ORG)), 5);
            ASSERT_OK(file_remove_tree(folder)); /* while it is in use */
        } else {
            ledger_expect(ledgers_get(used, REGION, ORG), 5); /* while nobody looked */
        }
        /* The first one finds out that the file has gone, the second looks at the folder anew. */
        if (i == 0) assert_true(is_err(ledger_append(ledgers_get(used, REGION, ORG), "kms", some(1), LEDGER_BATCHED)));
        write_some(used, 1, 2);
        struct ledger_report r = walk();
        assert_true(r.is_bad);
        assert_int_equal(r.bad_seq, 6);
        assert_int_equal(r.bad_line, 1);
    }
}

static void a_damaged_last_record_is_left_and_told(void **state) {
    {
        LEDGERS(l, 0);
        write_some(l, 0, 3);
    }
    BUF_AUTO(text, 1 << 20);
    read_whole("00000001.jsonl", &text);
    text.data[text.len - 20] ^= 1;
    write_whole("00000001.jsonl", buf_slice(&text));
    LEDGERS(l, 0);
    write_some(l, 3, 2);
    BUF_AUTO(after, 1 << 20);
    read_whole("00000001.jsonl", &after);
    assert_true(slice_equal(buf_slice(&text), buf_slice(&after)));
    struct ledger_report r = walk();
    assert_true(r.is_bad);
    assert_int_equal(r.bad_seq, 3);
    assert_string_equal(r.bad_file, "00000001.jsonl");
}

static void killed_at_any_moment_the_chain_goes_on(void **state) {
    unsigned seed = 7;
    for (int i = 0; i < 40; i++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            struct ledgers *l = ledgers_new(root, 3000);
            for (int n = 0;; n++)
                if (is_err(ledger_append(ledgers_get(l, REGION, ORG), "kms", some(n), (enum ledger_durability)(n & 1))))
                    _exit(1);
        }
        usleep((useconds_t)(rand_r(&seed) % 15000));
        kill(pid, SIGKILL);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
    }
    LEDGERS(l, 3000);
    write_some(l, 0, 1);
    struct ledger_report r = walk();
    if (r.is_bad) fail_msg("%s line %d: %s", r.bad_file, (int)r.bad_line, r.bad_text);
    assert_true(r.records > 40);
}

/* ---- What can't be written ---- */

static void full_is_a_failure_without_half_lines_and_ends(void **state) {
    LEDGERS(l, 0);
    write_some(l, 0, 2);
    struct rlimit old, tight = {0};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    tight.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    struct stat s;
    AUTO_FREE char *path = path_of("00000001.jsonl");
    for (int room = 0; room < 200; room += 37) {
        assert_int_equal(stat(path, &s), 0);
        tight.rlim_cur = (rlim_t)(s.st_size + room);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
        struct result r = ledger_append(ledgers_get(l, REGION, ORG), "kms", some(99), LEDGER_SYNCED);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_true(is_err(r));
        assert_false(walk().is_bad);
    }
    write_some(l, 2, 2);
    int next = 0;
    struct ledger_report r;
    ASSERT_OK(ledger_walk(folder, false, note_numbers, &next, &r));
    assert_false(r.is_bad);
    assert_int_equal(next, 4);
}

static void a_folder_that_is_none_is_a_failure_and_ends(void **state) {
    LEDGERS(l, 0);
    write_some(l, 0, 1);
    AUTO_FREE char *away = str_format("%s/away", root), *region = str_format("%s/%s", root, REGION);
    assert_int_equal(rename(region, away), 0);
    ASSERT_OK(file_write_atomic(region, slice_str("in the way"), 0600));
    struct ledger *one = ledgers_get(l, REGION, ORG);
    for (int i = 0; i < 3; i++)
        assert_true(is_err(ledger_append(one, "kms", some(9), LEDGER_BATCHED)));
    assert_int_equal(unlink(region), 0);
    assert_int_equal(rename(away, region), 0);
    write_some(l, 1, 2);
    struct ledger_report r = walk();
    assert_false(r.is_bad);
    assert_int_equal(r.records, 3);
}

static void a_record_that_is_too_long_is_refused(void **state) {
    LEDGERS(l, 0);
    write_some(l, 0, 1);
    AUTO_FREE char *text = mem_alloc(LEDGER_LINE_BYTES + 1);
    for (int i = 0; i < LEDGER_LINE_BYTES; i++)
        text[i] = 'x';
    ASSERT_ERR(TOO_LARGE, ledger_append(ledgers_get(l, REGION, ORG), "kms", json_pack("{s:s}", "text", text), 0));
    write_some(l, 1, 1);
    struct ledger_report r = walk();
    assert_false(r.is_bad);
    assert_int_equal(r.records, 2);
}

static void ledgers_are_found_in_their_tree(void **state) {
    LEDGERS(l, 0);
    write_some(l, 0, 1);
    ASSERT_OK(ledger_append(ledgers_get(l, "us-east-1", ORG), "kms", some(0), LEDGER_BATCHED));
    ASSERT_OK(ledger_append(ledgers_get(l, REGION, LEDGER_OPERATOR), "operator", some(0), LEDGER_BATCHED));
    AUTO(ledger_folders_done) struct ledger_folders all = {0};
    AUTO(ledger_folders_done) struct ledger_folders own = {0};
    AUTO(ledger_folders_done) struct ledger_folders none = {0};
    ASSERT_OK(ledger_find(root, &all));
    assert_int_equal(all.count, 3);
    assert_non_null(strstr(all.items[0], "us-east-1"));
    ASSERT_OK(ledger_find(folder, &own));
    assert_int_equal(own.count, 1);
    ASSERT_OK(file_remove_tree(root));
    ASSERT_OK(file_make_dirs(root));
    ASSERT_ERR(NOT_FOUND, ledger_find(root, &none));
    struct ledger_report r;
    ASSERT_ERR(NOT_FOUND, ledger_walk(root, false, NULL, NULL, &r));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)
static const struct CMUnitTest tests[] = {
    TEST(what_is_written_is_read_also_by_the_next_run),
    TEST(rotation_does_not_break_the_chain),
    TEST(many_may_write_at_once),
    TEST(every_byte_counts),
    TEST(a_field_with_a_new_hash_is_noticed_at_what_follows),
    TEST(removed_repeated_and_moved_records_are_noticed),
    TEST(a_ledger_without_its_head_or_with_anothers_is_bad),
    TEST(half_a_line_is_kept_and_told),
    TEST(whatever_a_crash_leaves_the_chain_goes_on),
    TEST(a_crash_at_the_very_beginning_is_a_beginning),
    TEST(what_the_head_promises_and_is_not_there_is_a_gap_for_ever),
    TEST(a_ledger_that_vanished_is_a_gap),
    TEST(a_damaged_last_record_is_left_and_told),
    TEST(killed_at_any_moment_the_chain_goes_on),
    TEST(full_is_a_failure_without_half_lines_and_ends),
    TEST(a_folder_that_is_none_is_a_failure_and_ends),
    TEST(a_record_that_is_too_long_is_refused),
    TEST(ledgers_are_found_in_their_tree),
};
TEST_MAIN(tests)
