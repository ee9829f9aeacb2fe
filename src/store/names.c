#include "store/names.h"

#include <assert.h>
#include <string.h>

enum {
    SUMMARY_BYTES = 8 + 8 + 8 + 16 + 2, /* sequence, size, time, ETag, parts */
    SEALED_SUMMARY_BYTES = SIV_TAG_BYTES + SUMMARY_BYTES,
    SEALED_PIECE_MAX_BYTES = SIV_TAG_BYTES + 1 + NAME_PIECE_BYTES,
};

/* base64url of the longest piece, a dot, and the summary: at most 255 bytes, what file systems allow. */
static_assert((SEALED_PIECE_MAX_BYTES * 4 + 2) / 3 + 1 + (SEALED_SUMMARY_BYTES * 4 + 2) / 3 < NAME_FILE_BYTES);

static struct result namer_for(struct lease *lease, const char *label, const char *bucket, struct lease_namer **ret) {
    BUF_AUTO(context, LEASE_CONTEXT_MAX_BYTES);
    buf_append(&context, label, strlen(label) + 1);
    buf_append_str(&context, bucket);
    TRY(buf_check(&context));
    return lease_namer_new(lease, buf_slice(&context), ret);
}

struct result names_init(struct lease *lease, const char *bucket, struct names *ret) {
    struct names n = {0};
    struct result r = namer_for(lease, "component", bucket, &n.components);
    if (is_ok(r)) r = namer_for(lease, "summary", bucket, &n.summaries);
    if (is_ok(r))
        *ret = n;
    else
        names_done(&n);
    return r;
}

void names_done(struct names *n) {
    n->components = lease_namer_free(n->components);
    n->summaries = lease_namer_free(n->summaries);
}

void name_place_init(struct name_place *p) {
    *p = (struct name_place){0};
    buf_init(&p->dir, NAME_DIR_MAX_BYTES);
}

void name_place_done(struct name_place *p) {
    buf_done(&p->dir);
}

/* The file name of one piece of a component, and its SIV. */
static struct result seal_piece(const struct names *n, const uint8_t *chain, enum name_kind kind, struct slice piece,
                                char *ret_name, uint8_t *ret_chain) {
    BUF_AUTO(plain, 1 + NAME_PIECE_BYTES);
    plain.wipes = true;
    buf_append_byte(&plain, (uint8_t)kind);
    buf_append_slice(&plain, piece);
    TRY(buf_check(&plain));
    BUF_AUTO(sealed, SEALED_PIECE_MAX_BYTES);
    TRY(lease_namer_seal(n->components, slice_make(chain, NAME_CHAIN_BYTES), buf_slice(&plain), &sealed));
    BUF_AUTO(text, NAME_FILE_BYTES - 1);
    if (kind == NAME_PIECE) buf_append_byte(&text, '+');
    base64url_encode(buf_slice(&sealed), &text);
    TRY(buf_check(&text));
    mem_copy(ret_name, buf_str(&text), text.len + 1);
    mem_copy(ret_chain, sealed.data, NAME_CHAIN_BYTES);
    return OK;
}

static struct result place_enter(const struct names *n, enum name_kind kind, struct slice piece,
                                 struct name_place *place) {
    char name[NAME_FILE_BYTES];
    TRY(seal_piece(n, place->chain, kind, piece, name, place->chain));
    if (place->dir.len) buf_append_byte(&place->dir, '/');
    buf_append_str(&place->dir, name);
    return buf_check(&place->dir);
}

/* Enters the '+' folders and leaves the last piece in *component. */
static struct result enter_pieces(const struct names *n, struct slice *component, struct name_place *place) {
    while (component->len > NAME_PIECE_BYTES) {
        TRY(place_enter(n, NAME_PIECE, slice_make(component->data, NAME_PIECE_BYTES), place));
        *component = slice_make(component->data + NAME_PIECE_BYTES, component->len - NAME_PIECE_BYTES);
    }
    return OK;
}

struct result names_descend(const struct names *n, struct slice prefix, struct name_place *place) {
    while (prefix.len > 0) {
        struct slice component;
        CHECK(slice_cut(prefix, '/', &component, &prefix), ERR_INTERNAL, "a folder's prefix has no slash at its end");
        TRY(enter_pieces(n, &component, place));
        TRY(place_enter(n, NAME_FOLDER, component, place));
    }
    return OK;
}

struct result names_leaf(const struct names *n, struct slice component, struct name_place *place,
                         char ret_name[static NAME_FILE_BYTES], uint8_t ret_chain[static NAME_CHAIN_BYTES]) {
    TRY(enter_pieces(n, &component, place));
    return seal_piece(n, place->chain, NAME_OBJECT, component, ret_name, ret_chain);
}

struct result names_add_summary(const struct names *n, const uint8_t chain[static NAME_CHAIN_BYTES],
                                const struct name_summary *summary, char name[static NAME_FILE_BYTES],
                                uint8_t ret_tag[static NAME_TAG_BYTES]) {
    BUF_AUTO(plain, SUMMARY_BYTES);
    put_u64(&plain, summary->sequence);
    put_u64(&plain, summary->size);
    put_u64(&plain, (uint64_t)summary->mtime_ms);
    buf_append(&plain, summary->etag.bytes, sizeof summary->etag.bytes);
    put_u16(&plain, (uint16_t)summary->etag.parts);
    TRY(buf_check(&plain));
    BUF_AUTO(sealed, SEALED_SUMMARY_BYTES);
    TRY(lease_namer_seal(n->summaries, slice_make(chain, NAME_CHAIN_BYTES), buf_slice(&plain), &sealed));
    BUF_AUTO(text, NAME_FILE_BYTES - 1);
    buf_append_str(&text, name);
    buf_append_byte(&text, '.');
    base64url_encode(buf_slice(&sealed), &text);
    TRY(buf_check(&text));
    mem_copy(name, buf_str(&text), text.len + 1);
    mem_copy(ret_tag, sealed.data, NAME_TAG_BYTES);
    return OK;
}

static struct result open_summary(const struct names *n, const uint8_t *chain, struct slice text,
                                  struct name_opened *ret) {
    BUF_AUTO(sealed, SEALED_SUMMARY_BYTES);
    CHECK(is_ok(base64url_decode(text, &sealed)) && is_ok(buf_check(&sealed)) && sealed.len == SEALED_SUMMARY_BYTES,
          ERR_CORRUPT, "a file name in the store is not one that Lockset writes");
    BUF_AUTO(plain, SUMMARY_BYTES);
    TRY(lease_namer_open(n->summaries, slice_make(chain, NAME_CHAIN_BYTES), buf_slice(&sealed), &plain));
    struct slice at = buf_slice(&plain), etag;
    uint64_t mtime_ms;
    uint16_t parts;
    struct name_summary s = {0};
    CHECK(take_u64(&at, &s.sequence) && take_u64(&at, &s.size) && take_u64(&at, &mtime_ms) &&
              take_bytes(&at, sizeof s.etag.bytes, &etag) && take_u16(&at, &parts) && at.len == 0,
          ERR_CORRUPT, "a summary of another shape");
    s.mtime_ms = (int64_t)mtime_ms;
    s.etag.parts = parts;
    mem_copy(s.etag.bytes, etag.data, etag.len);
    ret->summary = s;
    mem_copy(ret->tag, sealed.data, NAME_TAG_BYTES);
    return OK;
}

struct result names_open(const struct names *n, const uint8_t chain[static NAME_CHAIN_BYTES], const char *file,
                         struct name_opened *ret) {
    struct slice text = slice_str(file), summary;
    bool is_piece = text.len > 0 && text.data[0] == '+';
    if (is_piece) text = slice_make(text.data + 1, text.len - 1);
    bool is_object = slice_cut(text, '.', &text, &summary);
    enum name_kind kind = is_object ? NAME_OBJECT : is_piece ? NAME_PIECE : NAME_FOLDER;
    CHECK(!(is_piece && is_object), ERR_CORRUPT, "a file name in the store is not one that Lockset writes");
    BUF_AUTO(sealed, SEALED_PIECE_MAX_BYTES);
    CHECK(is_ok(base64url_decode(text, &sealed)) && is_ok(buf_check(&sealed)) && sealed.len > SIV_TAG_BYTES,
          ERR_CORRUPT, "a file name in the store is not one that Lockset writes");
    BUF_AUTO(plain, 1 + NAME_PIECE_BYTES);
    plain.wipes = true;
    TRY(lease_namer_open(n->components, slice_make(chain, NAME_CHAIN_BYTES), buf_slice(&sealed), &plain));
    struct slice component = slice_make(plain.data + 1, plain.len - 1);
    CHECK(plain.data[0] == kind && (kind != NAME_PIECE || component.len == NAME_PIECE_BYTES), ERR_CORRUPT,
          "a file name in the store stands for something else than it seems");
    if (is_object) TRY(open_summary(n, sealed.data, summary, ret));
    ret->kind = kind;
    mem_copy(ret->chain, sealed.data, NAME_CHAIN_BYTES);
    buf_append_slice(&ret->component, component);
    return buf_check(&ret->component);
}

bool names_peek_tag(const char *file, uint8_t ret_tag[static NAME_TAG_BYTES]) {
    struct slice name, text;
    if (!slice_cut(slice_str(file), '.', &name, &text)) return false;
    BUF_AUTO(sealed, SEALED_SUMMARY_BYTES);
    if (is_err(base64url_decode(text, &sealed)) || sealed.len != SEALED_SUMMARY_BYTES) return false;
    mem_copy(ret_tag, sealed.data, NAME_TAG_BYTES);
    return true;
}

bool names_peek_chain(const char *file, uint8_t ret_chain[static NAME_CHAIN_BYTES]) {
    struct slice text = slice_str(file);
    if (text.len > 0 && text.data[0] == '+') text = slice_make(text.data + 1, text.len - 1);
    BUF_AUTO(sealed, SEALED_PIECE_MAX_BYTES);
    if (is_err(base64url_decode(text, &sealed)) || sealed.len <= SIV_TAG_BYTES) return false;
    mem_copy(ret_chain, sealed.data, NAME_CHAIN_BYTES);
    return true;
}
