/* Sealed files: whatever opens is, byte for byte, what sealing its content gives; both readers agree; and a file with
 * a changed bit doesn't open. */
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "common.h"
#include "store/sealed.h"

enum { PLAIN_MAX = 1 << 20 };

/* As store_context makes it: a body of the vectors ("one-byte"). */
static struct slice context(void) {
    static const uint8_t bytes[] =
        "body\0\0\007" FUZZ_BUCKET "\x00\x6b\x82\x5d\x77\x3e\x83\x37\xf2\xcf\x94\x41\x11\x6f\x93\x38";
    return slice_make(bytes, sizeof bytes - 1);
}

static void check_reader(struct slice sealed, const struct buf *plain, bool opens) {
    int fd = memfd_create("sealed", MFD_CLOEXEC);
    PROMISE(fd >= 0 && is_ok(file_write_all(fd, sealed, "a sealed file")));
    struct sealed_reader *r;
    struct result made = sealed_reader_new_file(fuzz_lease(), context(), fd, plain->len, &r);
    if (is_err(made)) {
        PROMISE(!opens && made.code == ERR_CORRUPT);
        close(fd);
        return;
    }
    static uint8_t chunk[LEASE_CHUNK_BYTES];
    bool good = true;
    for (uint64_t i = 0; good && (i == 0 || i * sizeof chunk < plain->len); i++) {
        size_t n;
        struct result read = sealed_reader_chunk(r, i, chunk, &n);
        good = is_ok(read);
        PROMISE(good || read.code == ERR_CORRUPT);
        if (good && n) PROMISE(slice_equal(slice_make(chunk, n), slice_make(plain->data + i * sizeof chunk, n)));
    }
    PROMISE(good == opens);
    sealed_reader_free(r);
}

/* Anything at all, as a sealed file. */
static void check_file(struct slice bytes) {
    struct sealed_header header;
    err_forget();
    struct result parsed = sealed_header_parse(bytes, &header);
    PROMISE(is_settled(parsed));
    PROMISE(is_err(parsed) ? parsed.code == ERR_CORRUPT : header.len <= bytes.len);
    BUF_AUTO(plain, PLAIN_MAX);
    struct result r = sealed_open(fuzz_lease(), context(), bytes, &plain);
    PROMISE(is_ok(r) || r.code == ERR_CORRUPT);
    PROMISE(is_err(r) || is_ok(parsed));
    check_reader(bytes, &plain, is_ok(r));
    if (is_err(r)) return;
    fuzz_set_salt(header.salt);
    BUF_AUTO(again, PLAIN_MAX);
    PROMISE(is_ok(sealed_seal(fuzz_lease(), header.version, context(), buf_slice(&plain), &again)));
    PROMISE(slice_equal(buf_slice(&again), bytes));
}

/* Anything at all, as the content of one; `where` says what is changed then. */
static void check_content(struct slice content, uint32_t where) {
    static const uint8_t salt[LEASE_SALT_BYTES] = "a salt for the fuzzer";
    fuzz_set_salt(salt);
    BUF_AUTO(sealed, 2 * PLAIN_MAX);
    PROMISE(is_ok(sealed_seal(fuzz_lease(), SEALED_VERSION, context(), content, &sealed)));
    BUF_AUTO(plain, PLAIN_MAX);
    PROMISE(is_ok(sealed_open(fuzz_lease(), context(), buf_slice(&sealed), &plain)));
    PROMISE(slice_equal(buf_slice(&plain), content));
    check_reader(buf_slice(&sealed), &plain, true);
    buf_clear(&plain);
    size_t at = where / 8 % sealed.len;
    sealed.data[at] ^= (uint8_t)(1 << where % 8);
    PROMISE(sealed_open(fuzz_lease(), context(), buf_slice(&sealed), &plain).code == ERR_CORRUPT);
    sealed.data[at] ^= (uint8_t)(1 << where % 8);
    buf_clear(&plain);
    PROMISE(sealed_open(fuzz_lease(), context(), slice_make(sealed.data, at), &plain).code == ERR_CORRUPT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    check_file(slice_make(data, size));
    if (size < 4) return 0;
    struct slice at = slice_make(data, size);
    uint32_t where;
    PROMISE(take_u32(&at, &where));
    check_content(at, where);
    return 0;
}
