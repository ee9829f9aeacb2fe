#include "cli/ingest.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/splitter.h"

enum { BATCH_BYTES = 8 << 20, RETRY_DEFAULT_S = 1, PROGRESS_MS = 200 };

struct ingest {
    struct client *client;
    const struct ingest_options *options;
    struct splitter splitter;
    struct buf batch;
    uint64_t batch_documents, sent, replaced;
    uint64_t file_bytes; /* 0: not known */
    int64_t started_ns, shown_ns;
    bool is_terminal;
};

static void progress(struct ingest *g, bool last) {
    if (g->options->is_quiet) return;
    int64_t now = clock_boottime_ns();
    if (!last && now - g->shown_ns < (g->is_terminal ? PROGRESS_MS : 10 * PROGRESS_MS) * NS_PER_MS) return;
    g->shown_ns = now;
    double seconds = (double)(now - g->started_ns) / (double)NS_PER_S;
    char part[16] = "";
    if (g->file_bytes > 0 && !last) {
        snprintf(part, sizeof(part), " %3.0f %%", 100.0 * (double)g->splitter.offset / (double)g->file_bytes);
    }
    fprintf(stderr, "%s%llu documents%s, %.0f a second%s", g->is_terminal ? "\r\033[K" : "",
            (unsigned long long)g->sent, part, seconds > 0 ? (double)g->sent / seconds : 0.0,
            g->is_terminal && !last ? "" : "\n");
}

/* Which document of the batch was refused, and why; the answer holds a status for each. */
static struct result check_documents(struct ingest *g, const json_t *answer) {
    size_t i;
    json_t *status;
    json_array_foreach(json_object_get(answer, "data"), i, status) {
        const char *word = json_string_value(json_object_get(status, "status"));
        if (word && !strcmp(word, "REPLACED")) g->replaced++;
        if (!word || strcmp(word, "ERROR") != 0) continue;
        const json_t *error = json_object_get(status, "error");
        const char *why = json_string_value(json_is_object(error) ? json_object_get(error, "message") : error);
        return client_fail(str_format("%s: document %llu of the file was refused: %s", g->options->file,
                                      (unsigned long long)g->sent + i + 1, why ? why : "no reason given"));
    }
    return OK;
}

static void say_waiting(struct ingest *g, const char *why, unsigned seconds) {
    if (g->options->is_quiet) return;
    fprintf(stderr, "%swaiting %u s, then sending the batch again: %s\n", g->is_terminal ? "\r\033[K" : "", seconds,
            why);
}

/* One batch until it is taken: a write that was refused because a key or the service isn't available is not lost, it is
 * late. */
static struct result send_batch(struct ingest *g) {
    if (g->batch_documents == 0) return OK;
    buf_append_str(&g->batch, "]}");
    TRY(buf_check(&g->batch));
    int64_t give_up_ns = clock_boottime_ns() + (int64_t)g->options->max_wait_s * NS_PER_S;
    for (;;) {
        AUTO(client_answer_done) struct client_answer answer = {0};
        struct result r = client_call(g->client, "POST", g->options->docs_path, buf_slice(&g->batch), &answer);
        if (is_ok(r) && answer.status < 300) {
            TRY(check_documents(g, answer.body));
            break;
        }
        bool again = is_err(r) || answer.status == 503 || answer.status == 429;
        const char *why = is_err(r) ? err_detail() : client_error_text(&answer);
        if (!again || clock_boottime_ns() > give_up_ns) {
            return client_fail(str_format("%s: after %llu documents: %s%s", g->options->file,
                                          (unsigned long long)g->sent, why,
                                          again ? " (given up: --max-wait is over)" : ""));
        }
        unsigned seconds = answer.retry_after_s ? answer.retry_after_s : RETRY_DEFAULT_S;
        say_waiting(g, why, seconds);
        clock_sleep_ms((int64_t)seconds * 1000);
    }
    g->sent += g->batch_documents;
    g->batch_documents = 0;
    buf_clear(&g->batch);
    progress(g, false);
    return OK;
}

/* The number is padded so that ids sort in the order of the file: queries are fastest when they arrive in order. */
static struct result add_document(struct ingest *g, struct slice document) {
    if (g->batch.len + document.len + 512 > BATCH_BYTES && g->batch_documents > 0) TRY(send_batch(g));
    buf_append_str(&g->batch, g->batch_documents == 0 ? "{\"data\":[" : ",");
    if (g->options->id_prefix) {
        AUTO_FREE char *id =
            str_format("%s-%010llu", g->options->id_prefix, (unsigned long long)g->sent + g->batch_documents + 1);
        buf_append_str(&g->batch, "{\"_id\":");
        json_write_str(slice_str(id), &g->batch);
        size_t i = 1;
        while (i < document.len && strchr(" \t\r\n", document.data[i]))
            i++;
        if (document.data[i] != '}') buf_append_str(&g->batch, ",");
        buf_append(&g->batch, document.data + 1, document.len - 1);
    } else {
        buf_append_slice(&g->batch, document);
    }
    g->batch_documents++;
    return g->batch_documents >= g->options->batch ? send_batch(g) : OK;
}

static struct result send_file(struct ingest *g) {
    for (;;) {
        struct slice document;
        TRY(splitter_next(&g->splitter, &document));
        if (document.len == 0) return send_batch(g);
        TRY(add_document(g, document));
    }
}

struct result ingest_run(struct client *c, const struct ingest_options *options) {
    struct ingest g = {.client = c, .options = options, .started_ns = clock_boottime_ns(), .is_terminal = isatty(2)};
    bool is_stdin = !strcmp(options->file, "-");
    FILE *file = is_stdin ? stdin : fopen(options->file, "re");
    if (!file) return err_from_errno(errno, "%s", options->file);
    struct stat info;
    if (!is_stdin && fstat(fileno(file), &info) == 0) g.file_bytes = (uint64_t)info.st_size;
    splitter_init(&g.splitter, file);
    buf_init(&g.batch, BATCH_BYTES + (11 << 20));
    struct result r = send_file(&g);
    /* A file that holds something else is no wrong usage: all that failed here is PEER. */
    if (is_err(r) && r.code != ERR_PEER) r = client_fail(str_format("%s: %s", options->file, err_detail()));
    progress(&g, true);
    splitter_done(&g.splitter);
    buf_done(&g.batch);
    if (!is_stdin) fclose(file);
    TRY(r);
    printf("%llu document%s%s\n", (unsigned long long)g.sent, g.sent == 1 ? "" : "s",
           g.replaced ? " (some replaced earlier ones)" : "");
    return OK;
}
