/* Runs one driver of sources by hand, for tests. Not installed.
 *
 *     source-harness SPEC.json      {"kind","source_id","config","format"?,"integration"?}
 *
 * Obeys lines on stdin and answers each with one line of JSON:
 *
 *     check                 {"ok":true} or {"error":"INVALID","detail":"..."}, as every order may answer
 *     check_integration     the integration alone
 *     open [POSITION]       POSITION is JSON, as a batch told it
 *     next MS {"records":[{"id","document","is_deletion","origin","flaw"}...],"position","is_snapshot_end"} stored
 *     progress              {"state","total_items","done_items","lag","last_item"}
 *     still_has [POSITION]  {"has":true} or {"has":false,"why":"..."}
 *     forget [POSITION]
 *     cancel MS             sets the cancelled flag after that time; "uncancel" takes it back
 *     close
 *
 * Every answer tells in "ms" how long it took. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/secret.h"
#include "sources/driver.h"

enum { SPEC_MAX_BYTES = 1 << 20, ANSWER_MAX_BYTES = 512 << 20 };

struct harness {
    const struct source_driver *driver;
    struct source_spec spec;
    struct source_reader *reader;
    json_t *position; /* what the reader was opened with */
    _Atomic bool cancelled;
    int64_t cancel_after_ms;
};

static void die(const char *what) {
    fprintf(stderr, "source-harness: %s: %s\n", what, err_detail());
    exit(1);
}

static void begin(struct buf *out, const char *text) {
    buf_append_str(out, text);
}

static void add_text(struct buf *out, const char *name, struct slice text) {
    if (text.len == 0) return;
    buf_printf(out, "\"%s\":", name);
    json_write_str(text, out);
    buf_append_byte(out, ',');
}

static void add_position(struct buf *out, const json_t *position) {
    if (!position) return;
    buf_append_str(out, "\"position\":");
    if (is_err(json_write(position, out))) die("a position");
    buf_append_byte(out, ',');
}

static void add_batch(struct buf *out, const struct source_batch *b) {
    buf_append_str(out, "\"records\":[");
    for (size_t i = 0; i < b->count; i++) {
        const struct source_record *r = &b->records[i];
        buf_append_str(out, i ? ",{" : "{");
        add_text(out, "id", r->id);
        add_text(out, "origin", r->origin);
        add_text(out, "flaw", r->flaw);
        if (r->document.len) {
            buf_append_str(out, "\"document\":");
            buf_append_slice(out, r->document);
            buf_append_byte(out, ',');
        }
        buf_printf(out, "\"is_deletion\":%s}", r->is_deletion ? "true" : "false");
    }
    buf_append_str(out, "],");
    add_position(out, b->position);
    buf_printf(out, "\"is_snapshot_end\":%s,", b->is_snapshot_end ? "true" : "false");
}

static void *cancel_later(void *context) {
    struct harness *h = context;
    clock_sleep_ms(h->cancel_after_ms);
    atomic_store(&h->cancelled, true);
    return NULL;
}

static struct result cancel(struct harness *h, int64_t after_ms) {
    pthread_t thread;
    h->cancel_after_ms = after_ms;
    CHECK(pthread_create(&thread, NULL, cancel_later, h) == 0, ERR_IO, "a thread");
    pthread_detach(thread);
    return OK;
}

static struct result open_reader(struct harness *h, json_t *position) {
    CHECK(!h->reader, ERR_CONFLICT, "it is open");
    json_decref(h->position);
    h->position = json_incref(position);
    return h->driver->open(&h->spec, position, &h->reader);
}

static void close_reader(struct harness *h) {
    if (h->reader) h->driver->close(h->reader);
    h->reader = NULL;
}

static struct result tell_progress(struct harness *h, struct buf *out) {
    static const char *const states[] = {"INITIALIZING", "SCANNING", "WATCHING"};
    struct source_progress p = {0};
    h->driver->progress(h->reader, &p);
    buf_printf(out, "\"state\":\"%s\",\"total_items\":%lld,\"done_items\":%lld,\"lag\":%lld,", states[p.state],
               (long long)p.total_items, (long long)p.done_items, (long long)p.lag);
    add_text(out, "last_item", slice_str(p.last_item));
    if (p.partitions) {
        buf_append_str(out, "\"partitions\":");
        TRY(json_write(p.partitions, out));
        buf_append_byte(out, ',');
    }
    json_decref(p.partitions);
    return OK;
}

static struct result ask_still_has(struct harness *h, const json_t *position, struct buf *out) {
    bool has = false;
    AUTO_FREE char *why = NULL;
    TRY(h->driver->still_has(&h->spec, position, &has, &why));
    buf_printf(out, "\"has\":%s,", has ? "true" : "false");
    add_text(out, "why", slice_str(why));
    return OK;
}

static struct result next(struct harness *h, unsigned wait_ms, struct buf *out) {
    AUTO(source_batch_done) struct source_batch batch = {0};
    TRY(h->driver->next(h->reader, wait_ms, &batch));
    add_batch(out, &batch);
    return OK;
}

static struct result obey(struct harness *h, const char *word, const char *rest, struct buf *out) {
    JSON_AUTO(position);
    bool takes_position = strcmp(word, "open") == 0 || strcmp(word, "still_has") == 0 || strcmp(word, "forget") == 0;
    if (takes_position && *rest) TRY(json_parse(slice_str(rest), &position));
    int64_t number = strtoll(rest, NULL, 10);
    if (strcmp(word, "check") == 0) return h->driver->check(h->spec.config, h->spec.format, h->spec.integration);
    if (strcmp(word, "check_integration") == 0)
        return h->driver->check_integration ? h->driver->check_integration(h->spec.integration) : OK;
    if (strcmp(word, "open") == 0) return open_reader(h, position);
    if (strcmp(word, "still_has") == 0) return ask_still_has(h, position, out);
    if (strcmp(word, "forget") == 0) return h->driver->forget ? h->driver->forget(&h->spec, position) : OK;
    if (strcmp(word, "cancel") == 0) return cancel(h, number);
    if (strcmp(word, "uncancel") == 0) {
        atomic_store(&h->cancelled, false);
        return OK;
    }
    CHECK(h->reader, ERR_CONFLICT, "it is not open");
    if (strcmp(word, "next") == 0) return next(h, (unsigned)number, out);
    if (strcmp(word, "stored") == 0) return h->driver->stored(h->reader);
    if (strcmp(word, "progress") == 0) return tell_progress(h, out);
    CHECK(strcmp(word, "close") == 0, ERR_INVALID, "an unknown order");
    close_reader(h);
    return OK;
}

static void answer(struct harness *h, char *line) {
    BUF_AUTO(out, ANSWER_MAX_BYTES);
    line[strcspn(line, "\n")] = '\0';
    char *rest = strchr(line, ' ');
    if (rest) *rest++ = '\0';
    int64_t begun = clock_boottime_ns();
    begin(&out, "{");
    struct result r = obey(h, line, rest ? rest : "", &out);
    if (is_err(r)) {
        buf_clear(&out);
        buf_printf(&out, "{\"error\":\"%s\",", err_name(r.code));
        add_text(&out, "detail", slice_str(err_detail()));
    }
    buf_printf(&out, "\"ok\":%s,\"ms\":%lld}", is_ok(r) ? "true" : "false",
               (long long)((clock_boottime_ns() - begun) / NS_PER_MS));
    if (is_err(buf_check(&out))) die("an answer");
    fwrite(out.data, 1, out.len, stdout);
    fputc('\n', stdout);
    fflush(stdout);
}

int main(int argc, char **argv) {
    struct harness h = {.spec = {.region = "us-west-2"}};
    JSON_AUTO(spec);
    BUF_AUTO(text, SPEC_MAX_BYTES);
    const char *kind = NULL;
    signal(SIGPIPE, SIG_IGN);
    log_start("source-harness", LOG_WARN);
    if (argc != 2) die("usage: source-harness SPEC.json");
    if (is_err(secret_start(1 << 20, true))) die("secret memory");
    if (is_err(file_read(argv[1], SPEC_MAX_BYTES, &text))) die("the specification");
    if (is_err(json_parse_object(buf_slice(&text), &spec))) die("the specification");
    if (is_err(json_get_str(spec, "kind", &kind))) die("the kind");
    if (is_err(json_get_str(spec, "source_id", &h.spec.source_id))) die("the source's id");
    h.driver = source_driver_find(kind);
    if (!h.driver) die("no such kind");
    h.spec.config = json_object_get(spec, "config");
    h.spec.format = json_object_get(spec, "format");
    h.spec.integration = json_object_get(spec, "integration");
    h.spec.cancelled = &h.cancelled;
    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, stdin) >= 0)
        answer(&h, line);
    free(line);
    close_reader(&h);
    json_decref(h.position);
    return 0;
}
