/* The folders of names/, opened and kept in memory: what lookups and listings work on. A level is all objects and
 * folders directly under one key prefix. This process is the only writer, so a level in memory stays true as long as
 * every change goes through here. Everything is called with the store's lock held. */
#ifndef LOCKSET_STORE_LEVEL_H
#define LOCKSET_STORE_LEVEL_H

#include "store/names.h"

/* An older version of an object whose file is still there: a newer one was put before it and is being synced. */
struct level_stale {
    uint64_t sequence;
    uint8_t tag[NAME_TAG_BYTES];
    bool has_bodies; /* or may have */
    char *file;
    struct level_stale *next; /* ascending by sequence */
};

struct level_entry {
    bool is_folder;
    struct name_summary summary; /* of objects */
    struct level_stale *stale;
    size_t len;
    char name[]; /* NUL-terminated; a folder's ends with '/', so that entries sort as keys do */
};

struct level_names {
    char **items;
    size_t count;
};

struct level {
    char *prefix; /* "" or ending with '/' */
    struct name_place place;
    bool exists;  /* the folder is there */
    bool damaged; /* holds a name that doesn't open; or is not there, and the folder above holds one */
    bool unsure;  /* reading failed: has to be read again before it counts */
    unsigned users;
    /* In S3, where no request is made with the lock held: */
    bool is_loading;              /* nobody else touches its objects until it is loaded */
    unsigned writers;             /* requests under way that change it; loading waits for them */
    struct level_names gone;      /* what disappeared while it was loaded */
    struct level_entry **entries; /* sorted by name */
    size_t count, capacity;
    struct level *hash_next, *newer, *older;
};

struct level_cache {
    int names_fd; /* borrowed */
    const struct names *names;
    void (*remove_bodies)(void *arg, const uint8_t tag[static NAME_TAG_BYTES]); /* of leftovers met while loading */
    void *arg;
    size_t entries_max, entries;
    struct level *buckets[4096];
    struct level *newest, *oldest;
};

void level_cache_init(struct level_cache *c, int names_fd, const struct names *names, size_t entries_max);
void level_cache_done(struct level_cache *c);

/* The level of a prefix, loaded if need be, and held until level_release: others may be dropped from memory by it. */
struct result level_get(struct level_cache *c, struct slice prefix, struct level **ret);
void level_release(struct level_cache *c, struct level *l);
/* Reads the folder again: after an error that left it uncertain what is on the disk. */
struct result level_reload(struct level_cache *c, struct level *l);
/* Only if it is in memory; not held. */
struct level *level_peek(struct level_cache *c, struct slice prefix);

/* The entry of that name (a folder's with its '/'); NULL if there is none. */
struct level_entry *level_find(const struct level *l, struct slice name);
/* The position of the first entry that is not before the name. */
size_t level_position(const struct level *l, struct slice name);
/* Makes an entry, or finds it. */
struct level_entry *level_add(struct level_cache *c, struct level *l, struct slice name, bool is_folder);
void level_remove(struct level_cache *c, struct level *l, struct slice name);

/* For S3: the level of a prefix, to be loaded (unsure) if it was not in memory; held. */
struct result level_enter(struct level_cache *c, struct slice prefix, struct level **ret);
/* What was found in a folder: an entry, and of objects the file. Takes both over. */
struct level_found {
    struct level_entry *entry;
    struct level_stale *file;
};
struct level_found_list {
    struct level_found *items;
    size_t count, capacity;
};
void level_found_list_done(struct level_found_list *l);
/* Of a name that was opened. `name` is the whole component, a folder's with its '/'. */
void level_found_add(struct level_found_list *l, struct slice name, const char *file, const struct name_opened *o);
/* Ends the loading: what was found becomes the level's entries, with older versions as stale; what came and went
 * meanwhile is respected. */
void level_install(struct level_cache *c, struct level *l, struct level_found_list *found);
void level_clear(struct level_cache *c, struct level *l);
/* Unlinked from its entry. */
void level_stale_free(struct level_stale *s);
/* Has, or may have, an object of this summary bodies? */
bool name_summary_has_bodies(const struct name_summary *summary);

/* Opens the folder of a place. NOT_FOUND. */
struct result level_open_dir(int names_fd, const struct name_place *place, int *ret_fd);
/* The same, making what is missing on the way. *ret_made: the length of the path of the folder in which the first of
 * them was made; that of the place itself if none was. Set as far as it came, also when it fails. */
struct result level_make_dir(int names_fd, const struct name_place *place, size_t *ret_made, int *ret_fd);

/* Splits a key into its level's prefix and the last component. */
static inline struct slice key_prefix(struct slice key) {
    size_t n = key.len;
    while (n > 0 && key.data[n - 1] != '/')
        n--;
    return slice_make(key.data, n);
}

#endif
