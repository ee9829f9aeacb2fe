/* `lockset drill`: what its parts share. drill.c leads through it, drill_load.c keeps an organization busy and notes
 * when what happened, drill_report.c judges and writes. All times are nanoseconds of this host's CLOCK_BOOTTIME. */
#ifndef LOCKSET_CLI_DRILL_H
#define LOCKSET_CLI_DRILL_H

#include <pthread.h>

#include "cli/client.h"

enum { DRILL_NAME_BYTES = 64, DRILL_TEXT_BYTES = 200 };

/* What one kind of work saw. 0: not (yet). */
struct drill_work {
    int64_t begun_ns;         /* of the present request */
    uint64_t done;            /* successful ones */
    int64_t last_good_ns;     /* last success (download: last byte) before the first refusal */
    int64_t first_refused_ns; /* first failure after the key was taken away (download, long query: its cut) */
    int64_t first_back_ns;    /* first success of a request sent after the key came back */
    uint64_t stray;           /* successes of requests sent after the first refusal, before the key was back */
    uint64_t early_failures;  /* before the key was taken away */
    int status;               /* HTTP, of the first refusal; 0: the connection was broken off */
    char text[DRILL_TEXT_BYTES];
};

enum drill_kind { DRILL_QUERY, DRILL_WRITE, DRILL_LONG, DRILL_DOWNLOAD, DRILL_KINDS };

struct drill_load {
    struct client *client; /* with the organization's key */
    char collection[DRILL_NAME_BYTES];
    pthread_mutex_t lock; /* everything below, but what is marked atomic */
    struct drill_work works[DRILL_KINDS];
    uint64_t acknowledged, unknown; /* documents: written for sure; perhaps (no answer came) */
    uint64_t download_bytes;
    int64_t taken_ns, back_ns; /* 0: not yet */
    bool stopping;             /* atomic */
    pthread_t threads[DRILL_KINDS];
    size_t thread_count;
};

/* Starts all four; the collection must exist and hold some documents. */
struct result drill_load_start(struct drill_load *l);
void drill_load_stop(struct drill_load *l); /* waits for them; may be called again */
void drill_load_take(struct drill_load *l, int64_t at_ns);
void drill_load_back(struct drill_load *l, int64_t at_ns);
/* A copy of one kind's notes. */
struct drill_work drill_load_look(struct drill_load *l, enum drill_kind kind);

/* One query's number in row 0, column "n". */
struct result drill_count(struct client *c, const char *workspace, const char *collection, int64_t *ret);

/* Everything that a report tells. */
struct drill_findings {
    const char *org, *region, *key_arn, *actor;
    int64_t started_unix_ms, taken_ns, back_ns, bound_ms, return_bound_ms;
    int64_t clock_offset_ns, clock_error_ns; /* the node's clock minus ours, and how sure that is */
    const json_t *away;                      /* the node's moments while the key was away, by our clock */
    const json_t *returned;                  /* the same after its return */
    const struct drill_load *load;
    int64_t documents_after;   /* in the drill's own collection; -1: could not be counted */
    const json_t *collections; /* [{"collection","before","after"}] */
};

/* Judges; the caller drops *ret: the report as JSON, with "passed". */
json_t *drill_judge(const struct drill_findings *f);
/* Writes FILE (Markdown) and, beside it, .json and .svg; sha256: of FILE, in hexadecimal digits. */
struct result drill_write_report(const json_t *report, const char *file, char sha256[static 65]);

#endif
