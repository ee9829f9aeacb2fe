/* What a drill found, judged and written: JSON, Markdown, and a timeline as a picture. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/file.h"
#include "cli/drill.h"

enum { REPORT_MAX_BYTES = 4 << 20 };

/* ---- judging ---- */

static const struct {
    const char *name, *title;
    bool is_back, is_needed;
} rows[] = {
    {"kms_refused", "KMS refused for the first time", false, true},
    {"lease_ended", "lease ended", false, true},
    {"keys_wiped", "keys zeroized in the keyring", false, true},
    {"api_refuses", "API gives nothing out any more", false, false},
    {"processes_killed", "engine killed, gateway ordered to wipe", false, true},
    {"gateway_wiped", "gateway's report: its and the cache's keys destroyed", false, false},
    {"gateway_gone", "gateway gone", false, true},
    {"engine_gone", "engine gone", false, true},
    {"last_row", "last query answered", false, false},
    {"first_refusal", "first query refused", false, true},
    {"last_write", "last write acknowledged", false, false},
    {"first_write_refusal", "first write refused", false, true},
    {"long_query_cut", "running query cut", false, true},
    {"last_byte", "last byte of the open download", false, false},
    {"download_cut", "open download cut", false, true},
    {"lease_granted", "lease granted again", true, true},
    {"engine_ready", "new engine ready", true, true},
    {"first_query", "first query answered again", true, true},
    {"first_write", "first write acknowledged again", true, true},
};

/* By our clock; 0: it was not seen. */
static int64_t when(const struct drill_findings *f, size_t i) {
    const struct drill_work *w = f->load->works;
    const struct {
        const char *name;
        int64_t at;
    } seen[] = {
        {"last_row", w[DRILL_QUERY].last_good_ns},
        {"first_refusal", w[DRILL_QUERY].first_refused_ns},
        {"last_write", w[DRILL_WRITE].last_good_ns},
        {"first_write_refusal", w[DRILL_WRITE].first_refused_ns},
        {"long_query_cut", w[DRILL_LONG].first_refused_ns},
        {"last_byte", w[DRILL_DOWNLOAD].last_good_ns},
        {"download_cut", w[DRILL_DOWNLOAD].first_refused_ns},
        {"first_query", w[DRILL_QUERY].first_back_ns},
        {"first_write", w[DRILL_WRITE].first_back_ns},
    };
    for (size_t k = 0; k < ARRAY_LEN(seen); k++)
        if (strcmp(seen[k].name, rows[i].name) == 0) return seen[k].at;
    const json_t *moments = rows[i].is_back ? f->returned : f->away;
    int64_t at = json_integer_value(json_object_get(moments, rows[i].name));
    return at >= f->taken_ns - 2 * f->clock_error_ns ? at : 0;
}

static void check(json_t *report, const char *name, bool ok, char *detail) {
    json_array_append_new(json_object_get(report, "checks"),
                          json_pack("{s:s, s:b, s:s}", "check", name, "ok", ok, "detail", detail));
    if (!ok) json_object_set_new(report, "passed", json_false());
    mem_free(detail);
}

static void judge_moments(json_t *report, const struct drill_findings *f) {
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        bool is_back = rows[i].is_back;
        int64_t at = when(f, i), from = is_back ? f->back_ns : f->taken_ns;
        int64_t bound = is_back ? f->return_bound_ms : f->bound_ms;
        double after_ms = (double)(at - from) / 1e6;
        json_t *m = json_pack("{s:s, s:s, s:s}", "moment", rows[i].name, "title", rows[i].title, "after_the_keys",
                              is_back ? "return" : "end");
        json_object_set_new(m, "after_ms", at ? json_real((double)(int64_t)(after_ms * 1000) / 1000) : json_null());
        json_object_set_new(m, "boottime_ns", at ? json_integer(at) : json_null());
        json_array_append_new(json_object_get(report, "moments"), m);
        if (!at && !rows[i].is_needed) continue;
        bool ok = at && at - from <= bound * NS_PER_MS;
        check(report, rows[i].title, ok,
              at ? str_format("%.3f s after the key's %s; the bound is %.0f s", after_ms / 1000,
                              is_back ? "return" : "end", (double)bound / 1000)
                 : str_dup("it was not seen"));
    }
}

static void judge_work(json_t *report, const struct drill_findings *f) {
    static const char *const names[] = {"queries", "writes", "long query", "download"};
    const struct drill_load *l = f->load;
    for (int k = 0; k < DRILL_KINDS; k++) {
        const struct drill_work *w = &l->works[k];
        json_object_set_new(json_object_get(report, "work"), names[k],
                            json_pack("{s:I, s:I, s:I, s:i, s:s}", "answered", (json_int_t)w->done,
                                      "answered_while_away", (json_int_t)w->stray, "failed_before",
                                      (json_int_t)w->early_failures, "refused_with_status", w->status,
                                      "refused_with_text", w->text));
        AUTO_FREE char *name = str_format("no %s after the first refusal", names[k]);
        check(report, name, w->stray == 0,
              str_format("%llu were answered while the key was away", (unsigned long long)w->stray));
    }
    int64_t got = f->documents_after, low = (int64_t)l->acknowledged, high = low + (int64_t)l->unknown;
    check(report, "every acknowledged document is there", got >= low && got <= high,
          str_format("%lld counted after the key's return; %lld had been acknowledged, %lld were perhaps written",
                     (long long)got, (long long)low, (long long)l->unknown));
    size_t fewer = 0, uncounted = 0;
    for (size_t i = 0; i < json_array_size(f->collections); i++) {
        const json_t *c = json_array_get(f->collections, i), *before = json_object_get(c, "before"),
                     *after = json_object_get(c, "after");
        if (!json_is_integer(before) || !json_is_integer(after))
            uncounted++;
        else if (json_integer_value(after) < json_integer_value(before))
            fewer++;
    }
    check(report, "the organization's collections have no fewer documents", fewer == 0,
          str_format("%zu collections, %zu with fewer than before, %zu that could not be counted",
                     json_array_size(f->collections), fewer, uncounted));
}

json_t *drill_judge(const struct drill_findings *f) {
    char started[CLOCK_ISO_BYTES];
    clock_format_iso(f->started_unix_ms, started);
    json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:b}", "organization", f->org, "region", f->region, "key",
                          f->key_arn, "started", started, "key_switched_by", f->actor, "passed", 1);
    json_object_set_new(j, "clock",
                        json_pack("{s:s, s:I, s:I}", "name", "CLOCK_BOOTTIME of the drill's host", "node_offset_ns",
                                  (json_int_t)f->clock_offset_ns, "offset_error_ns", (json_int_t)f->clock_error_ns));
    json_object_set_new(
        j, "bounds_ms",
        json_pack("{s:I, s:I}", "stopped", (json_int_t)f->bound_ms, "back", (json_int_t)f->return_bound_ms));
    json_object_set_new(j, "key_end_boottime_ns", json_integer(f->taken_ns));
    json_object_set_new(j, "key_return_boottime_ns", json_integer(f->back_ns));
    json_object_set_new(j, "moments", json_array());
    json_object_set_new(j, "work", json_object());
    json_object_set_new(j, "download_bytes", json_integer((json_int_t)f->load->download_bytes));
    json_object_set(j, "collections", mem_unconst(f->collections));
    json_object_set_new(j, "checks", json_array());
    judge_moments(j, f);
    judge_work(j, f);
    return j;
}

/* ---- the picture: two bands, one for the key's end, one for its return ---- */

enum { WIDTH = 960, LEFT = 390, RIGHT = 880, ROW = 24, TOP = 60 };

static const char *text_of(const json_t *object, const char *name) {
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

static void put_escaped(struct buf *out, const char *text) {
    for (; *text; text++) {
        if (*text == '<' || *text == '>' || *text == '&' || *text == '"')
            buf_printf(out, "&#%d;", *text);
        else
            buf_append_byte(out, (uint8_t)*text);
    }
}

static double longest(const json_t *moments, const char *which) {
    double most = 1;
    for (size_t i = 0; i < json_array_size(moments); i++) {
        const json_t *m = json_array_get(moments, i);
        double ms = json_number_value(json_object_get(m, "after_ms"));
        if (strcmp(text_of(m, "after_the_keys"), which) == 0 && ms > most) most = ms;
    }
    return most;
}

/* Returns where it ended. */
static int draw_band(struct buf *out, const json_t *moments, const char *which, int y) {
    double most = longest(moments, which);
    buf_printf(out, "<text x=\"20\" y=\"%d\" font-weight=\"bold\">After the key's %s</text>\n", y, which);
    int top = y + 10;
    y += ROW;
    for (size_t i = 0; i < json_array_size(moments); i++) {
        const json_t *m = json_array_get(moments, i), *after = json_object_get(m, "after_ms");
        if (strcmp(text_of(m, "after_the_keys"), which) != 0) continue;
        buf_printf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">", LEFT - 12, y + 4);
        put_escaped(out, text_of(m, "title"));
        buf_append_str(out, "</text>\n");
        if (json_is_null(after)) {
            buf_printf(out, "<text x=\"%d\" y=\"%d\" fill=\"#a33\">not seen</text>\n", LEFT + 8, y + 4);
        } else {
            double ms = json_number_value(after), x = LEFT + (RIGHT - LEFT) * (ms < 0 ? 0 : ms) / most;
            buf_printf(out,
                       "<line x1=\"%d\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\" stroke=\"#9bb\"/>"
                       "<circle cx=\"%.1f\" cy=\"%d\" r=\"4\" fill=\"#236\"/>"
                       "<text x=\"%.1f\" y=\"%d\">%.3f s</text>\n",
                       LEFT, y, x, y, x, y, x + 8, y + 4, ms / 1000);
        }
        y += ROW;
    }
    buf_printf(out, "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\" stroke=\"#666\"/>\n", LEFT, top, LEFT, y - ROW / 2);
    return y + ROW;
}

static void draw(const json_t *report, struct buf *out) {
    const json_t *moments = json_object_get(report, "moments");
    int height = TOP + ROW * (int)(json_array_size(moments) + 5);
    buf_printf(out,
               "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
               "font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n"
               "<text x=\"20\" y=\"30\" font-size=\"18\">Drill of ",
               WIDTH, height, WIDTH, height, WIDTH, height);
    put_escaped(out, text_of(report, "organization"));
    buf_append_str(out, " in ");
    put_escaped(out, text_of(report, "region"));
    buf_printf(out, ", %.19s: %s</text>\n", text_of(report, "started"),
               json_is_true(json_object_get(report, "passed")) ? "passed" : "FAILED");
    int y = draw_band(out, moments, "end", TOP);
    draw_band(out, moments, "return", y);
    buf_append_str(out, "</svg>\n");
}

/* ---- the text ---- */

static void put_moments(const json_t *report, const char *which, struct buf *out) {
    const json_t *moments = json_object_get(report, "moments");
    buf_printf(out, "\n| after the key's %s | seconds |\n|---|---:|\n", which);
    for (size_t i = 0; i < json_array_size(moments); i++) {
        const json_t *m = json_array_get(moments, i), *after = json_object_get(m, "after_ms");
        if (strcmp(text_of(m, "after_the_keys"), which) != 0) continue;
        buf_printf(out, "| %s | ", text_of(m, "title"));
        if (json_is_null(after))
            buf_append_str(out, "not seen |\n");
        else
            buf_printf(out, "%.3f |\n", json_number_value(after) / 1000);
    }
}

/* Text of the API in a table's cell. */
static void put_cell(struct buf *out, const char *text) {
    for (; *text; text++)
        buf_append_byte(out, *text == '|' || *text == '\n' ? ' ' : (uint8_t)*text);
}

static void write_text(const json_t *report, const char *picture, const char *json_hash, const char *picture_hash,
                       struct buf *out) {
    bool passed = json_is_true(json_object_get(report, "passed"));
    const json_t *clock = json_object_get(report, "clock");
    buf_printf(out, "# Drill of the kill switch: %s\n\n", passed ? "passed" : "FAILED");
    buf_printf(out,
               "- organization: %s, region %s\n- key: `%s`\n- begun: %s\n- the key was disabled and enabled by: %s\n",
               text_of(report, "organization"), text_of(report, "region"), text_of(report, "key"),
               text_of(report, "started"), text_of(report, "key_switched_by"));
    buf_printf(out, "- clock: %s; the node's was %.3f ms ahead, known to +-%.3f ms\n", text_of(clock, "name"),
               (double)json_integer_value(json_object_get(clock, "node_offset_ns")) / 1e6,
               (double)json_integer_value(json_object_get(clock, "offset_error_ns")) / 1e6);
    buf_printf(out, "\n![timeline](%s)\n", picture);
    put_moments(report, "end", out);
    put_moments(report, "return", out);
    buf_append_str(out, "\n| check | | |\n|---|---|---|\n");
    const json_t *checks = json_object_get(report, "checks");
    for (size_t i = 0; i < json_array_size(checks); i++) {
        const json_t *c = json_array_get(checks, i);
        buf_printf(out, "| %s | %s | ", text_of(c, "check"),
                   json_is_true(json_object_get(c, "ok")) ? "ok" : "**FAILED**");
        put_cell(out, text_of(c, "detail"));
        buf_append_str(out, " |\n");
    }
    buf_append_str(out, "\nWhat a client was told: ");
    const json_t *query = json_object_get(json_object_get(report, "work"), "queries");
    buf_printf(out, "%d, `", (int)json_integer_value(json_object_get(query, "refused_with_status")));
    put_cell(out, text_of(query, "refused_with_text"));
    buf_append_str(out, "`\n\n| collection | documents before | after |\n|---|---:|---:|\n");
    const json_t *collections = json_object_get(report, "collections");
    for (size_t i = 0; i < json_array_size(collections); i++) {
        const json_t *c = json_array_get(collections, i),
                     *n[] = {json_object_get(c, "before"), json_object_get(c, "after")};
        buf_printf(out, "| %s.%s |", text_of(c, "workspace"), text_of(c, "name"));
        for (size_t k = 0; k < ARRAY_LEN(n); k++)
            json_is_integer(n[k]) ? buf_printf(out, " %lld |", (long long)json_integer_value(n[k]))
                                  : buf_append_str(out, " ? |");
        buf_append_str(out, "\n");
    }
    buf_printf(out, "\nSHA-256 of the report as JSON: %s\nSHA-256 of the picture: %s\n", json_hash, picture_hash);
}

static struct result hash_of(const struct buf *b, char ret[static 65]) {
    uint8_t hash[SHA256_BYTES];
    TRY(sha256(buf_slice(b), hash));
    BUF_AUTO(hex, 2 * SHA256_BYTES);
    hex_encode(slice_make(hash, sizeof hash), &hex);
    snprintf(ret, 65, "%s", buf_str(&hex));
    return OK;
}

struct result drill_write_report(const json_t *report, const char *file, char sha256_hex[static 65]) {
    AUTO_FREE char *base = str_ndup(file, strlen(file) - strlen(".md"));
    AUTO_FREE char *json_file = str_format("%s.json", base);
    AUTO_FREE char *picture_file = str_format("%s.svg", base);
    const char *slash = strrchr(picture_file, '/'), *picture = slash ? slash + 1 : picture_file;
    char json_hash[65], picture_hash[65];
    BUF_AUTO(text, REPORT_MAX_BYTES);
    BUF_AUTO(drawing, REPORT_MAX_BYTES);
    BUF_AUTO(json, REPORT_MAX_BYTES);
    TRY(json_write(report, &json));
    buf_append_byte(&json, '\n');
    draw(report, &drawing);
    TRY(buf_check(&json));
    TRY(buf_check(&drawing));
    TRY(hash_of(&json, json_hash));
    TRY(hash_of(&drawing, picture_hash));
    write_text(report, picture, json_hash, picture_hash, &text);
    TRY(buf_check(&text));
    TRY(file_write_atomic(json_file, buf_slice(&json), 0644));
    TRY(file_write_atomic(picture_file, buf_slice(&drawing), 0644));
    TRY(file_write_atomic(file, buf_slice(&text), 0644));
    return hash_of(&text, sha256_hex);
}
