/* lockset-engine: ClickHouse for one organization in one region, in a sandbox of its own. The order of the start is the
 * point of it: what needs the machine comes first, then the walls go up, then the first byte from outside is read. */
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "config/config.h"
#include "engine/confine.h"
#include "engine/handover.h"
#include "engine/isolate.h"
#include "engine/serve.h"
#include "keys/deadman.h"
#include "keys/wire.h"

enum { KEYRING_FD = 3, GATEWAY_FD = 4, API_FD = 5, HANDOVER_TIMEOUT_MS = 30000, SECRET_HEAP_BYTES = 65536 };
enum { DATA_BYTES = 64 << 20, READY_TIMEOUT_MS = 5000, MAX_LIST_BYTES = 1 << 20 };

struct arguments {
    const char *config, *org, *region, *chdb;
    uint64_t epoch, memory_bytes;
    bool allow_weak, debuggable;
};

static struct result parse_arguments(int argc, char **argv, struct arguments *ret) {
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},         {"org", required_argument, NULL, 'o'},
        {"region", required_argument, NULL, 'r'},         {"epoch", required_argument, NULL, 'e'},
        {"chdb", required_argument, NULL, 'l'},           {"memory-bytes", required_argument, NULL, 'm'},
        {"allow-weak-isolation", no_argument, NULL, 'w'}, {0}};
    struct arguments a = {0};
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (o) {
        case 'c':
            a.config = optarg;
            break;
        case 'o':
            a.org = optarg;
            break;
        case 'r':
            a.region = optarg;
            break;
        case 'e':
            TRY(slice_to_u64(slice_str(optarg), INT64_MAX, &a.epoch));
            break;
        case 'l':
            a.chdb = optarg;
            break;
        case 'm':
            TRY(slice_to_u64(slice_str(optarg), INT64_MAX, &a.memory_bytes));
            break;
        case 'w':
            a.allow_weak = true;
            break;
        default:
            FAIL(ERR_INVALID, "usage: lockset-engine --config F --org ID --region R --epoch N [--chdb PATH] "
                              "[--memory-bytes N] [--allow-weak-isolation]");
        }
    }
    CHECK(a.org && a.region && a.epoch > 0, ERR_INVALID, "--org, --region and --epoch are needed");
    *ret = a;
    return OK;
}

/* deps/chdb beside the program, or beside the build's folder when it is run from there. */
static char *default_chdb(void) {
    static const char *const places[] = {"deps/chdb/libchdb.so", "../deps/chdb/libchdb.so",
                                         "../../../deps/chdb/libchdb.so", "../../deps/chdb/libchdb.so"};
    char program[PATH_MAX] = "";
    if (readlink("/proc/self/exe", program, sizeof(program) - 1) < 0) return str_dup(places[0]);
    const char *folder = dirname(program);
    char *path = NULL;
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        mem_free(path);
        path = str_format("%s/%s", folder, places[i]);
        if (access(path, R_OK) == 0) break;
    }
    return path;
}

static struct result read_settings(struct arguments *a, char **ret_chdb) {
    AUTO(config_free_auto) struct config *config = NULL;
    if (a->config) {
        TRY(config_load(a->config, NULL, 0, &config));
        a->allow_weak |= config->engine_allow_weak_isolation;
        if (!a->memory_bytes) a->memory_bytes = (uint64_t)config->engine_memory_bytes;
    }
    if (!a->memory_bytes) a->memory_bytes = 2ULL << 30;
    if (a->chdb)
        *ret_chdb = str_dup(a->chdb);
    else if (config && config->engine_chdb)
        *ret_chdb = str_dup(config->engine_chdb);
    else
        *ret_chdb = default_chdb();
    return OK;
}

static struct result check_descriptors(void) {
    struct stat st;
    for (int fd = KEYRING_FD; fd <= API_FD; fd++) {
        CHECK(fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode), ERR_INVALID,
              "descriptor %d is no socket: lockset-engine is started by lockset", fd);
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
    close_range(API_FD + 1, ~0U, 0);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    /* chDB reads what stands on stdin as data of an INSERT. */
    CHECK(null >= 0 && dup2(null, 0) == 0 && dup2(null, 1) == 1, ERR_IO, "/dev/null can't be opened");
    close(null);
    return OK;
}

static struct result die_with_parent(void) {
    pid_t parent = getppid();
    CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0 && getppid() == parent, ERR_IO,
          "the engine can't be tied to its parent's life");
    return OK;
}

static void *retire(void *unused) {
    serve_wait_quiet();
    log_info("engine.retired");
    _exit(0);
    return unused;
}

/* Keeps the dead-man timer in step with the lease, and ends the engine with it. */
static void *follow_lease(void *arg) {
    for (;;) {
        AUTO(wire_message_done) struct wire_message m = {0};
        struct result r = wire_receive(KEYRING_FD, -1, &m);
        if (r.code == ERR_UNREACHABLE) break;
        if (is_err(r)) {
            log_warn("engine.bad_message", KV("why", err_detail()));
            if (r.code != ERR_PEER) break;
        } else if (m.type == WIRE_ARM) {
            if (is_err(deadman_arm(m.expiry_boottime_ns))) _exit(1);
        } else if (m.type == WIRE_END) {
            _exit(0);
        } else if (m.type == WIRE_RETIRE) {
            pthread_t waiter;
            if (pthread_create(&waiter, NULL, retire, NULL) != 0) _exit(0);
        }
    }
    /* The keyring is gone: the lease is still good, and the timer ends us when it isn't. */
    for (;;) {
        pause();
    }
}

struct engine {
    struct arguments arguments;
    struct chdb chdb;
    struct isolation isolation;
    struct handover_credentials credentials;
    struct instance instance;
    struct statement_env env;
};

static struct result harden(struct engine *e) {
    struct arguments *a = &e->arguments;
    struct isolate_options isolate = {.allow_weak = a->allow_weak, .data_bytes = DATA_BYTES};
    TRY(isolate_enter(&isolate, &e->isolation));
    TRY(die_with_parent()); /* again: the kernel forgets it when credentials change */
    TRY(secret_start(SECRET_HEAP_BYTES, false));
    struct confine_options confine = {.data_path = e->isolation.data_path,
                                      .has_proc = e->isolation.is_weak,
                                      .gateway_port = e->isolation.port,
                                      .memory_bytes = a->memory_bytes};
    struct confinement c;
    TRY(confine_enter(&confine, &c));
    if (c.landlock_abi == 0) log_warn("engine.no_landlock", KV("why", "the kernel has none"));
    if (e->isolation.is_weak) log_warn("engine.weak_isolation", KV("org", a->org));
    log_debug("engine.isolated", KVI("landlock_abi", c.landlock_abi),
              KVI("user_namespace", e->isolation.user_namespace));
    return OK;
}

static struct result make_gate(struct engine *e, struct sql_gate **ret) {
#ifdef LOCKSET_ENGINE_NO_GATE
    *ret = NULL;
    return OK;
#else
    BUF_AUTO(functions, MAX_LIST_BYTES);
    BUF_AUTO(tables, MAX_LIST_BYTES);
    TRY(instance_ask(&e->instance, "SELECT name FROM system.table_functions", "TSVRaw", &functions));
    TRY(instance_ask(&e->instance, "SELECT name FROM system.tables WHERE database = 'system'", "TSVRaw", &tables));
    return sql_gate_new(buf_slice(&functions), buf_slice(&tables), ret);
#endif
}

static struct result serve(struct engine *e) {
    struct insert_groups *groups;
    struct sql_gate *gate;
    e->env.instance = &e->instance;
    TRY(watch_start(&e->instance, e->isolation.statm_fd, e->arguments.memory_bytes, &e->env.watch));
    TRY(insert_groups_new(&e->env, &groups));
    TRY(make_gate(e, &gate));
    BUF_AUTO(settings, MAX_LIST_BYTES);
    TRY(instance_ask(&e->instance, "SELECT name FROM system.settings", "TSVRaw", &settings));
    struct serve_options o = {.listen_fd = API_FD,
                              .env = &e->env,
                              .groups = groups,
                              .gate = gate,
                              .settings = name_list_make(buf_slice(&settings)),
                              .epoch = e->arguments.epoch,
                              .disk = {.port = e->isolation.port,
                                       .access_key = secret_view(&e->credentials.access_key),
                                       .secret_key = secret_view(&e->credentials.secret_key)}};
    return serve_start(&o);
}

static struct result start(struct engine *e, int argc, char **argv) {
    int64_t began_ns = clock_boottime_ns();
    TRY(parse_arguments(argc, argv, &e->arguments));
    TRY(die_with_parent());
    TRY(check_descriptors());
    TRY(deadman_start(DEADMAN_FIRST_MS));
    AUTO_FREE char *path = NULL;
    TRY(read_settings(&e->arguments, &path));
    TRY(chdb_load(path, &e->chdb));
    TRY(harden(e));
    pthread_t follower;
    CHECK(pthread_create(&follower, NULL, follow_lease, NULL) == 0, ERR_IO, "no thread can be made");
    TRY(handover_run(GATEWAY_FD, e->arguments.epoch, e->isolation.listen_fd, e->isolation.port, HANDOVER_TIMEOUT_MS,
                     &e->credentials));
    struct instance_options instance = {.data_path = e->isolation.data_path, .memory_bytes = e->arguments.memory_bytes};
    TRY(instance_start(&e->chdb, &instance, &e->instance));
    TRY(serve(e));
    TRY(wire_send_ready(KEYRING_FD, READY_TIMEOUT_MS));
    log_info("engine.ready", KV("org", e->arguments.org), KV("region", e->arguments.region),
             KVI("epoch", e->arguments.epoch), KVI("start_ms", (clock_boottime_ns() - began_ns) / NS_PER_MS));
    return OK;
}

int main(int argc, char **argv) {
    static struct engine engine;
    log_start("lockset-engine", LOG_INFO);
    struct result r = start(&engine, argc, argv);
    if (is_err(r)) {
        log_error("engine.start_failed", KV("code", err_name(r.code)), KV("why", err_detail()));
        /* No exit handlers: ClickHouse's would run into its own threads. */
        _exit(1);
    }
    for (;;) {
        pause();
    }
}
