/* Names: a key's names lead back to the key; a file name that opens is the one that its content has. */
#include "common.h"

#include <string.h>

#include "store/level.h"

static const struct names *the_names(void) {
    static struct names names;
    if (!names.components) PROMISE(is_ok(names_init(fuzz_lease(), FUZZ_BUCKET, &names)));
    return &names;
}

struct opened {
    struct name_opened name;
};

static void opened_done(struct opened *o) {
    buf_done(&o->name.component);
}

static struct result open_name(const uint8_t *chain, const char *file, struct opened *o) {
    buf_init(&o->name.component, NAME_PIECE_BYTES);
    err_forget();
    struct result r = names_open(the_names(), chain, file, &o->name);
    PROMISE(is_settled(r));
    PROMISE(is_ok(r) || r.code == ERR_CORRUPT);
    return r;
}

/* Bytes as a name in names/ itself. */
static void check_file(struct slice bytes) {
    static const uint8_t chain[NAME_CHAIN_BYTES];
    AUTO_FREE char *file = slice_to_str(bytes);
    uint8_t tag[NAME_TAG_BYTES], peeked[NAME_CHAIN_BYTES];
    bool has_tag = names_peek_tag(file, tag), has_chain = names_peek_chain(file, peeked);
    AUTO(opened_done) struct opened o = {0};
    if (is_err(open_name(chain, file, &o))) return;
    PROMISE(o.name.kind == NAME_OBJECT ? has_tag && mem_order(tag, o.name.tag, sizeof tag) == 0
                                       : has_chain && mem_order(peeked, o.name.chain, sizeof peeked) == 0);
    if (o.name.kind != NAME_OBJECT) return;
    NAME_PLACE_AUTO(place);
    char again[NAME_FILE_BYTES];
    PROMISE(is_ok(names_leaf(the_names(), buf_slice(&o.name.component), &place, again, peeked)));
    PROMISE(is_ok(names_add_summary(the_names(), peeked, &o.name.summary, again, tag)));
    PROMISE(strcmp(again, file) == 0);
}

/* Follows the folders and the file back to the key. */
static void check_way_back(struct slice dir, const char *file, const struct name_summary *summary, struct slice key) {
    uint8_t chain[NAME_CHAIN_BYTES] = {0};
    BUF_AUTO(found, STORE_KEY_MAX_BYTES);
    while (dir.len > 0) {
        struct slice step;
        slice_cut(dir, '/', &step, &dir);
        PROMISE(step.len > 0 && step.len < NAME_FILE_BYTES);
        AUTO_FREE char *name = slice_to_str(step);
        AUTO(opened_done) struct opened o = {0};
        PROMISE(is_ok(open_name(chain, name, &o)));
        buf_append_slice(&found, buf_slice(&o.name.component));
        if (o.name.kind == NAME_FOLDER) buf_append_byte(&found, '/');
        mem_copy(chain, o.name.chain, sizeof chain);
    }
    AUTO(opened_done) struct opened o = {0};
    PROMISE(is_ok(open_name(chain, file, &o)) && o.name.kind == NAME_OBJECT);
    buf_append_slice(&found, buf_slice(&o.name.component));
    PROMISE(is_ok(buf_check(&found)) && slice_equal(buf_slice(&found), key));
    PROMISE(o.name.summary.sequence == summary->sequence && o.name.summary.size == summary->size &&
            o.name.summary.mtime_ms == summary->mtime_ms && store_etag_equal(&o.name.summary.etag, &summary->etag));
}

static void check_key(struct slice key) {
    struct name_summary summary = {.sequence = key.len, .size = key.data[0], .mtime_ms = -1, .etag.parts = 7};
    struct slice prefix = key_prefix(key);
    NAME_PLACE_AUTO(place);
    char file[NAME_FILE_BYTES];
    uint8_t chain[NAME_CHAIN_BYTES], tag[NAME_TAG_BYTES];
    PROMISE(is_ok(names_descend(the_names(), prefix, &place)));
    PROMISE(
        is_ok(names_leaf(the_names(), slice_make(key.data + prefix.len, key.len - prefix.len), &place, file, chain)));
    PROMISE(is_ok(names_add_summary(the_names(), chain, &summary, file, tag)));
    PROMISE(!strchr(file, '/') && strlen(file) < NAME_FILE_BYTES);
    check_way_back(buf_slice(&place.dir), file, &summary, key);
    /* In another folder, or with another character, it is nothing. */
    AUTO(opened_done) struct opened o = {0};
    chain[0] ^= 1;
    PROMISE(is_err(open_name(chain, file, &o)));
    size_t at = key.data[key.len - 1] % strlen(file);
    file[at] = file[at] == 'A' ? 'B' : 'A';
    AUTO(opened_done) struct opened changed = {0};
    if (place.dir.len == 0) {
        static const uint8_t root[NAME_CHAIN_BYTES];
        PROMISE(is_err(open_name(root, file, &changed)));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice bytes = slice_make(data, size);
    if (size == 0 || size > STORE_KEY_MAX_BYTES || slice_has_nul(bytes)) return 0;
    check_file(bytes);
    check_key(bytes); /* the names themselves don't ask for UTF-8 */
    return 0;
}
