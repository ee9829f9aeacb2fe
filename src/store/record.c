#include "store/record.h"

#include <string.h>

void record_init(struct record *r) {
    *r = (struct record){.type = RECORD_OBJECT};
    buf_init_wiping(&r->content, RECORD_INLINE_MAX_BYTES);
}

void record_done(struct record *r) {
    store_info_done(&r->info);
    mem_free(r->parts);
    mem_free(r->segments);
    buf_done(&r->content);
    r->parts = NULL;
    r->segments = NULL;
    r->part_count = r->segment_count = 0;
}

/* The texts of fields were made by this file; the struct shows them as const to everybody else. */
static void text_free(const char *text) {
    union {
        const char *shown;
        char *owned;
    } u = {.shown = text};
    mem_free(u.owned);
}

static void fields_free(struct store_info *info) {
    for (size_t i = 0; i < info->field_count; i++) {
        text_free(info->fields[i].name);
        text_free(info->fields[i].value);
    }
    mem_free(info->fields);
    info->fields = NULL;
    info->field_count = 0;
}

void store_info_done(struct store_info *info) {
    fields_free(info);
    mem_free(info->key);
    *info = (struct store_info){0};
}

const char *store_info_field(const struct store_info *info, const char *name) {
    for (size_t i = 0; i < info->field_count; i++)
        if (strcmp(info->fields[i].name, name) == 0) return info->fields[i].value;
    return NULL;
}

struct result record_set_fields(struct record *r, const struct store_field *fields, size_t count) {
    CHECK(count <= STORE_FIELDS_MAX, ERR_INVALID, "more than %d metadata fields", STORE_FIELDS_MAX);
    size_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += strlen(fields[i].name) + strlen(fields[i].value);
    CHECK(total <= STORE_FIELDS_MAX_BYTES, ERR_INVALID, "more than %d bytes of metadata", STORE_FIELDS_MAX_BYTES);
    struct store_field *copy = mem_alloc_array(count, sizeof *copy);
    for (size_t i = 0; i < count; i++)
        copy[i] = (struct store_field){str_dup(fields[i].name), str_dup(fields[i].value)};
    fields_free(&r->info);
    r->info.fields = copy;
    r->info.field_count = count;
    return OK;
}

static void put_text(struct buf *out, const char *text) {
    size_t len = strlen(text);
    put_u16(out, (uint16_t)len); /* keys and fields are bounded far below 65,536 */
    buf_append(out, text, len);
}

struct result record_write(const struct record *r, struct buf *out) {
    buf_append_byte(out, (uint8_t)r->type);
    put_u64(out, r->sequence);
    put_u64(out, r->info.size);
    put_u64(out, (uint64_t)r->info.mtime_ms);
    buf_append(out, r->info.etag.bytes, sizeof r->info.etag.bytes);
    put_u16(out, (uint16_t)r->info.etag.parts);
    put_text(out, r->info.key);
    put_u16(out, (uint16_t)r->info.field_count);
    for (size_t i = 0; i < r->info.field_count; i++) {
        put_text(out, r->info.fields[i].name);
        put_text(out, r->info.fields[i].value);
    }
    put_u16(out, (uint16_t)r->part_count);
    for (size_t i = 0; i < r->part_count; i++) {
        put_u16(out, r->parts[i].number);
        put_u32(out, r->parts[i].segments);
    }
    put_u32(out, (uint32_t)r->segment_count);
    for (size_t i = 0; i < r->segment_count; i++) {
        buf_append(out, r->segments[i].body_id, sizeof r->segments[i].body_id);
        put_u64(out, r->segments[i].size);
    }
    put_u32(out, (uint32_t)r->content.len);
    buf_append_slice(out, buf_slice(&r->content));
    return buf_check(out);
}

static bool take_text(struct slice *at, char **ret) {
    uint16_t len;
    struct slice text;
    struct slice before = *at;
    if (!take_u16(at, &len) || !take_bytes(at, len, &text) || slice_has_nul(text)) {
        *at = before;
        return false;
    }
    *ret = slice_to_str(text);
    return true;
}

static bool take_fields(struct slice *at, struct store_info *info) {
    uint16_t count;
    if (!take_u16(at, &count) || count > STORE_FIELDS_MAX) return false;
    info->fields = mem_alloc_array(count, sizeof *info->fields);
    for (size_t i = 0; i < count; i++) {
        char *name = NULL, *value = NULL;
        if (!take_text(at, &name) || !take_text(at, &value)) {
            mem_free(name);
            return false;
        }
        info->fields[i] = (struct store_field){name, value};
        info->field_count++;
    }
    return true;
}

static bool take_parts(struct slice *at, struct record *r) {
    uint16_t count;
    if (!take_u16(at, &count) || count > STORE_PART_MAX) return false;
    r->parts = mem_alloc_array(count, sizeof *r->parts);
    r->part_count = count;
    uint16_t last = 0;
    for (size_t i = 0; i < count; i++) {
        if (!take_u16(at, &r->parts[i].number) || !take_u32(at, &r->parts[i].segments)) return false;
        if (r->parts[i].number <= last || r->parts[i].number > STORE_PART_MAX) return false;
        last = r->parts[i].number;
    }
    return true;
}

static bool take_segments(struct slice *at, struct record *r) {
    uint32_t count;
    if (!take_u32(at, &count) || count > RECORD_SEGMENTS_MAX) return false;
    if (at->len / (RECORD_BODY_ID_BYTES + 8) < count) return false;
    r->segments = mem_alloc_array(count, sizeof *r->segments);
    r->segment_count = count;
    for (size_t i = 0; i < count; i++) {
        struct slice id;
        if (!take_bytes(at, RECORD_BODY_ID_BYTES, &id) || !take_u64(at, &r->segments[i].size)) return false;
        mem_copy(r->segments[i].body_id, id.data, id.len);
    }
    return true;
}

static bool take_content(struct slice *at, struct record *r) {
    uint32_t len;
    struct slice content;
    if (!take_u32(at, &len) || len > RECORD_INLINE_MAX_BYTES || !take_bytes(at, len, &content)) return false;
    buf_append_slice(&r->content, content);
    return is_ok(buf_check(&r->content));
}

/* Do the parts cover the segments, and segments or content the size? */
static bool adds_up(const struct record *r) {
    uint64_t total = r->content.len, segments = 0;
    for (size_t i = 0; i < r->segment_count; i++)
        if (r->segments[i].size == 0 || r->segments[i].size > (1ULL << 48) ||
            __builtin_add_overflow(total, r->segments[i].size, &total))
            return false;
    for (size_t i = 0; i < r->part_count; i++)
        segments += r->parts[i].segments;
    if (r->part_count > 0 && segments != r->segment_count) return false;
    if (r->segment_count > 0 && r->content.len > 0) return false;
    return r->type == RECORD_UPLOAD ? total == 0 && r->info.size == 0 : total == r->info.size;
}

struct result record_parse(struct slice bytes, struct record *ret) {
    struct slice at = bytes, etag;
    uint8_t type;
    uint16_t etag_parts;
    uint64_t mtime_ms;
    bool ok = take_u8(&at, &type) && type >= RECORD_OBJECT && type <= RECORD_PART && take_u64(&at, &ret->sequence) &&
              take_u64(&at, &ret->info.size) && take_u64(&at, &mtime_ms) &&
              take_bytes(&at, sizeof ret->info.etag.bytes, &etag) && take_u16(&at, &etag_parts) &&
              take_text(&at, &ret->info.key);
    CHECK(ok, ERR_CORRUPT, "a record of another shape");
    ret->type = type;
    ret->info.mtime_ms = (int64_t)mtime_ms;
    ret->info.etag.parts = etag_parts;
    mem_copy(ret->info.etag.bytes, etag.data, etag.len);
    ok = take_fields(&at, &ret->info) && take_parts(&at, ret) && take_segments(&at, ret) && take_content(&at, ret);
    CHECK(ok && at.len == 0 && adds_up(ret), ERR_CORRUPT, "a record of another shape");
    return OK;
}
