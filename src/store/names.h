/* How keys become file names: each component of a key is sealed deterministically (AES-SIV) with the sealed form of its
 * parent as associated data, so that it opens only where it was put. Long components are cut into pieces, which nest as
 * folders whose names begin with '+'. An object's file name carries a sealed summary (what a listing shows) behind a
 * dot. See docs/format.md. Thread-safe; the two namers may be shared. */
#ifndef LOCKSET_STORE_NAMES_H
#define LOCKSET_STORE_NAMES_H

#include "keys/lease.h"
#include "store/store.h"

enum {
    NAME_PIECE_BYTES = 112, /* of a component, at most, in one file name */
    NAME_CHAIN_BYTES = SIV_TAG_BYTES,
    NAME_TAG_BYTES = SIV_TAG_BYTES,
    NAME_FILE_BYTES = 256,           /* the longest file name, and its NUL */
    NAME_DIR_MAX_BYTES = 256 * 1024, /* of a key of 1,024 bytes that is nothing but slashes or pieces */
};

enum name_kind { NAME_OBJECT = 'O', NAME_FOLDER = 'D', NAME_PIECE = 'P' };

struct names {
    struct lease_namer *components, *summaries;
};
struct result names_init(struct lease *lease, const char *bucket, struct names *ret);
void names_done(struct names *n);

/* What a listing shows of an object, plus what tells its versions apart. */
struct name_summary {
    uint64_t sequence;
    uint64_t size;
    int64_t mtime_ms;
    struct store_etag etag;
};

/* A folder: where it is, and what its entries are sealed against. */
struct name_place {
    struct buf dir;                  /* sealed names joined by '/', relative to names/; "" for names/ itself */
    uint8_t chain[NAME_CHAIN_BYTES]; /* the SIV of the folder's own name; zeros for names/ */
};
void name_place_init(struct name_place *p); /* names/ itself */
void name_place_done(struct name_place *p);
#define NAME_PLACE_AUTO(name)                                                                                          \
    AUTO(name_place_done) struct name_place name;                                                                      \
    name_place_init(&name)

/* Moves the place down to the folder of a key prefix, which is "" or ends with '/'. */
struct result names_descend(const struct names *n, struct slice prefix, struct name_place *place);
/* Moves the place down into the '+' folders of an object's last component (often none), and gives the sealed name of
 * the rest and its SIV. */
struct result names_leaf(const struct names *n, struct slice component, struct name_place *place,
                         char ret_name[static NAME_FILE_BYTES], uint8_t ret_chain[static NAME_CHAIN_BYTES]);
/* Appends ".<sealed summary>" to the sealed name, and gives the summary's SIV: the tag that the record and its bodies
 * are bound to. */
struct result names_add_summary(const struct names *n, const uint8_t chain[static NAME_CHAIN_BYTES],
                                const struct name_summary *summary, char name[static NAME_FILE_BYTES],
                                uint8_t ret_tag[static NAME_TAG_BYTES]);

struct name_opened {
    enum name_kind kind;
    struct buf component;            /* appended to: the component, or this piece of it */
    uint8_t chain[NAME_CHAIN_BYTES]; /* for what is inside */
    struct name_summary summary;     /* of objects */
    uint8_t tag[NAME_TAG_BYTES];     /* of objects */
};
/* Opens a file name found in a folder with that chain. CORRUPT when it doesn't belong there. The caller has initialized
 * ret->component. */
struct result names_open(const struct names *n, const uint8_t chain[static NAME_CHAIN_BYTES], const char *file,
                         struct name_opened *ret);
/* Without any key: the tag in an object's file name; false when it isn't one. */
bool names_peek_tag(const char *file, uint8_t ret_tag[static NAME_TAG_BYTES]);
/* Without any key: the chain in a folder's file name; false when it isn't one. */
bool names_peek_chain(const char *file, uint8_t ret_chain[static NAME_CHAIN_BYTES]);

#endif
