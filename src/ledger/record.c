#include "ledger/record.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/crypto.h"

#define HASH_MEMBER ",\"hash\":\""
enum { HASH_HEX = LEDGER_HASH_BYTES - 1, TAIL_BYTES = sizeof HASH_MEMBER - 1 + HASH_HEX + 2 }; /* 2: `"}` */

static struct result hash_of(struct slice bytes, char ret[static LEDGER_HASH_BYTES]) {
    uint8_t digest[SHA256_BYTES];
    TRY(sha256(bytes, digest));
    BUF_AUTO(hex, LEDGER_HASH_BYTES);
    hex_encode(slice_make(digest, sizeof digest), &hex);
    TRY(buf_check(&hex));
    mem_copy(ret, buf_str(&hex), LEDGER_HASH_BYTES);
    return OK;
}

struct result ledger_record_write(struct ledger_mark *at, int64_t unix_ms, const char *region, const char *org,
                                  const char *kind, const json_t *fields, struct buf *out) {
    char time[CLOCK_ISO_BYTES];
    clock_format_iso(unix_ms, time);
    JSON_AUTO(record);
    record = json_object();
    json_object_set_new(record, "seq", json_integer((json_int_t)(at->seq + 1)));
    json_object_set_new(record, "prev", json_string(at->hash));
    json_object_set_new(record, "time", json_string(time));
    json_object_set_new(record, "region", json_string(region));
    json_object_set_new(record, "org", json_string(org));
    json_object_set_new(record, "kind", json_string(kind));
    const char *name;
    json_t *value;
    json_object_foreach(mem_unconst(fields), name, value) {
        if (!json_object_get(record, name)) json_object_set(record, name, value);
    }
    json_object_del(record, "hash");
    BUF_AUTO(line, LEDGER_LINE_BYTES);
    TRY(json_write(record, &line));
    TRY(buf_check(&line));
    line.len--; /* the brace comes after the hash */
    struct ledger_mark next = {.seq = at->seq + 1};
    TRY(hash_of(buf_slice(&line), next.hash));
    buf_printf(&line, HASH_MEMBER "%s\"}\n", next.hash);
    TRY(buf_check(&line));
    buf_append_slice(out, buf_slice(&line));
    *at = next;
    return OK;
}

void ledger_record_done(struct ledger_record *r) {
    json_decref(r->json);
    *r = (struct ledger_record){0};
}

static bool is_hash(const char *s) {
    return strlen(s) == HASH_HEX && strspn(s, "0123456789abcdef") == HASH_HEX;
}

static struct result read_members(struct ledger_record *r) {
    const char *prev, *hash;
    int64_t seq;
    TRY(json_get_int(r->json, "seq", 1, INT64_MAX, &seq));
    TRY(json_get_str(r->json, "prev", &prev));
    TRY(json_get_str(r->json, "hash", &hash));
    TRY(json_get_str(r->json, "time", &r->time));
    TRY(json_get_str(r->json, "region", &r->region));
    TRY(json_get_str(r->json, "org", &r->org));
    TRY(json_get_str(r->json, "kind", &r->kind));
    CHECK(is_hash(prev) && is_hash(hash), ERR_CORRUPT, "'prev' or 'hash' is no SHA-256");
    r->mark.seq = (uint64_t)seq;
    snprintf(r->mark.hash, sizeof r->mark.hash, "%s", hash);
    snprintf(r->prev, sizeof r->prev, "%s", prev);
    return OK;
}

struct result ledger_record_read(struct slice line, struct ledger_record *ret) {
    CHECK(line.len > TAIL_BYTES && line.len < LEDGER_LINE_BYTES, ERR_CORRUPT, "a line of %zu bytes is no record",
          line.len);
    size_t before = line.len - TAIL_BYTES;
    CHECK(slice_starts_with(slice_make(line.data + before, TAIL_BYTES), HASH_MEMBER), ERR_CORRUPT,
          "the line does not end with a hash");
    AUTO(ledger_record_done) struct ledger_record r = {0};
    struct result parsed = json_parse_object(line, &r.json);
    if (is_ok(parsed)) parsed = read_members(&r);
    if (is_err(parsed)) {
        AUTO_FREE char *why = str_dup(err_detail());
        FAIL(ERR_CORRUPT, "the line is no record: %.200s", why);
    }
    char hash[LEDGER_HASH_BYTES];
    TRY(hash_of(slice_make(line.data, before), hash));
    CHECK(strcmp(hash, r.mark.hash) == 0, ERR_CORRUPT, "record %llu was changed: its hash is %s, and it says %s",
          (unsigned long long)r.mark.seq, hash, r.mark.hash);
    *ret = r;
    r = (struct ledger_record){0};
    return OK;
}

void ledger_head_write(const struct ledger_mark *at, char ret[static LEDGER_HEAD_BYTES]) {
    char text[LEDGER_HEAD_BYTES];
    snprintf(text, sizeof text, "{\"seq\":%llu,\"hash\":\"%s\"}", (unsigned long long)at->seq, at->hash);
    char padded[LEDGER_HEAD_BYTES + 1];
    snprintf(padded, sizeof padded, "%-*s\n", LEDGER_HEAD_BYTES - 1, text);
    mem_copy(ret, padded, LEDGER_HEAD_BYTES);
}

struct result ledger_head_read(struct slice text, struct ledger_mark *ret) {
    JSON_AUTO(head);
    const char *hash = "";
    int64_t seq = 0;
    CHECK(text.len == LEDGER_HEAD_BYTES, ERR_CORRUPT, "the head is %zu bytes, not %d", text.len, LEDGER_HEAD_BYTES);
    struct result r = json_parse_object(text, &head);
    if (is_ok(r)) r = json_get_int(head, "seq", 1, INT64_MAX, &seq);
    if (is_ok(r)) r = json_get_str(head, "hash", &hash);
    CHECK(is_ok(r) && is_hash(hash), ERR_CORRUPT, "the head can't be read");
    ret->seq = (uint64_t)seq;
    snprintf(ret->hash, sizeof ret->hash, "%s", hash);
    return OK;
}
