#include "kms/fault.h"

#include <pthread.h>
#include <string.h>

#include "base/json.h"
#include "kms/refusal.h"

enum { FAULTS_MAX = 1000, DELAY_MAX_MS = 3600 * 1000, CALLS_MAX = 1000000000 };

struct kmsd_faults {
    pthread_mutex_t mutex;
    struct kmsd_fault *items;
    size_t count;
    int64_t last_id;
};

void kmsd_fault_done(struct kmsd_fault *f) {
    mem_free(f->operation);
    mem_free(f->key_id);
    mem_free(f->error);
    mem_free(f->message);
    *f = (struct kmsd_fault){0};
}

struct kmsd_faults *kmsd_faults_new(void) {
    struct kmsd_faults *f = mem_alloc(sizeof *f);
    pthread_mutex_init(&f->mutex, NULL);
    return f;
}

struct kmsd_faults *kmsd_faults_free(struct kmsd_faults *f) {
    if (f == NULL) return NULL;
    for (size_t i = 0; i < f->count; i++)
        kmsd_fault_done(&f->items[i]);
    mem_free(f->items);
    pthread_mutex_destroy(&f->mutex);
    mem_free(f);
    return NULL;
}

/* --- Commands. --- */

static const char *const kinds[] = {"delay", "error", "hang", "drop"};
static const char throttled[] =
    "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.";

static bool is_name(const char *text) {
    size_t letters = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.#");
    return letters > 0 && letters <= 128 && text[letters] == '\0';
}

static int status_of(const char *error) {
    for (int e = KMSD_OK + 1; e < KMSD_ERROR_MAX; e++)
        if (strcmp(kmsd_error_name((enum kmsd_error)e), error) == 0) return kmsd_error_status((enum kmsd_error)e);
    return strcmp(error, "KeyUnavailableException") == 0 ? 500 : 400;
}

static struct result read_kind(const json_t *j, struct kmsd_fault *into) {
    const char *kind = NULL, *error = NULL, *message = NULL;
    int64_t status = 0;
    TRY(json_get_str(j, "fault", &kind));
    TRY(json_opt_str(j, "error", &error));
    TRY(json_opt_str(j, "message", &message));
    TRY(json_opt_int(j, "ms", 0, DELAY_MAX_MS, &into->delay_ms));
    TRY(json_opt_int(j, "status", 400, 599, &status));
    if (strcmp(kind, "throttle") == 0) {
        kind = "error";
        error = "ThrottlingException";
        message = throttled;
    }
    size_t which = 0;
    while (which < ARRAY_LEN(kinds) && strcmp(kinds[which], kind) != 0)
        which++;
    CHECK(which < ARRAY_LEN(kinds), ERR_INVALID, "'fault' must be delay, throttle, error, hang or drop");
    into->kind = (enum kmsd_fault_kind)which;
    CHECK(into->kind != KMSD_FAULT_ERROR || (error != NULL && is_name(error)), ERR_INVALID,
          "'error' must be the name of an error of KMS");
    CHECK(into->kind != KMSD_FAULT_DELAY || into->delay_ms > 0, ERR_INVALID, "'ms' is missing");
    into->error = str_dup(error);
    into->message = str_dup(message);
    into->status = status != 0 ? (int)status : error != NULL ? status_of(error) : 0;
    return OK;
}

static struct result set(struct kmsd_faults *f, const json_t *j, json_t *answer) {
    static const char *const known[] = {"do",     "fault", "ms",        "error", "message",
                                        "status", "key",   "operation", "calls", NULL};
    AUTO(kmsd_fault_done) struct kmsd_fault fault = {.calls_left = -1};
    const char *operation = NULL, *key = NULL;
    TRY(json_only(j, known));
    TRY(read_kind(j, &fault));
    TRY(json_opt_str(j, "operation", &operation));
    TRY(json_opt_str(j, "key", &key));
    TRY(json_opt_int(j, "calls", 1, CALLS_MAX, &fault.calls_left));
    const char *id = key != NULL ? strrchr(key, '/') : NULL;
    fault.operation = str_dup(operation);
    fault.key_id = str_dup(id != NULL ? id + 1 : key);
    CHECK(f->count < FAULTS_MAX, ERR_INVALID, "there are %d faults already: clear some", FAULTS_MAX);
    fault.id = ++f->last_id;
    json_object_set_new(answer, "id", json_integer(fault.id));
    f->items = mem_resize(f->items, (f->count + 1) * sizeof *f->items);
    f->items[f->count++] = fault;
    fault = (struct kmsd_fault){0};
    return OK;
}

static struct result clear(struct kmsd_faults *f, const json_t *j, json_t *answer) {
    static const char *const known[] = {"do", "id", NULL};
    int64_t id = 0;
    size_t kept = 0, before = f->count;
    TRY(json_only(j, known));
    TRY(json_opt_int(j, "id", 1, INT64_MAX, &id));
    for (size_t i = 0; i < before; i++)
        if (id == 0 || f->items[i].id == id)
            kmsd_fault_done(&f->items[i]);
        else
            f->items[kept++] = f->items[i];
    f->count = kept;
    json_object_set_new(answer, "cleared", json_integer((json_int_t)(before - kept)));
    return OK;
}

static struct result list(struct kmsd_faults *f, const json_t *j, json_t *answer) {
    static const char *const known[] = {"do", NULL};
    TRY(json_only(j, known));
    json_t *all = json_array();
    for (size_t i = 0; i < f->count; i++) {
        const struct kmsd_fault *one = &f->items[i];
        json_t *o = json_pack("{s:I, s:s, s:I, s:I}", "id", (json_int_t)one->id, "fault", kinds[one->kind], "hits",
                              (json_int_t)one->hits, "calls_left", (json_int_t)one->calls_left);
        if (one->operation != NULL) json_object_set_new(o, "operation", json_string(one->operation));
        if (one->key_id != NULL) json_object_set_new(o, "key", json_string(one->key_id));
        if (one->error != NULL) json_object_set_new(o, "error", json_string(one->error));
        json_array_append_new(all, o);
    }
    json_object_set_new(answer, "faults", all);
    return OK;
}

static struct result run(struct kmsd_faults *f, struct slice line, json_t *answer) {
    JSON_AUTO(j);
    const char *what = NULL;
    TRY(json_parse_object(line, &j));
    TRY(json_get_str(j, "do", &what));
    if (strcmp(what, "set") == 0) return set(f, j, answer);
    if (strcmp(what, "clear") == 0) return clear(f, j, answer);
    CHECK(strcmp(what, "list") == 0, ERR_INVALID, "'do' must be set, clear or list");
    return list(f, j, answer);
}

void kmsd_faults_command(struct kmsd_faults *f, struct slice line, struct buf *answer) {
    JSON_AUTO(j);
    j = json_pack("{s:b}", "ok", 1);
    pthread_mutex_lock(&f->mutex);
    struct result r = run(f, line, j);
    pthread_mutex_unlock(&f->mutex);
    if (is_ok(r)) r = json_write(j, answer);
    if (is_ok(r)) return;
    AUTO_FREE char *why = str_dup(err_detail());
    buf_clear(answer);
    buf_append_str(answer, "{\"ok\":false,\"error\":");
    json_write_str(slice_str(why), answer);
    buf_append_byte(answer, '}');
}

/* --- Calls. --- */

bool kmsd_faults_take(struct kmsd_faults *f, const char *operation, const char *key_id, struct kmsd_fault *ret) {
    bool found = false;
    pthread_mutex_lock(&f->mutex);
    for (size_t i = 0; i < f->count && !found; i++) {
        struct kmsd_fault *one = &f->items[i];
        if (one->calls_left == 0 || (one->operation != NULL && strcmp(one->operation, operation) != 0) ||
            (one->key_id != NULL && strcmp(one->key_id, key_id) != 0))
            continue;
        if (one->calls_left > 0) one->calls_left--;
        one->hits++;
        *ret = *one;
        ret->operation = str_dup(one->operation);
        ret->key_id = str_dup(one->key_id);
        ret->error = str_dup(one->error);
        ret->message = str_dup(one->message);
        found = true;
    }
    pthread_mutex_unlock(&f->mutex);
    return found;
}

bool kmsd_faults_has(struct kmsd_faults *f, int64_t id) {
    bool found = false;
    pthread_mutex_lock(&f->mutex);
    for (size_t i = 0; i < f->count; i++)
        found = found || f->items[i].id == id;
    pthread_mutex_unlock(&f->mutex);
    return found;
}
