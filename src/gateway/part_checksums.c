/* Checksums of parts: each part keeps, as its note, the one it was held to; completing makes the object's out of them.
 * Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html. */
#include "gateway/part_checksums.h"

#include <string.h>

void part_checksum_note(const struct exchange *x, char ret[static STORE_NOTE_BYTES]) {
    char text[S3_CHECKSUM_TEXT_BYTES];
    s3_digest_checksum_text(&x->digest, text);
    ret[0] = '\0';
    if (text[0] == '\0') return;
    BUF_AUTO(note, STORE_NOTE_BYTES - 1);
    buf_printf(&note, "%s:%s", s3_checksum_name(x->digest.checksum.kind), text);
    if (is_ok(buf_check(&note))) mem_copy(ret, buf_str(&note), note.len + 1);
}

bool part_checksum_of_note(const char *note, enum s3_checksum_kind *ret_kind, const char **ret_text) {
    struct slice name, text;
    if (!slice_cut(slice_str(note), ':', &name, &text)) return false;
    AUTO_FREE char *kind = slice_to_str(name);
    *ret_text = note + name.len + 1;
    return s3_checksum_of_name(kind, ret_kind);
}

/* All parts that are there, by number. */
static struct result list_parts(struct exchange *x, struct store_part_list *ret) {
    return store_upload_parts(x->settings->store, s3_param(&x->request, "uploadId"), x->request.key, 0, STORE_PART_MAX,
                              ret);
}

static const struct store_part *find_part(const struct store_part_list *list, unsigned number) {
    size_t low = 0, high = list->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (list->parts[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < list->count && list->parts[low].number == number ? &list->parts[low] : NULL;
}

/* A checksum that a completion names must be the one that the part has. */
static bool check_named(struct exchange *x, const struct s3_part_ref *named, const struct store_part *part) {
    enum s3_checksum_kind kind;
    const char *text;
    if (!named->has_checksum || part == NULL) return true; /* that a part is missing is found later */
    if (part_checksum_of_note(part->note, &kind, &text) && kind == named->kind && strcmp(text, named->checksum) == 0)
        return true;
    exchange_fail(x, S3_ERR_INVALID_PART, "part %u was not uploaded with this %s", named->number,
                  s3_checksum_name(named->kind));
    return false;
}

/* None if a part has none, or another kind of it. */
static struct result join(const struct s3_part_list *named, const struct store_part_list *parts,
                          struct object_checksum *ret) {
    AUTO(s3_checksum_join_done) struct s3_checksum_join j = {0};
    for (size_t i = 0; i < named->count; i++) {
        enum s3_checksum_kind kind;
        const char *text;
        const struct store_part *part = find_part(parts, named->parts[i].number);
        if (part == NULL || !part_checksum_of_note(part->note, &kind, &text)) return OK;
        if (i == 0) TRY(s3_checksum_join_start(kind, &j));
        if (kind != j.over.kind) return OK;
        TRY(s3_checksum_join_add(&j, text, part->size));
    }
    TRY(s3_checksum_join_finish(&j, ret->text));
    ret->kind = j.over.kind;
    return OK;
}

/* x-amz-checksum-... of a completion is about the whole object. */
static bool check_whole(struct exchange *x, const struct object_checksum *made) {
    for (unsigned i = 0; i < S3_CHECKSUM_MAX; i++) {
        const char *wanted = exchange_header(x, s3_checksum_header((enum s3_checksum_kind)i));
        if (wanted == NULL) continue;
        if (made->text[0] == '\0' || made->kind != (enum s3_checksum_kind)i) {
            exchange_fail(x, S3_ERR_NOT_IMPLEMENTED, "%s for parts that were uploaded without it is not implemented",
                          s3_checksum_header((enum s3_checksum_kind)i));
            return false;
        }
        if (strcmp(wanted, made->text) == 0) continue;
        exchange_fail(x, S3_ERR_BAD_DIGEST, "The %s that was announced is not the object's.",
                      s3_checksum_name(made->kind));
        return false;
    }
    return true;
}

bool part_checksums_join(struct exchange *x, const struct s3_part_list *named, struct object_checksum *ret) {
    AUTO(store_part_list_done) struct store_part_list parts = {0};
    *ret = (struct object_checksum){0};
    struct result r = list_parts(x, &parts);
    if (r.code == ERR_NOT_FOUND) return true; /* perhaps completed already: the store knows */
    if (is_ok(r)) {
        for (size_t i = 0; i < named->count; i++)
            if (!check_named(x, &named->parts[i], find_part(&parts, named->parts[i].number))) return false;
        r = join(named, &parts, ret);
    }
    if (is_ok(r)) return check_whole(x, ret);
    exchange_fail_result(x, r, S3_ERR_NO_SUCH_UPLOAD);
    return false;
}

bool part_checksums_type(struct exchange *x, const char *algorithm) {
    const char *type = exchange_header(x, "x-amz-checksum-type");
    enum s3_checksum_kind kind;
    if (type == NULL) return true;
    if (algorithm != NULL && s3_checksum_of_name(algorithm, &kind) && strcmp(type, s3_checksum_join_type(kind)) == 0)
        return true;
    exchange_fail(
        x, S3_ERR_NOT_IMPLEMENTED,
        "the only checksum types of uploads in parts are FULL_OBJECT with CRC64NVME and COMPOSITE with others");
    return false;
}
