/* `lockset drill`: takes an organization's key away, or has it taken away, and measures what happens. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "aws/kms_switch.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "cli/commands.h"
#include "cli/drill.h"

enum {
    STEP_MS = 100,
    READY_MS = 90000,
    GRACE_MS = 15000, /* how much longer than the bound is watched */
    HOLD_MS = 2000,   /* after everything ended: does it stay so? */
    DOCUMENTS = 100,
    CLOCK_ROUNDS = 7,
    BOUND_S = 60,
    WAIT_S = 900,
    OPTION_MAX_S = 86400,
    COLLECTIONS_MAX = 1000,
    MOMENTS_STEPS = 3, /* the node is asked every third step */
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number) {
    interrupted = 1;
}

struct drill {
    const struct args *args;
    const char *org, *region;
    struct client operator, client;
    json_t *about; /* the organization's region, as it was found */
    const char *key_arn;
    struct kms_client_options kms; /* profile NULL: people switch the key */
    bool is_key_taken;             /* by us */
    bool has_collection, is_tty;
    uint64_t bound_s, return_bound_s, wait_s;
    int64_t offset_ns, offset_error_ns;
    json_t *away, *returned, *collections;
    int64_t asked_ns, taken_ns, back_ns, documents_after, started_unix_ms;
    struct drill_load load;
};

static void drill_done(struct drill *d) {
    drill_load_stop(&d->load);
    pthread_mutex_destroy(&d->load.lock);
    client_done(&d->operator);
    client_done(&d->client);
    json_decref(d->about);
    json_decref(d->away);
    json_decref(d->returned);
    json_decref(d->collections);
}

/* ---- what is shown while it runs ---- */

static void say(struct drill *d, const char *text) {
    if (d->is_tty) fprintf(stderr, "\r\033[K");
    double s = d->taken_ns ? (double)(clock_boottime_ns() - d->taken_ns) / 1e9 : 0;
    if (d->taken_ns)
        fprintf(stderr, "%+8.2f s  %s\n", s, text);
    else
        fprintf(stderr, "%s\n", text);
}

static void show_progress(struct drill *d, const char *phase) {
    if (!d->is_tty) return;
    struct drill_work q = drill_load_look(&d->load, DRILL_QUERY), w = drill_load_look(&d->load, DRILL_WRITE);
    double s = d->taken_ns ? (double)(clock_boottime_ns() - d->taken_ns) / 1e9 : 0;
    fprintf(stderr, "\r\033[K%+8.2f s  %s: %llu queries and %llu writes answered", s, phase, (unsigned long long)q.done,
            (unsigned long long)w.done);
}

/* ---- the node's moments, by our clock ---- */

static struct result ask_moments(struct drill *d, struct client_answer *answer) {
    AUTO_FREE char *path = str_format("/v1/admin/orgs/%s/regions/%s/moments", d->org, d->region);
    return client_expect(&d->operator, "GET", path, (struct slice){0}, answer);
}

/* The quickest of some questions tells best. */
static struct result measure_clock(struct drill *d) {
    d->offset_error_ns = INT64_MAX;
    for (int i = 0; i < CLOCK_ROUNDS; i++) {
        AUTO(client_answer_done) struct client_answer answer = {0};
        int64_t sent = clock_boottime_ns(), theirs;
        TRY(ask_moments(d, &answer));
        int64_t got = clock_boottime_ns();
        const json_t *data = json_object_get(answer.body, "data");
        TRY(json_get_int(data, "now", 0, INT64_MAX, &theirs));
        /* What is published is the node's to say. */
        int64_t published_ms;
        TRY(json_get_int(data, "denied_bound_ms", 1, INT64_MAX, &published_ms));
        if (!args_has(d->args, "--bound")) d->bound_s = (uint64_t)(published_ms + 999) / 1000;
        if ((got - sent) / 2 >= d->offset_error_ns) continue;
        d->offset_error_ns = (got - sent) / 2;
        d->offset_ns = theirs - (sent + (got - sent) / 2);
    }
    return OK;
}

static struct result read_moments(struct drill *d, json_t **place) {
    AUTO(client_answer_done) struct client_answer answer = {0};
    TRY(ask_moments(d, &answer));
    json_t *moments = json_object_get(answer.body, "data"), *fresh = json_object(), *value;
    const char *name;
    json_object_foreach(moments, name, value) {
        bool is_time = json_is_integer(value);
        json_object_set_new(fresh, name,
                            is_time ? json_integer(json_integer_value(value) - d->offset_ns) : json_null());
    }
    json_decref(*place);
    *place = fresh;
    return OK;
}

static int64_t moment(const json_t *moments, const char *name) {
    return json_integer_value(json_object_get(moments, name));
}

/* ---- before ---- */

static struct result look_at_org(struct drill *d) {
    AUTO(client_answer_done) struct client_answer org = {0};
    AUTO(client_answer_done) struct client_answer region = {0};
    AUTO(client_answer_done) struct client_answer self = {0};
    AUTO_FREE char *path = str_format("/v1/admin/orgs/%s", d->org);
    TRY(client_expect(&d->operator, "GET", path, (struct slice){0}, &org));
    const char *kind, *state, *reason = "", *id, *own_id;
    const json_t *data = json_object_get(org.body, "data");
    TRY(json_get_str(data, "kind", &kind));
    TRY(json_get_str(data, "id", &id));
    CHECK(strcmp(kind, "customer") == 0, ERR_CONFLICT,
          "'%.60s' has no customer's key: there is nothing that could be taken away", d->org);
    AUTO_FREE char *region_path = str_format("/v1/admin/orgs/%s/regions/%s", d->org, d->region);
    TRY(client_expect(&d->operator, "GET", region_path, (struct slice){0}, &region));
    d->about = json_incref(json_object_get(region.body, "data"));
    TRY(json_get_str(d->about, "state", &state));
    TRY(json_get_str(d->about, "kms_key_arn", &d->key_arn));
    if (json_is_string(json_object_get(d->about, "reason"))) TRY(json_opt_str(d->about, "reason", &reason));
    CHECK(strcmp(state, "AVAILABLE") == 0, ERR_CONFLICT, "'%.60s' is %s in %s, not AVAILABLE: %.300s", d->org, state,
          d->region, reason);
    TRY(client_expect(&d->client, "GET", "/v1/orgs/self", (struct slice){0}, &self));
    TRY(json_get_str(json_object_get(self.body, "data"), "id", &own_id));
    CHECK(strcmp(id, own_id) == 0, ERR_INVALID, "the API key is another organization's, not '%.60s''s", d->org);
    return OK;
}

/* With a profile the key is put back as it was found; so it must be found enabled. */
static struct result look_at_key(struct drill *d) {
    if (!d->kms.credentials.profile) return OK;
    AUTO(kms_client_free_auto) struct kms_client *c = NULL;
    TRY(kms_client_new(&d->kms, &c));
    struct kms_request request = {.operation = KMS_DESCRIBE_KEY, .key_id = d->key_arn};
    KMS_ANSWER_AUTO(answer);
    TRY(kms_client_call(c, &request, NULL, &answer));
    CHECK(answer.error == KMS_OK, ERR_PEER, "profile %.40s can't describe the key: %s %.200s",
          d->kms.credentials.profile, answer.code, answer.message);
    CHECK(answer.key.is_enabled, ERR_CONFLICT, "the key's state is %s, not Enabled", answer.key.state);
    return OK;
}

/* member: "before" or "after". What can't be counted (a collection just deleted, say) is null. */
static struct result count_collections(struct drill *d, const char *member) {
    AUTO(client_answer_done) struct client_answer answer = {0};
    if (!d->collections) {
        TRY(client_expect(&d->client, "GET", "/v1/orgs/self/collections", (struct slice){0}, &answer));
        d->collections = json_array();
        const json_t *list = json_object_get(answer.body, "data");
        for (size_t i = 0; i < json_array_size(list) && i < COLLECTIONS_MAX; i++) {
            const char *workspace, *name;
            TRY(json_get_str(json_array_get(list, i), "workspace", &workspace));
            TRY(json_get_str(json_array_get(list, i), "name", &name));
            json_array_append_new(d->collections, json_pack("{s:s, s:s}", "workspace", workspace, "name", name));
        }
    }
    for (size_t i = 0; i < json_array_size(d->collections); i++) {
        json_t *c = json_array_get(d->collections, i);
        int64_t n = 0;
        struct result r = drill_count(&d->client, json_string_value(json_object_get(c, "workspace")),
                                      json_string_value(json_object_get(c, "name")), &n);
        json_object_set_new(c, member, is_ok(r) ? json_integer(n) : json_null());
    }
    return OK;
}

static void print_plan(struct drill *d) {
    fprintf(stderr, "Organization %s in %s, under %s.\n", d->org, d->region, d->key_arn);
    fprintf(stderr, "While the key is away, this stops for the whole organization in this region:\n"
                    "  its queries (403) and writes (503, to be sent again); running queries and downloads are cut;\n"
                    "  its engine and its gateway, with their keys and the cache's; its sources, positions kept.\n");
    for (size_t i = 0; i < json_array_size(d->collections); i++) {
        const json_t *c = json_array_get(d->collections, i);
        fprintf(stderr, "  collection %s.%s: %lld documents (only counted, never written)\n",
                json_string_value(json_object_get(c, "workspace")), json_string_value(json_object_get(c, "name")),
                (long long)json_integer_value(json_object_get(c, "before")));
    }
    fprintf(stderr, "Bounds: stopped within %llu s of the key's end, back within %llu s of its return.\n",
            (unsigned long long)d->bound_s, (unsigned long long)d->return_bound_s);
    if (d->kms.credentials.profile)
        fprintf(stderr, "The key is disabled and enabled by this program, as profile %s.\n",
                d->kms.credentials.profile);
    else
        fprintf(stderr, "The customer disables and enables the key, when asked.\n");
}

static struct result confirm(struct drill *d) {
    if (args_has(d->args, "--yes")) return OK;
    char line[16] = "";
    fprintf(stderr, "Go on? [y/N] ");
    bool is_yes = fgets(line, sizeof line, stdin) && (line[0] == 'y' || line[0] == 'Y');
    CHECK(is_yes, ERR_CANCELLED, "nothing was done");
    return OK;
}

/* ---- the drill's own collection ---- */

static struct result make_collection(struct drill *d) {
    uint8_t bytes[4];
    TRY(random_bytes(bytes, sizeof bytes));
    BUF_AUTO(hex, 16);
    hex_encode(slice_make(bytes, sizeof bytes), &hex);
    snprintf(d->load.collection, sizeof d->load.collection, "lockset_drill_%s", buf_str(&hex));
    AUTO_FREE char *body = str_format("{\"name\":\"%s\"}", d->load.collection);
    AUTO(client_answer_done) struct client_answer made = {0};
    AUTO(client_answer_done) struct client_answer filled = {0};
    d->has_collection = true; /* also when its answer is lost */
    TRY(client_expect(&d->client, "POST", "/v1/orgs/self/ws/commons/collections", slice_str(body), &made));
    BUF_AUTO(documents, 1 << 16);
    buf_append_str(&documents, "{\"data\":[");
    for (int i = 0; i < DOCUMENTS; i++)
        buf_printf(&documents, "%s{\"_id\":\"d%d\",\"v\":%d}", i ? "," : "", i, i);
    buf_append_str(&documents, "]}");
    AUTO_FREE char *path = str_format("/v1/orgs/self/ws/commons/collections/%s/docs", d->load.collection);
    TRY(client_expect(&d->client, "POST", path, buf_slice(&documents), &filled));
    d->load.acknowledged = DOCUMENTS;
    return OK;
}

static void remove_collection(struct drill *d, int64_t patience_ms) {
    if (!d->has_collection) return;
    AUTO_FREE char *path = str_format("/v1/orgs/self/ws/commons/collections/%s", d->load.collection);
    int64_t until = clock_boottime_ns() + patience_ms * NS_PER_MS;
    do {
        AUTO(client_answer_done) struct client_answer answer = {0};
        struct result r = client_call(&d->client, "DELETE", path, (struct slice){0}, &answer);
        if (is_ok(r) && (answer.status == 200 || answer.status == 404)) {
            d->has_collection = false;
            return;
        }
        clock_sleep_ms(STEP_MS);
    } while (clock_boottime_ns() < until);
    fprintf(stderr, "lockset drill: the collection commons.%s could not be deleted; delete it when the key is back\n",
            d->load.collection);
}

/* ---- waiting ---- */

static bool is_busy(struct drill *d) {
    for (int k = 0; k < DRILL_KINDS; k++) {
        struct drill_work w = drill_load_look(&d->load, (enum drill_kind)k);
        bool is_long = k == DRILL_LONG, is_download = k == DRILL_DOWNLOAD;
        if (is_long && (!w.begun_ns || clock_boottime_ns() - w.begun_ns < NS_PER_S)) return false;
        if (is_download && (!w.begun_ns || w.last_good_ns < w.begun_ns)) return false;
        if (!is_long && !is_download && w.done < 3) return false;
    }
    return true;
}

static struct result wait_busy(struct drill *d) {
    int64_t until = clock_boottime_ns() + READY_MS * NS_PER_MS;
    while (!is_busy(d)) {
        CHECK(!interrupted, ERR_CANCELLED, "interrupted");
        CHECK(clock_boottime_ns() < until, ERR_TIMEOUT,
              "the organization did not answer queries, writes, a long query and a download within %d s",
              READY_MS / 1000);
        show_progress(d, "starting");
        clock_sleep_ms(STEP_MS);
    }
    return OK;
}

static bool has_stopped(struct drill *d) {
    static const char *const names[] = {"lease_ended", "processes_killed", "engine_gone", "gateway_gone"};
    for (int k = 0; k < DRILL_KINDS; k++)
        if (!drill_load_look(&d->load, (enum drill_kind)k).first_refused_ns) return false;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (moment(d->away, names[i]) < d->taken_ns) return false;
    return true;
}

static bool has_resumed(struct drill *d) {
    return drill_load_look(&d->load, DRILL_QUERY).first_back_ns && drill_load_look(&d->load, DRILL_WRITE).first_back_ns;
}

/* Until `is_over`, or for so long. Nothing that the node doesn't answer ends it. */
static struct result watch(struct drill *d, bool (*is_over)(struct drill *), int64_t patience_ms, const char *phase,
                           json_t **moments) {
    int64_t until = clock_boottime_ns() + patience_ms * NS_PER_MS;
    for (int n = 0; clock_boottime_ns() < until; n++) {
        CHECK(!interrupted, ERR_CANCELLED, "interrupted");
        if (n % MOMENTS_STEPS == 0) result_ignore(read_moments(d, moments));
        if (is_over && is_over(d)) break;
        show_progress(d, phase);
        clock_sleep_ms(STEP_MS);
    }
    return read_moments(d, moments);
}

/* ---- the key ---- */

static bool is_refused_now(struct drill *d) {
    return moment(d->away, "kms_refused") > d->asked_ns;
}

static struct result take_key(struct drill *d) {
    if (d->kms.credentials.profile) {
        d->taken_ns = clock_boottime_ns();
        drill_load_take(&d->load, d->taken_ns);
        d->is_key_taken = true; /* also when its answer is lost */
        struct result r = kms_switch_key(&d->kms, d->key_arn, false);
        if (r.code == ERR_PEER) d->is_key_taken = false; /* KMS said no */
        TRY(r);
        say(d, "the key was disabled");
        return OK;
    }
    fprintf(stderr, "\nNow disable the key, for instance with\n\n    aws kms disable-key --region %s --key-id %s\n\n",
            d->region, d->key_arn);
    say(d, "waiting for KMS's first refusal");
    /* Whoever disables it is not this program: what is known is when KMS first refused. */
    d->asked_ns = clock_boottime_ns();
    drill_load_take(&d->load, d->asked_ns);
    TRY(watch(d, is_refused_now, (int64_t)d->wait_s * 1000, "waiting for KMS to refuse", &d->away));
    CHECK(is_refused_now(d), ERR_TIMEOUT, "KMS did not refuse the key within %llu s", (unsigned long long)d->wait_s);
    d->taken_ns = moment(d->away, "kms_refused");
    drill_load_take(&d->load, d->taken_ns);
    say(d, "KMS refuses");
    return OK;
}

static struct result give_key_back(struct drill *d) {
    struct result r = OK;
    for (int i = 0; i < 5; i++) {
        r = kms_switch_key(&d->kms, d->key_arn, true);
        if (is_ok(r)) {
            d->is_key_taken = false;
            return OK;
        }
        clock_sleep_ms(1000);
    }
    AUTO_FREE char *why = str_dup(err_detail());
    FAIL(ERR_CONFLICT, "THE KEY IS STILL DISABLED, enable it: aws kms enable-key --region %s --key-id %s (%.300s)",
         d->region, d->key_arn, why);
}

static bool is_granted(struct drill *d) {
    return moment(d->returned, "lease_granted") > d->taken_ns;
}

static struct result return_key(struct drill *d) {
    if (d->kms.credentials.profile) {
        d->back_ns = clock_boottime_ns();
        drill_load_back(&d->load, d->back_ns);
        TRY(give_key_back(d));
        say(d, "the key was enabled");
        return OK;
    }
    fprintf(stderr, "\nNow enable the key again:\n\n    aws kms enable-key --region %s --key-id %s\n\n", d->region,
            d->key_arn);
    say(d, "waiting for the key's return");
    TRY(watch(d, is_granted, (int64_t)d->wait_s * 1000, "waiting for the key's return", &d->returned));
    CHECK(is_granted(d), ERR_TIMEOUT, "the key did not come back within %llu s", (unsigned long long)d->wait_s);
    d->back_ns = moment(d->returned, "lease_granted");
    drill_load_back(&d->load, d->back_ns);
    return OK;
}

/* ---- the whole ---- */

static struct result run_live(struct drill *d) {
    TRY(make_collection(d));
    TRY(drill_load_start(&d->load));
    say(d, "queries, writes, a long query and a download are under way");
    TRY(wait_busy(d));
    TRY(take_key(d));
    TRY(watch(d, has_stopped, (int64_t)d->bound_s * 1000 + GRACE_MS, "the key is away", &d->away));
    say(d, has_stopped(d) ? "everything has stopped" : "NOT everything has stopped");
    TRY(watch(d, NULL, HOLD_MS, "does it stay stopped?", &d->away));
    TRY(return_key(d));
    TRY(watch(d, has_resumed, (int64_t)d->return_bound_s * 1000 + GRACE_MS, "the key is back", &d->returned));
    say(d, has_resumed(d) ? "queries and writes are answered again" : "it did NOT come back in time");
    drill_load_stop(&d->load);
    d->documents_after = -1;
    if (is_err(drill_count(&d->client, "commons", d->load.collection, &d->documents_after))) d->documents_after = -1;
    return count_collections(d, "after");
}

/* Puts everything back, whatever happened. */
static struct result clean_up(struct drill *d) {
    drill_load_stop(&d->load);
    struct result r = d->is_key_taken ? give_key_back(d) : OK;
    AUTO_FREE char *why = str_dup(err_detail());
    bool may_come_back = is_ok(r) && (d->kms.credentials.profile || !d->taken_ns || d->back_ns);
    remove_collection(d, may_come_back ? READY_MS : 0);
    if (is_err(r)) FAIL(r.code, "%s", why);
    return OK;
}

static struct result report(struct drill *d) {
    struct drill_findings f = {
        .org = d->org,
        .region = d->region,
        .key_arn = d->key_arn,
        .actor = d->kms.credentials.profile ? "this program" : "the customer",
        .started_unix_ms = d->started_unix_ms,
        .taken_ns = d->taken_ns,
        .back_ns = d->back_ns,
        .bound_ms = (int64_t)d->bound_s * 1000,
        .return_bound_ms = (int64_t)d->return_bound_s * 1000,
        .clock_offset_ns = d->offset_ns,
        .clock_error_ns = d->offset_error_ns,
        .away = d->away,
        .returned = d->returned,
        .load = &d->load,
        .documents_after = d->documents_after,
        .collections = d->collections,
    };
    JSON_AUTO(j);
    j = drill_judge(&f);
    bool passed = json_is_true(json_object_get(j, "passed"));
    AUTO_FREE char *own = str_format("drill-%s-%s-%lld.md", d->org, d->region, (long long)(d->started_unix_ms / 1000));
    const char *file = args_has(d->args, "--report") ? args_get(d->args, "--report") : own;
    char sha256[65];
    TRY(drill_write_report(j, file, sha256));
    AUTO_FREE char *path = str_format("/v1/admin/orgs/%s/regions/%s/drills", d->org, d->region);
    AUTO_FREE char *body = str_format("{\"report_sha256\":\"%s\",\"passed\":%s}", sha256, passed ? "true" : "false");
    AUTO(client_answer_done) struct client_answer answer = {0};
    TRY(client_expect(&d->operator, "POST", path, slice_str(body), &answer));
    if (args_has(d->args, "--json"))
        client_print_json(j);
    else
        printf("%s: %s\nSHA-256, also in the organization's ledger: %s\n", passed ? "PASSED" : "FAILED", file, sha256);
    CHECK(passed, ERR_CONFLICT, "the drill failed; %s says where", file);
    return OK;
}

static struct result read_options(struct drill *d) {
    const struct args *a = d->args;
    d->bound_s = d->return_bound_s = BOUND_S;
    d->wait_s = WAIT_S;
    TRY(client_number(a, "--bound", OPTION_MAX_S, &d->bound_s));
    TRY(client_number(a, "--return-bound", OPTION_MAX_S, &d->return_bound_s));
    TRY(client_number(a, "--wait", OPTION_MAX_S, &d->wait_s));
    const char *given = args_get(a, "--report");
    size_t n = given ? strlen(given) : 0;
    CHECK(!given || (n > 3 && strcmp(given + n - 3, ".md") == 0), ERR_INVALID,
          "--report names a file that ends in .md");
    CHECK(!args_has(a, "--endpoint") || args_has(a, "--profile"), ERR_INVALID, "--endpoint needs --profile");
    for (const char *p = d->org; *p; p++)
        CHECK((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') || *p == '-', ERR_INVALID,
              "'%.60s' is no name of an organization", d->org);
    return OK;
}

/* Where the client of the chosen region is, and which that region is. */
static struct result connect(struct drill *d) {
    const char *region = args_get(d->args, "--region");
    struct result r = client_init_in(&d->operator, d->args, CLIENT_OPERATOR, region);
    if (is_ok(r)) r = client_init_in(&d->client, d->args, CLIENT_ORGANIZATION, region);
    TRY(r);
    AUTO(client_answer_done) struct client_answer self = {0};
    TRY(client_expect(&d->client, "GET", "/v1/orgs/self", (struct slice){0}, &self));
    const char *served;
    const json_t *clusters = json_object_get(json_object_get(self.body, "data"), "clusters");
    TRY(json_get_str(json_array_get(clusters, 0), "aws_region", &served));
    CHECK(!region || strcmp(region, served) == 0, ERR_INVALID, "%s serves the region %s, not %.60s", d->client.url,
          served, region);
    d->about = NULL;
    d->region = d->kms.region = str_dup(served); /* for as long as the process lives */
    d->kms.endpoint = args_get(d->args, "--endpoint");
    d->kms.credentials.profile = args_get(d->args, "--profile");
    d->kms.pool = d->client.pool;
    return OK;
}

static struct result run_drill(const struct args *a) {
    AUTO(drill_done)
    struct drill d = {.args = a,
                      .org = a->positional[0],
                      .is_tty = isatty(STDERR_FILENO),
                      .started_unix_ms = clock_unix_ms(),
                      .load = {.lock = PTHREAD_MUTEX_INITIALIZER}};
    d.load.client = &d.client;
    TRY(read_options(&d));
    TRY(connect(&d));
    TRY(look_at_org(&d));
    TRY(look_at_key(&d));
    TRY(measure_clock(&d));
    TRY(count_collections(&d, "before"));
    print_plan(&d);
    if (args_has(a, "--dry-run")) return OK;
    TRY(confirm(&d));
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    struct result r = run_live(&d);
    AUTO_FREE char *why = str_dup(err_detail());
    TRY(clean_up(&d));
    if (is_err(r))
        FAIL(r.code == ERR_INVALID || r.code == ERR_PEER ? ERR_CONFLICT : r.code,
             "%s; what was changed is as it was found", why);
    return report(&d);
}

const struct command drill_commands[] = {
    {"drill", "ORG",
     "Measures the kill switch on a live organization and writes a report. The organization does not work meanwhile; "
     "it is left as it was found. Needs the operator's token and a key of the organization. Exit code 1: it failed.",
     (const struct args_option[]){
         {"--region", "REGION", "the region", "the first"},
         {"--report", "FILE", "the report, FILE.md, with .json and .svg beside it", "./drill-ORG-REGION-TIME.md"},
         {"--profile", "NAME", "disable and enable the key as this AWS profile; else people are asked to", NULL},
         {"--endpoint", "URL", "with --profile: KMS's address", "AWS's"},
         {"--bound", "SECONDS", "everything must have stopped so long after the key's end",
          "the node's key.denied_bound"},
         {"--return-bound", "SECONDS", "queries and writes must be back so long after its return", "60"},
         {"--wait", "SECONDS", "how long people may take", "900"},
         {"--dry-run", NULL, "only say what would stop", NULL},
         {"--yes", NULL, "don't ask", NULL},
         {NULL, NULL, NULL, NULL}},
     false, run_drill},
    {NULL, NULL, NULL, NULL, false, NULL},
};
