/* Sealed files, names and records against the vectors of a second implementation: each opens, each is sealed to the
 * same bytes, each changed one is refused. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "store/store_priv.h"
#include "vectors.h"

enum { SMALL = 1000 };

static int temporary_file(struct slice content) {
    char path[] = "/tmp/lockset-test-vectors-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    ASSERT_OK(file_write_all(fd, content, path));
    return fd;
}

/* The other way to open: chunk by chunk. */
static struct result read_from_file(struct lease *l, struct slice context, struct slice bytes, size_t length,
                                    uint8_t *to) {
    int fd = temporary_file(bytes);
    struct sealed_reader *r;
    struct result done = sealed_reader_new_file(l, context, fd, length, &r);
    if (is_err(done)) {
        close(fd);
        return done;
    }
    size_t at = 0, n;
    for (uint64_t i = 0; is_ok(done) && (at < length || i == 0); i++) {
        done = sealed_reader_chunk(r, i, to + at, &n);
        if (is_ok(done)) at += n;
    }
    assert_true(is_err(done) || at == length);
    sealed_reader_free(r);
    return done;
}

static void assert_opens(struct lease *l, struct slice context, struct slice bytes, const uint8_t *content, size_t n) {
    BUF_AUTO(plain, 4 << 20);
    ASSERT_OK(sealed_open(l, context, bytes, &plain));
    assert_int_equal(plain.len, n);
    if (n) assert_memory_equal(plain.data, content, n);
    AUTO_FREE uint8_t *read = mem_alloc(n + LEASE_CHUNK_BYTES);
    ASSERT_OK(read_from_file(l, context, bytes, n, read));
    if (n) assert_memory_equal(read, content, n);
}

static void assert_refuses(const char *what, struct lease *l, struct slice context, struct slice bytes, size_t n) {
    BUF_AUTO(plain, 4 << 20);
    struct result r = sealed_open(l, context, bytes, &plain);
    if (r.code != ERR_CORRUPT) fail_msg("%s: sealed_open: %s", what, err_name(r.code));
    AUTO_FREE uint8_t *read = mem_alloc(n + LEASE_CHUNK_BYTES);
    r = read_from_file(l, context, bytes, n, read);
    if (r.code != ERR_CORRUPT) fail_msg("%s: the reader: %s", what, err_name(r.code));
}

/* ---- Files ---- */

static void context_of(const char *label, const char *id_hex, struct buf *context) {
    /* Only the bucket of a store counts here. */
    struct store store = {.bucket = str_dup(get_str(vectors_get("keys"), "bucket"))};
    AUTO(buf_done) struct buf id = {0};
    from_hex(id_hex, &id);
    buf_init(context, STORE_CONTEXT_MAX_BYTES);
    ASSERT_OK(store_context(&store, label, buf_slice(&id), context));
    mem_free(store.bucket);
}

static struct result write_to_file(void *arg, struct slice bytes) {
    return file_write_all(*(int *)arg, bytes, "a vector");
}

static void assert_seals_alike(struct lease *l, unsigned version, struct slice context, const uint8_t *content,
                               size_t n, struct slice wanted) {
    BUF_AUTO(sealed, 4 << 20);
    ASSERT_OK(sealed_seal(l, version, context, slice_make(content, n), &sealed));
    assert_true(slice_equal(buf_slice(&sealed), wanted));
    /* In pieces, through a file. */
    int fd = temporary_file((struct slice){0});
    struct sealed_writer *w;
    const struct sealed_sink sink = {write_to_file, &fd};
    if (version == SEALED_VERSION)
        ASSERT_OK(sealed_writer_new_file(l, context, fd, &w));
    else
        ASSERT_OK(sealed_writer_new(l, version, context, &sink, &w));
    for (size_t at = 0; at < n; at += 4001)
        ASSERT_OK(sealed_writer_append(w, slice_make(content + at, n - at < 4001 ? n - at : 4001)));
    ASSERT_OK(sealed_writer_finish(w));
    sealed_writer_free(w);
    AUTO_FREE uint8_t *written = mem_alloc(wanted.len + 1);
    assert_int_equal(pread(fd, written, wanted.len + 1, 0), wanted.len);
    assert_memory_equal(written, wanted.data, wanted.len);
    close(fd);
}

static void test_files(void **state) {
    size_t i;
    json_t *j;
    json_array_foreach(vectors_get("files"), i, j) {
        struct lease *l = vectors_lease(get_str(j, "arn"), get_str(j, "branch"));
        AUTO(buf_done) struct buf file = {0};
        AUTO(buf_done) struct buf context = {0};
        AUTO(buf_done) struct buf wanted_context = {0};
        vectors_file(get_str(j, "file"), &file);
        context_of(get_str(j, "label"), get_str(j, "id"), &context);
        get_hex(j, "context", &wanted_context);
        assert_true(slice_equal(buf_slice(&context), buf_slice(&wanted_context)));
        size_t n = (size_t)get_int(j, "length");
        AUTO_FREE uint8_t *content = vectors_content(n, get_int(j, "seed"));
        assert_opens(l, buf_slice(&context), buf_slice(&file), content, n);
        vectors_set_salt(get_str(j, "salt"));
        assert_seals_alike(l, (unsigned)get_int(j, "version"), buf_slice(&context), content, n, buf_slice(&file));
        struct sealed_header header;
        ASSERT_OK(sealed_header_parse(buf_slice(&file), &header));
        assert_int_equal(file.len, sealed_file_bytes(header.len, n));
        ASSERT_SLICE(header.key_arn, get_str(j, "arn"));
        /* Every byte of a small one, with one bit changed and with all of them. */
        for (size_t k = 0; file.len < SMALL && k < file.len; k++) {
            for (int mask = 1; mask < 256; mask += 254) {
                file.data[k] ^= (uint8_t)mask;
                assert_refuses(get_str(j, "file"), l, buf_slice(&context), buf_slice(&file), n);
                file.data[k] ^= (uint8_t)mask;
            }
        }
        for (size_t cut = 0; file.len < SMALL && cut < file.len; cut++)
            assert_refuses(get_str(j, "file"), l, buf_slice(&context), slice_make(file.data, cut), n);
        lease_free(l);
    }
    assert_true(i >= 12);
}

static const json_t *file_called(const char *name) {
    size_t i;
    json_t *j;
    json_array_foreach(vectors_get("files"), i, j) if (strcmp(get_str(j, "file"), name) == 0) return j;
    fail_msg("there is no file %s", name);
    return NULL;
}

static size_t number_at(const json_t *j, const char *name, size_t index) {
    return (size_t)json_integer_value(json_array_get(json_object_get(j, name), index));
}

static void change(const json_t *j, struct buf *file) {
    uint8_t *data = file->data;
    if (json_object_get(j, "xor")) data[number_at(j, "xor", 0)] ^= (uint8_t)number_at(j, "xor", 1);
    if (json_object_get(j, "cut")) file->len = (size_t)get_int(j, "cut");
    if (json_object_get(j, "append")) {
        AUTO(buf_done) struct buf more = {0};
        get_hex(j, "append", &more);
        buf_append_slice(file, buf_slice(&more));
    }
    if (json_object_get(j, "copy"))
        mem_copy(data + number_at(j, "copy", 1), data + number_at(j, "copy", 0), number_at(j, "copy", 2));
    if (json_object_get(j, "exchange")) {
        uint8_t *a = data + number_at(j, "exchange", 0), *b = data + number_at(j, "exchange", 1);
        size_t n = number_at(j, "exchange", 2);
        AUTO_FREE uint8_t *aside = mem_dup(a, n);
        mem_copy(a, b, n);
        mem_copy(b, aside, n);
    }
}

static void test_refused_files(void **state) {
    size_t i;
    json_t *j;
    json_array_foreach(vectors_get("refused_files"), i, j) {
        const json_t *original = file_called(get_str(j, "file"));
        struct lease *l = vectors_lease(get_str(original, "arn"), get_str(original, "branch"));
        const char *label = json_object_get(j, "label") ? get_str(j, "label") : get_str(original, "label");
        const char *id = json_object_get(j, "id") ? get_str(j, "id") : get_str(original, "id");
        AUTO(buf_done) struct buf context = {0};
        AUTO(buf_done) struct buf file = {0};
        context_of(label, id, &context);
        vectors_file(get_str(j, "file"), &file);
        change(j, &file);
        assert_refuses(get_str(j, "what"), l, buf_slice(&context), buf_slice(&file),
                       (size_t)get_int(original, "length"));
        lease_free(l);
    }
    assert_true(i >= 30);
}

/* ---- Names ---- */

static struct name_summary summary_of(const json_t *j) {
    const json_t *s = get_any(j, "summary");
    struct name_summary summary = {.sequence = (uint64_t)get_int(s, "sequence"),
                                   .size = (uint64_t)get_int(s, "size"),
                                   .mtime_ms = get_int(s, "time"),
                                   .etag.parts = (uint32_t)get_int(s, "etag_parts")};
    get_bytes(s, "etag", summary.etag.bytes, sizeof summary.etag.bytes);
    return summary;
}

static void assert_summary(const struct name_summary *a, const struct name_summary *b) {
    assert_true(a->sequence == b->sequence && a->size == b->size && a->mtime_ms == b->mtime_ms);
    assert_true(store_etag_equal(&a->etag, &b->etag));
}

/* Follows folders and file back to the key. */
static void assert_name_opens(const struct names *names, const json_t *j, const struct name_summary *summary,
                              const uint8_t *tag) {
    uint8_t chain[NAME_CHAIN_BYTES] = {0}, peeked[NAME_CHAIN_BYTES];
    BUF_AUTO(key, STORE_KEY_MAX_BYTES);
    size_t i;
    json_t *folder;
    json_array_foreach(json_object_get(j, "folders"), i, folder) {
        struct name_opened o = {0};
        buf_init(&o.component, NAME_PIECE_BYTES);
        ASSERT_OK(names_open(names, chain, json_string_value(folder), &o));
        assert_int_equal(o.kind, json_string_value(folder)[0] == '+' ? NAME_PIECE : NAME_FOLDER);
        buf_append_slice(&key, buf_slice(&o.component));
        if (o.kind == NAME_FOLDER) buf_append_byte(&key, '/');
        assert_true(names_peek_chain(json_string_value(folder), peeked));
        assert_memory_equal(peeked, o.chain, sizeof peeked);
        mem_copy(chain, o.chain, sizeof chain);
        buf_done(&o.component);
    }
    struct name_opened o = {0};
    buf_init(&o.component, NAME_PIECE_BYTES);
    ASSERT_OK(names_open(names, chain, get_str(j, "file"), &o));
    assert_int_equal(o.kind, NAME_OBJECT);
    buf_append_slice(&key, buf_slice(&o.component));
    assert_string_equal(buf_str(&key), get_str(j, "key"));
    assert_summary(&o.summary, summary);
    assert_memory_equal(o.tag, tag, sizeof o.tag);
    assert_true(names_peek_tag(get_str(j, "file"), peeked));
    assert_memory_equal(peeked, tag, sizeof peeked);
    buf_done(&o.component);
}

static struct lease *default_lease(void) {
    const json_t *keys = vectors_get("keys");
    return vectors_lease(get_str(keys, "arn"), get_str(keys, "active"));
}

static void test_names(void **state) {
    struct lease *l = default_lease();
    struct names names;
    ASSERT_OK(names_init(l, get_str(vectors_get("keys"), "bucket"), &names));
    size_t i, k;
    json_t *j, *folder;
    json_array_foreach(vectors_get("names"), i, j) {
        struct slice key = slice_str(get_str(j, "key")), prefix = key_prefix(key);
        NAME_PLACE_AUTO(place);
        char file[NAME_FILE_BYTES];
        uint8_t chain[NAME_CHAIN_BYTES], tag[NAME_TAG_BYTES], wanted[NAME_CHAIN_BYTES];
        ASSERT_OK(names_descend(&names, prefix, &place));
        ASSERT_OK(names_leaf(&names, slice_make(key.data + prefix.len, key.len - prefix.len), &place, file, chain));
        BUF_AUTO(folders, NAME_DIR_MAX_BYTES);
        json_array_foreach(json_object_get(j, "folders"), k, folder) {
            if (k) buf_append_byte(&folders, '/');
            buf_append_str(&folders, json_string_value(folder));
        }
        assert_true(slice_equal(buf_slice(&place.dir), buf_slice(&folders)));
        assert_string_equal(file, get_str(j, "name"));
        get_bytes(j, "chain", wanted, sizeof wanted);
        assert_memory_equal(chain, wanted, sizeof chain);
        struct name_summary summary = summary_of(j);
        ASSERT_OK(names_add_summary(&names, chain, &summary, file, tag));
        assert_string_equal(file, get_str(j, "file"));
        get_bytes(j, "tag", wanted, sizeof wanted);
        assert_memory_equal(tag, wanted, sizeof tag);
        assert_name_opens(&names, j, &summary, tag);
    }
    assert_true(i > 25);
    names_done(&names);
    lease_free(l);
}

static void test_refused_names(void **state) {
    struct lease *l = default_lease();
    struct names names;
    ASSERT_OK(names_init(l, get_str(vectors_get("keys"), "bucket"), &names));
    size_t i;
    json_t *j;
    json_array_foreach(vectors_get("refused_names"), i, j) {
        uint8_t chain[NAME_CHAIN_BYTES];
        get_bytes(j, "chain", chain, sizeof chain);
        struct name_opened o = {0};
        buf_init(&o.component, NAME_PIECE_BYTES);
        struct result r = names_open(&names, chain, get_str(j, "file"), &o);
        if (r.code != ERR_CORRUPT) fail_msg("%s: %s", get_str(j, "what"), err_name(r.code));
        buf_done(&o.component);
    }
    assert_true(i >= 18);
    names_done(&names);
    lease_free(l);
}

/* ---- Records ---- */

static void test_records(void **state) {
    size_t i, checked = 0;
    json_t *j;
    json_array_foreach(json_object_get(vectors_get("store"), "objects"), i, j) {
        if (!json_is_string(json_object_get(j, "record"))) continue;
        AUTO(buf_done) struct buf plain = {0};
        get_hex(j, "record", &plain);
        RECORD_AUTO(record);
        ASSERT_OK(record_parse(buf_slice(&plain), &record));
        assert_string_equal(record.info.key, get_str(j, "key"));
        BUF_AUTO(again, RECORD_MAX_BYTES);
        ASSERT_OK(record_write(&record, &again));
        assert_true(slice_equal(buf_slice(&again), buf_slice(&plain)));
        for (size_t n = 0; n < plain.len; n++) {
            RECORD_AUTO(cut);
            ASSERT_ERR(CORRUPT, record_parse(slice_make(plain.data, n), &cut));
        }
        buf_append_byte(&again, 0);
        RECORD_AUTO(longer);
        ASSERT_ERR(CORRUPT, record_parse(buf_slice(&again), &longer));
        checked++;
    }
    assert_true(checked > 20);
}

int main(int argc, char **argv) {
    if (is_err(secret_start(1 << 20, true))) return 1;
    vectors_load(argc > 1 ? argv[1] : "tests/vectors/sealed");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),         cmocka_unit_test(test_refused_files), cmocka_unit_test(test_names),
        cmocka_unit_test(test_refused_names), cmocka_unit_test(test_records),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    vectors_done();
    return failed;
}
