/* Tags and descriptions: what a region's key carries for people.
 * Source: https://docs.aws.amazon.com/kms/latest/developerguide/tagging-keys.html */
#include <string.h>
#include <strings.h>

#include "kms/operations.h"

enum { KEY_ID_MAX = 2048, DESCRIPTION_MAX = 8192, TAGS_MAX = 50, TAG_KEY_MAX = 128, TAG_VALUE_MAX = 256 };

/* Characters, not bytes. */
static size_t length(const char *text) {
    size_t n = 0;
    for (; *text != '\0'; text++)
        n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

static const char *tag_key(const json_t *tags, size_t at) {
    return json_string_value(json_object_get(json_array_get(tags, at), "TagKey"));
}

static struct result check_tag(struct kmsd_call *c, const json_t *tags, size_t at) {
    const char *key = tag_key(tags, at);
    const char *value = json_string_value(json_object_get(json_array_get(tags, at), "TagValue"));
    if (key == NULL || value == NULL || key[0] == '\0' || length(key) > TAG_KEY_MAX || length(value) > TAG_VALUE_MAX)
        REFUSE(c, VALIDATION, "A tag needs a TagKey of 1 to 128 and a TagValue of 0 to 256 characters");
    if (strncasecmp(key, "aws:", 4) == 0) REFUSE(c, TAG, "Tags beginning with aws: are reserved");
    for (size_t i = 0; i < at; i++)
        if (strcmp(tag_key(tags, i), key) == 0) REFUSE(c, TAG, "Duplicate tag keys");
    return OK;
}

static struct result check_count(struct kmsd_call *c, const json_t *tags) {
    if (json_array_size(tags) > TAGS_MAX) REFUSE(c, TAG, "Too many tags");
    return OK;
}

/* A copy of the given tags that holds nothing else. */
static struct result read_given(struct kmsd_call *c, json_t *tags, json_t *ret) {
    TRY(check_count(c, tags));
    for (size_t i = 0; i < json_array_size(tags); i++) {
        TRY(check_tag(c, tags, i));
        const json_t *tag = json_array_get(tags, i);
        json_array_append_new(ret, json_pack("{s:O, s:O}", "TagKey", json_object_get(tag, "TagKey"), "TagValue",
                                             json_object_get(tag, "TagValue")));
    }
    return OK;
}

static struct result to_text(const json_t *tags, char **ret) {
    BUF_AUTO(text, 1 << 17);
    TRY(json_write(tags, &text));
    *ret = buf_take_str(&text);
    return OK;
}

struct result kmsd_read_tags(struct kmsd_call *c, char **ret) {
    json_t *tags = NULL;
    JSON_AUTO(kept);
    kept = json_array();
    TRY(kmsd_opt_array(c, "Tags", &tags));
    TRY(read_given(c, tags, kept));
    return to_text(kept, ret);
}

/* --- Changes: `edit` gets the tags as they are. --- */

struct tagging {
    struct kmsd_call *call;
    json_t *given; /* tags, or keys of tags */
    struct result (*edit)(struct kmsd_call *c, json_t *tags, const json_t *given);
};

static void remove_tag(json_t *tags, const char *key) {
    for (size_t i = json_array_size(tags); i-- > 0;)
        if (strcmp(tag_key(tags, i), key) == 0) json_array_remove(tags, i);
}

static struct result put_tags(struct kmsd_call *c, json_t *tags, const json_t *given) {
    for (size_t i = 0; i < json_array_size(given); i++) {
        remove_tag(tags, tag_key(given, i));
        json_array_append(tags, json_array_get(given, i));
    }
    return check_count(c, tags);
}

static struct result remove_tags(struct kmsd_call *c, json_t *tags, const json_t *given) {
    for (size_t i = 0; i < json_array_size(given); i++)
        remove_tag(tags, json_string_value(json_array_get(given, i)));
    return OK;
}

static struct result edit_tags(const struct kmsd_key *key, struct kmsd_state *draft, void *arg) {
    const struct tagging *t = arg;
    JSON_AUTO(tags);
    TRY(kmsd_check_not_pending(t->call, key));
    TRY(json_parse(slice_str(draft->tags), &tags));
    TRY(t->edit(t->call, tags, t->given));
    mem_free(draft->tags);
    draft->tags = NULL;
    return to_text(tags, &draft->tags);
}

static struct result find(struct kmsd_call *c, struct kmsd_key **ret) {
    const char *key_id = NULL;
    TRY(kmsd_get_str(c, "KeyId", 1, KEY_ID_MAX, &key_id));
    return kmsd_find_authorized(c, key_id, 0, NULL, ret);
}

struct result kmsd_tag_resource(struct kmsd_call *c) {
    json_t *tags = NULL;
    JSON_AUTO(given);
    given = json_array();
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    TRY(kmsd_get_array(c, "Tags", &tags));
    TRY(read_given(c, tags, given));
    TRY(find(c, &k));
    struct tagging t = {c, given, put_tags};
    return kmsd_change_state(c, k, edit_tags, &t, NULL);
}

struct result kmsd_untag_resource(struct kmsd_call *c) {
    json_t *keys = NULL;
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    TRY(kmsd_get_array(c, "TagKeys", &keys));
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const char *key = json_string_value(json_array_get(keys, i));
        if (key == NULL || key[0] == '\0' || length(key) > TAG_KEY_MAX)
            REFUSE(c, VALIDATION, "A tag key has 1 to 128 characters");
        if (strncasecmp(key, "aws:", 4) == 0) REFUSE(c, TAG, "Tags beginning with aws: are reserved");
    }
    TRY(find(c, &k));
    struct tagging t = {c, keys, remove_tags};
    return kmsd_change_state(c, k, edit_tags, &t, NULL);
}

/* A marker is the key of the last tag handed out. */
struct result kmsd_list_resource_tags(struct kmsd_call *c) {
    struct kmsd_page page = {.limit = 50};
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    JSON_AUTO(tags);
    TRY(kmsd_read_page(c, 50, &page));
    TRY(find(c, &k));
    TRY(json_parse(slice_str(k->state.tags), &tags));
    size_t at = 0, count = json_array_size(tags);
    if (page.marker[0] != '\0') {
        while (at < count && strcmp(tag_key(tags, at), page.marker) != 0)
            at++;
        if (at++ == count) REFUSE(c, INVALID_MARKER, NULL);
    }
    json_t *list = json_array();
    for (; at < count && json_array_size(list) < page.limit; at++)
        json_array_append(list, json_array_get(tags, at));
    kmsd_answer_page(c, "Tags", list, at < count ? tag_key(tags, at - 1) : NULL);
    return OK;
}

static struct result edit_description(const struct kmsd_key *key, struct kmsd_state *draft, void *arg) {
    struct kmsd_call *c = arg;
    const char *description = NULL;
    TRY(kmsd_check_not_pending(c, key));
    TRY(kmsd_get_str(c, "Description", 0, DESCRIPTION_MAX, &description));
    mem_free(draft->description);
    draft->description = str_dup(description);
    return OK;
}

struct result kmsd_update_key_description(struct kmsd_call *c) {
    const char *description = NULL;
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    TRY(kmsd_get_str(c, "Description", 0, DESCRIPTION_MAX, &description));
    TRY(find(c, &k));
    return kmsd_change_state(c, k, edit_description, c, NULL);
}
