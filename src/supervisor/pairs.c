#include "supervisor/pairs.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/http_server.h"
#include "base/ipc.h"
#include "base/log.h"
#include "supervisor/child.h"

static void close_auto(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}
static void close_two(int (*fds)[2]) {
    close_auto(&(*fds)[0]);
    close_auto(&(*fds)[1]);
}
#define CHANNEL_AUTO(name) AUTO(close_two) int name[2] = {-1, -1}

static struct pair *find(const struct pairs *p, const char *org, const char *region) {
    for (struct pair *i = p->first; i; i = i->next) {
        if (!strcmp(i->org, org) && !strcmp(i->region, region)) return i;
    }
    return NULL;
}

static struct pair *find_or_add(struct pairs *p, const char *org, const char *region) {
    struct pair *found = find(p, org, region);
    if (found) return found;
    struct pair *added = mem_alloc(sizeof(*added));
    *added = (struct pair){.org = str_dup(org), .region = str_dup(region), .gateway_channel = -1, .next = p->first};
    p->first = added;
    return added;
}

/* What a gateway that is gone had cached is noise: its keys went with it. Give the disk its space back. */
static void remove_cache(const struct pairs *p, const struct pair *gone) {
    AUTO_FREE char *folder = str_format("%s/cache/%s/%s", p->config->data, gone->region, gone->org);
    struct result r = file_remove_tree(folder);
    if (is_err(r) && r.code != ERR_NOT_FOUND) log_warn("cache.left", KV("folder", folder), KV("detail", err_detail()));
}

/* Its processes are gone. */
static void forget(struct pairs *p, struct pair *gone) {
    remove_cache(p, gone);
    for (struct pair **i = &p->first; *i; i = &(*i)->next) {
        if (*i != gone) continue;
        *i = gone->next;
        close_auto(&gone->gateway_channel);
        mem_free(gone->org);
        mem_free(gone->region);
        mem_free(gone);
        return;
    }
}

static void kill_pair(struct pair *pair) {
    /* The engine first: without it nothing asks the gateway for plaintext. */
    child_kill(pair->engine, NULL);
    child_kill(pair->gateway, NULL);
    pair->engine = pair->gateway = 0;
    close_auto(&pair->gateway_channel);
}

static char *engine_socket_path(const struct pairs *p, const struct pair *pair) {
    return str_format("%s/run/%s.%s", p->config->data, pair->org, pair->region);
}

/* Where the front (front/) reaches a gateway. */
static char *outside_socket_path(const struct pairs *p, const struct pair *pair) {
    return str_format("%s/run/%s@%s", p->config->data, pair->org, pair->region);
}

static struct result start_gateway(struct pairs *p, struct pair *pair, const char *key_arn, int keyring_end) {
    const struct config_region *region = config_find_region(p->config, pair->region);
    CHECK(region, ERR_INVALID, "the deployment has no region %s", pair->region);
    CHANNEL_AUTO(control);
    TRY(ipc_pair(control));
    AUTO_FREE char *program = NULL;
    TRY(child_program("lockset-gateway", &program));
    AUTO_FREE char *store = str_format("%s/%s", region->store_path, pair->org);
    struct child_spec spec = {
        .program = program,
        .args = {"--config", p->config_file, "--org", pair->org, "--region", pair->region, "--store", store,
                 "--key-arn", key_arn},
        .fds = {keyring_end, control[1]},
        .fd_count = 2,
        .stdout_fd = -1,
    };
    AUTO(close_auto) int outside = -1;
    if (region->gateway_listen) {
        AUTO_FREE char *path = outside_socket_path(p, pair);
        TRY(http_listen_unix(path, &outside));
        spec.args[10] = "--outside";
        spec.args[11] = "yes";
        spec.fds[spec.fd_count++] = outside;
    }
    TRY(child_start(&spec, &pair->gateway));
    pair->gateway_channel = control[0];
    control[0] = -1;
    return OK;
}

/* Starts the engine and tells the gateway whose listener to serve from now on. */
static struct result start_engine(struct pairs *p, struct pair *pair, int keyring_end) {
    CHANNEL_AUTO(hand_over);
    TRY(ipc_pair(hand_over));
    AUTO_FREE char *path = engine_socket_path(p, pair);
    AUTO(close_auto) int listener = -1;
    TRY(http_listen_unix(path, &listener));
    AUTO_FREE char *program = NULL;
    TRY(child_program("lockset-engine", &program));
    AUTO_FREE char *epoch = str_format("%llu", (unsigned long long)pair->epoch);
    AUTO_FREE char *memory = str_format("%lld", (long long)p->config->engine_memory_bytes);
    struct child_spec spec = {
        .program = program,
        .args = {"--config", p->config_file, "--org", pair->org, "--region", pair->region, "--epoch", epoch},
        .fds = {keyring_end, hand_over[0], listener},
        .fd_count = 3,
        .stdout_fd = -1,
    };
    size_t n = 8;
    if (p->config->engine_chdb) {
        spec.args[n++] = "--chdb";
        spec.args[n++] = p->config->engine_chdb;
    }
    spec.args[n++] = "--memory-bytes";
    spec.args[n++] = memory;
    if (p->config->engine_allow_weak_isolation) spec.args[n++] = "--allow-weak-isolation";
    TRY(child_start(&spec, &pair->engine));
    AUTO_FREE char *message = str_format("{\"op\":\"engine\",\"epoch\":%s}", epoch);
    return ipc_send(pair->gateway_channel, slice_str(message), &hand_over[1], 1, 1000);
}

static void tell(struct pairs *p, json_t *message, const int *fds, unsigned count) {
    p->tell(p->arg, message, fds, count);
    json_decref(message);
}

static struct result start_pair(struct pairs *p, struct pair *pair, const char *key_arn) {
    CHANNEL_AUTO(to_gateway);
    CHANNEL_AUTO(to_engine);
    bool has_engine = p->config->engine_enabled;
    TRY(ipc_pair(to_gateway));
    TRY(ipc_pair(to_engine));
    TRY(start_gateway(p, pair, key_arn, to_gateway[1]));
    if (has_engine) TRY(start_engine(p, pair, to_engine[1]));
    AUTO_FREE char *path = has_engine ? engine_socket_path(p, pair) : str_dup("");
    int fds[] = {to_gateway[0], to_engine[0]};
    tell(p,
         json_pack("{s:s,s:s,s:s,s:I,s:i,s:i,s:s}", "op", "started", "org", pair->org, "region", pair->region, "epoch",
                   (json_int_t)pair->epoch, "gateway_pid", (int)pair->gateway, "engine_pid", (int)pair->engine,
                   "engine_socket", path),
         fds, has_engine ? 2 : 1);
    return OK;
}

static struct result restart_engine(struct pairs *p, struct pair *pair) {
    CHECK(pair->gateway > 0, ERR_NOT_FOUND, "its gateway isn't running");
    child_kill(pair->engine, NULL);
    pair->engine = 0;
    CHANNEL_AUTO(to_engine);
    TRY(ipc_pair(to_engine));
    TRY(start_engine(p, pair, to_engine[1]));
    AUTO_FREE char *path = engine_socket_path(p, pair);
    tell(p,
         json_pack("{s:s,s:s,s:s,s:I,s:i,s:s}", "op", "engine_started", "org", pair->org, "region", pair->region,
                   "epoch", (json_int_t)pair->epoch, "engine_pid", (int)pair->engine, "engine_socket", path),
         &to_engine[0], 1);
    return OK;
}

static void report_failure(struct pairs *p, struct pair *pair, bool whole) {
    AUTO_FREE char *why = str_dup(err_detail());
    log_error("pair.start_failed", KV("org", pair->org), KV("region", pair->region), KV("reason", why));
    tell(p,
         json_pack("{s:s,s:s,s:s,s:I,s:s}", "op", "start_failed", "org", pair->org, "region", pair->region, "epoch",
                   (json_int_t)pair->epoch, "reason", why),
         NULL, 0);
    if (!whole) return;
    kill_pair(pair);
    forget(p, pair);
}

struct result pairs_handle(struct pairs *p, const json_t *message) {
    const char *op, *org, *region, *key_arn = "";
    int64_t epoch = 0;
    TRY(json_get_str(message, "op", &op));
    TRY(json_get_str(message, "org", &org));
    TRY(json_get_str(message, "region", &region));
    if (!strcmp(op, "end")) {
        struct pair *pair = find(p, org, region);
        if (pair) {
            kill_pair(pair);
            forget(p, pair);
        }
        tell(p, json_pack("{s:s,s:s,s:s}", "op", "ended", "org", org, "region", region), NULL, 0);
        return OK;
    }
    TRY(json_get_int(message, "epoch", 1, INT64_MAX, &epoch));
    if (!strcmp(op, "start")) {
        TRY(json_get_str(message, "key_arn", &key_arn));
        struct pair *pair = find_or_add(p, org, region);
        kill_pair(pair);
        pair->epoch = (uint64_t)epoch;
        if (is_err(start_pair(p, pair, key_arn))) report_failure(p, pair, true);
        return OK;
    }
    if (!strcmp(op, "restart_engine")) {
        struct pair *pair = find_or_add(p, org, region);
        pair->epoch = (uint64_t)epoch;
        if (is_err(restart_engine(p, pair))) report_failure(p, pair, pair->gateway <= 0);
        return OK;
    }
    FAIL(ERR_INVALID, "the supervisor doesn't know '%.32s'", op);
}

bool pairs_reaped(struct pairs *p, pid_t pid, int status) {
    for (struct pair *pair = p->first; pair; pair = pair->next) {
        bool is_gateway = pair->gateway == pid;
        if (!is_gateway && pair->engine != pid) continue;
        char text[32];
        child_describe_status(status, text);
        log_warn("pair.exited", KV("org", pair->org), KV("region", pair->region),
                 KV("which", is_gateway ? "gateway" : "engine"), KV("status", text));
        uint64_t epoch = pair->epoch;
        AUTO_FREE char *org = str_dup(pair->org);
        AUTO_FREE char *region = str_dup(pair->region);
        if (is_gateway) {
            pair->gateway = 0; /* reaped already: its number may be another's by now */
            kill_pair(pair);
            forget(p, pair);
        } else {
            pair->engine = 0;
        }
        tell(p,
             json_pack("{s:s,s:s,s:s,s:I,s:s,s:s}", "op", "exited", "org", org, "region", region, "epoch",
                       (json_int_t)epoch, "which", is_gateway ? "gateway" : "engine", "status", text),
             NULL, 0);
        return true;
    }
    return false;
}

void pairs_end_all(struct pairs *p) {
    while (p->first) {
        kill_pair(p->first);
        forget(p, p->first);
    }
}

void pairs_list(const struct pairs *p, json_t *processes) {
    for (const struct pair *i = p->first; i; i = i->next) {
        AUTO_FREE char *gateway = str_format("gateway.%s.%s", i->org, i->region);
        AUTO_FREE char *engine = str_format("engine.%s.%s", i->org, i->region);
        if (i->gateway > 0) json_object_set_new(processes, gateway, json_integer(i->gateway));
        if (i->engine > 0) json_object_set_new(processes, engine, json_integer(i->engine));
    }
}

pid_t pairs_find(const struct pairs *p, const char *name) {
    json_t *all = json_object();
    pairs_list(p, all);
    pid_t found = (pid_t)json_integer_value(json_object_get(all, name));
    json_decref(all);
    return found;
}
