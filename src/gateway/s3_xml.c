#include "gateway/s3_xml.h"

#include <stdio.h>
#include <string.h>

#include "base/xml.h"

static bool malformed(struct s3_refusal *refusal, const char *what) {
    s3_refuse(refusal, S3_ERR_MALFORMED_XML, "%s", what);
    return false;
}

void s3_part_list_done(struct s3_part_list *l) {
    mem_free(l->parts);
    *l = (struct s3_part_list){0};
}

void s3_delete_list_done(struct s3_delete_list *l) {
    for (size_t i = 0; i < l->count; i++)
        mem_free(l->keys[i]);
    mem_free(l->keys);
    *l = (struct s3_delete_list){0};
}

static size_t count_children(const struct xml_node *node, const char *name) {
    size_t n = 0;
    for (const struct xml_node *c = node->first_child; c != NULL; c = c->next)
        if (strcmp(c->name, name) == 0) n++;
    return n;
}

static struct slice without_quotes(struct slice s) {
    if (s.len >= 2 && s.data[0] == '"' && s.data[s.len - 1] == '"') return slice_make(s.data + 1, s.len - 2);
    return s;
}

static bool read_part(const struct xml_node *node, struct s3_part_ref *ret, struct s3_refusal *refusal) {
    const struct xml_node *number = xml_child(node, "PartNumber"), *etag = xml_child(node, "ETag");
    if (number == NULL || etag == NULL) return malformed(refusal, "a Part needs a PartNumber and an ETag");
    uint64_t n = 0;
    if (is_err(slice_to_u64(slice_str(number->text), S3_PARTS_MAX, &n)) || n == 0) {
        s3_refuse(refusal, S3_ERR_INVALID_ARGUMENT, "a PartNumber must be from 1 to %d", S3_PARTS_MAX);
        return false;
    }
    struct slice tag = without_quotes(slice_str(etag->text));
    if (tag.len == 0 || tag.len >= S3_ETAG_BYTES) {
        s3_refuse(refusal, S3_ERR_INVALID_PART, "the ETag of part %llu is not one that was given out",
                  (unsigned long long)n);
        return false;
    }
    ret->number = (unsigned)n;
    mem_copy(ret->etag, tag.data, tag.len);
    ret->etag[tag.len] = '\0';
    return true;
}

/* ChecksumCRC32 and so on: at most one. */
static bool read_part_checksum(const struct xml_node *node, struct s3_part_ref *ret, struct s3_refusal *refusal) {
    for (unsigned i = 0; i < S3_CHECKSUM_MAX; i++) {
        const struct xml_node *value = xml_child(node, s3_checksum_element((enum s3_checksum_kind)i));
        if (value == NULL) continue;
        size_t len = strlen(value->text);
        if (ret->has_checksum) return malformed(refusal, "a Part with two checksums");
        if (len >= sizeof ret->checksum) return malformed(refusal, "a Part's checksum is too long");
        ret->has_checksum = true;
        ret->kind = (enum s3_checksum_kind)i;
        mem_copy(ret->checksum, value->text, len + 1);
    }
    return true;
}

bool s3_complete_parse(struct slice body, struct s3_part_list *ret, struct s3_refusal *refusal) {
    AUTO(xml_free_auto) struct xml_node *root = NULL;
    if (is_err(xml_parse(body, &root))) return malformed(refusal, err_detail());
    size_t count = count_children(root, "Part");
    if (strcmp(root->name, "CompleteMultipartUpload") != 0 || count == 0)
        return malformed(refusal, "a CompleteMultipartUpload with at least one Part is needed");
    if (count > S3_PARTS_MAX) return malformed(refusal, "more than 10,000 parts");
    AUTO(s3_part_list_done) struct s3_part_list list = {mem_alloc_array(count, sizeof *list.parts), 0};
    for (const struct xml_node *c = root->first_child; c != NULL; c = c->next) {
        if (strcmp(c->name, "Part") != 0) continue;
        struct s3_part_ref *part = &list.parts[list.count];
        if (!read_part(c, part, refusal) || !read_part_checksum(c, part, refusal)) return false;
        if (list.count > 0 && part[-1].number >= part->number) {
            s3_refuse(refusal, S3_ERR_INVALID_PART_ORDER, "part %u stands behind part %u", part->number,
                      part[-1].number);
            return false;
        }
        list.count++;
    }
    *ret = list;
    list = (struct s3_part_list){0};
    return true;
}

bool s3_delete_parse(struct slice body, struct s3_delete_list *ret, struct s3_refusal *refusal) {
    AUTO(xml_free_auto) struct xml_node *root = NULL;
    if (is_err(xml_parse(body, &root))) return malformed(refusal, err_detail());
    size_t count = count_children(root, "Object");
    if (strcmp(root->name, "Delete") != 0 || count == 0)
        return malformed(refusal, "a Delete with at least one Object is needed");
    if (count > S3_DELETE_MAX) return malformed(refusal, "more than 1,000 objects");
    AUTO(s3_delete_list_done) struct s3_delete_list list = {mem_alloc_array(count, sizeof *list.keys), 0, false};
    for (const struct xml_node *c = root->first_child; c != NULL; c = c->next) {
        if (strcmp(c->name, "Quiet") == 0) list.quiet = strcmp(c->text, "true") == 0;
        if (strcmp(c->name, "Object") != 0) continue;
        const struct xml_node *key = xml_child(c, "Key"), *version = xml_child(c, "VersionId");
        if (key == NULL) return malformed(refusal, "an Object needs a Key");
        if (version != NULL && !s3_version_check(version->text, refusal)) return false;
        if (!s3_key_check(slice_str(key->text), refusal)) return false;
        list.keys[list.count++] = str_dup(key->text);
    }
    *ret = list;
    list = (struct s3_delete_list){0};
    return true;
}

bool s3_create_bucket_parse(struct slice body, char **ret_location, struct s3_refusal *refusal) {
    if (body.len == 0) {
        *ret_location = str_dup("");
        return true;
    }
    AUTO(xml_free_auto) struct xml_node *root = NULL;
    if (is_err(xml_parse(body, &root))) return malformed(refusal, err_detail());
    if (strcmp(root->name, "CreateBucketConfiguration") != 0)
        return malformed(refusal, "a CreateBucketConfiguration is needed");
    const struct xml_node *location = xml_child(root, "LocationConstraint");
    *ret_location = str_dup(location == NULL ? "" : location->text);
    return true;
}
