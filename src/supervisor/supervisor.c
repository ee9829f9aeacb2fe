#include "supervisor/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/file.h"
#include "base/http_client.h"
#include "base/ipc.h"
#include "base/log.h"
#include "supervisor/child.h"
#include "supervisor/control.h"
#include "supervisor/dev.h"
#include "supervisor/pairs.h"
#include "supervisor/service.h"
#include "supervisor/store_gate.h"

enum {
    REGIONS_MAX = 32,
    SERVICES_MAX = DEV_REGIONS + 1 + 2 * REGIONS_MAX,
    POLL_MAX = 3 + SERVICES_MAX,
    KMS_START_S = 20,
    READY_S = 60,
    API_DRAIN_MS = 3000,
    STOP_MS = 3000,
    /* sockaddr_un holds 107 bytes; the longest name is an engine's socket: /run/ORG.REGION. */
    DATA_PATH_MAX = 107 - 5 - 21 - 1 - 16,
    START_EXITS_MAX = 3,
};

struct supervisor {
    const struct supervisor_options *options;
    struct config *config;
    char *config_file; /* DATA/run/config.yaml: what the children read */
    struct dev dev;
    struct service services[SERVICES_MAX];
    size_t service_count;
    struct service *keyring, *apis; /* apis: one for each region, side by side */
    struct service *fronts;         /* one for each region with gateway.listen, side by side */
    size_t front_count;
    struct pairs pairs;
    int signal_fd, control_fd, lock_fd, keyring_fd;
    int api_fds[REGIONS_MAX], front_fds[REGIONS_MAX]; /* front_fds: -1 where nothing listens */
    size_t region_count;
    bool stopping, is_ready;
    int stop_signal;
};

/* --- the processes --- */

/* Starts a program whose "ready:" is waited for. */
static struct result start_piped(struct service *s, struct child_spec *spec, pid_t *ret_pid) {
    int out[2];
    if (pipe2(out, O_CLOEXEC) != 0) return err_from_errno(errno, "pipe");
    spec->stdout_fd = out[1];
    struct result r = child_start(spec, ret_pid);
    close(out[1]);
    if (is_err(r))
        close(out[0]);
    else
        s->stdout_fd = out[0];
    return r;
}

static struct result start_kms(void *arg, struct service *s, pid_t *ret_pid) {
    struct supervisor *v = arg;
    const char *region = dev_region_names[s->index];
    AUTO_FREE char *program = NULL;
    TRY(child_program("lockset-kms", &program));
    AUTO_FREE char *data = str_format("%s/kms/%s", v->config->data, region);
    AUTO_FREE char *listen = str_format("127.0.0.1:%u", v->dev.kms_port[s->index]);
    AUTO_FREE char *day = str_format("%lld.%03lld", (long long)(v->config->dev_kms_day_ms / 1000),
                                     (long long)(v->config->dev_kms_day_ms % 1000));
    TRY(file_make_dirs(data));
    AUTO_FREE char *faults = str_format("%s/run/kms-fault.%s.sock", v->config->data, region);
    bool fits = strlen(faults) < sizeof((struct sockaddr_un){0}).sun_path;
    struct child_spec spec = {.program = program,
                              .args = {"--data", data, "--listen", listen, "--region", region, "--accounts",
                                       v->dev.accounts_file, "--day-seconds", day, "--die-with-parent",
                                       fits ? "--fault-socket" : NULL, faults}};
    return start_piped(s, &spec, ret_pid);
}

static struct result start_keyring(void *arg, struct service *s, pid_t *ret_pid) {
    struct supervisor *v = arg;
    AUTO_FREE char *program = NULL;
    TRY(child_program("lockset-keyring", &program));
    int channel[2];
    TRY(ipc_pair(channel));
    struct child_spec spec = {
        .program = program, .args = {"--config", v->config_file}, .fds = {channel[1]}, .fd_count = 1, .stdout_fd = -1};
    struct result r = child_start(&spec, ret_pid);
    close(channel[1]);
    if (is_err(r)) {
        close(channel[0]);
        return r;
    }
    if (v->keyring_fd >= 0) close(v->keyring_fd);
    v->keyring_fd = channel[0];
    return OK;
}

static struct result listen_at(const char *setting, const char *listen, int *ret_fd) {
    const char *colon = strrchr(listen, ':');
    uint64_t port = 0;
    CHECK(colon && is_ok(slice_to_u64(slice_str(colon + 1), 65535, &port)), ERR_INVALID,
          "%s must be HOST:PORT, not '%s'", setting, listen);
    AUTO_FREE char *host = str_ndup(listen, (size_t)(colon - listen));
    unsigned bound;
    return http_listen_tcp(host, (unsigned)port, ret_fd, &bound);
}

static struct result listen_region(const struct config_region *region, int *ret_fd) {
    CHECK(region->api_listen, ERR_INVALID, "region %s has no api.listen (HOST:PORT)", region->name);
    return listen_at("api.listen", region->api_listen, ret_fd);
}

static struct result start_front(void *arg, struct service *s, pid_t *ret_pid) {
    struct supervisor *v = arg;
    const struct config_region *region = &v->config->regions[s->index];
    if (v->front_fds[s->index] < 0) TRY(listen_at("gateway.listen", region->gateway_listen, &v->front_fds[s->index]));
    AUTO_FREE char *program = NULL;
    TRY(child_program("lockset-front", &program));
    struct child_spec spec = {.program = program,
                              .args = {"--config", v->config_file, "--region", region->name},
                              .fds = {v->front_fds[s->index]},
                              .fd_count = 1};
    return start_piped(s, &spec, ret_pid);
}

static struct result start_api(void *arg, struct service *s, pid_t *ret_pid) {
    struct supervisor *v = arg;
    if (v->api_fds[s->index] < 0) TRY(listen_region(&v->config->regions[s->index], &v->api_fds[s->index]));
    AUTO_FREE char *program = NULL;
    TRY(child_program("lockset-api", &program));
    struct child_spec spec = {.program = program,
                              .args = {"--config", v->config_file, "--region", v->config->regions[s->index].name},
                              .fds = {v->api_fds[s->index]},
                              .fd_count = 1};
    return start_piped(s, &spec, ret_pid);
}

static struct service *add_service(struct supervisor *v, char *name,
                                   struct result (*start)(void *, struct service *, pid_t *), size_t index) {
    struct service *s = &v->services[v->service_count++];
    *s = (struct service){.name = name, .start = start, .arg = v, .index = index, .stdout_fd = -1};
    return s;
}

/* --- dev.json, devctl --- */

static json_t *processes(const struct supervisor *v) {
    json_t *all = json_object();
    for (size_t i = 0; i < v->service_count; i++) {
        if (v->services[i].pid > 0) json_object_set_new(all, v->services[i].name, json_integer(v->services[i].pid));
    }
    pairs_list(&v->pairs, all);
    return all;
}

static void publish(struct supervisor *v) {
    if (!v->options->dev || v->stopping) return;
    JSON_AUTO(all);
    all = processes(v);
    json_object_set_new(all, "supervisor", json_integer(getpid()));
    if (is_err(dev_write_json(&v->dev, v->config, all))) log_warn("dev_json.failed", KV("reason", err_detail()));
}

static struct result act(void *arg, const char *action, const char *process) {
    struct supervisor *v = arg;
    struct service *service = NULL;
    for (size_t i = 0; i < v->service_count; i++) {
        if (!strcmp(v->services[i].name, process)) service = &v->services[i];
    }
    /* The first region's API by its full name, too. */
    if (!service && !strncmp(process, "api.", 4) && !strcmp(process + 4, v->config->regions[0].name))
        service = &v->apis[0];
    pid_t pid = service ? service->pid : pairs_find(&v->pairs, process);
    if (!service && pid <= 0) {
        JSON_AUTO(all);
        all = processes(v);
        BUF_AUTO(names, 160);
        const char *name;
        json_t *unused;
        json_object_foreach(all, name, unused) buf_printf(&names, " %s", name);
        FAIL(ERR_NOT_FOUND, "no process '%.64s'; there are:%s", process, buf_str(&names));
    }
    log_info("devctl", KV("action", action), KV("process", process));
    if (!strcmp(action, "start")) {
        CHECK(service, ERR_INVALID, "%s is started by the keyring when it is needed", process);
        if (service->pid <= 0) service_start(service);
        publish(v);
        return OK;
    }
    CHECK(pid > 0, ERR_INVALID, "%s isn't running", process);
    if (!strcmp(action, "freeze") || !strcmp(action, "thaw")) {
        if (kill(pid, action[0] == 'f' ? SIGSTOP : SIGCONT) != 0) return err_from_errno(errno, "%s", process);
        return OK;
    }
    CHECK(!strcmp(action, "stop"), ERR_INVALID, "unknown action '%.32s'; use stop, start, freeze or thaw", action);
    int status;
    child_kill(pid, &status);
    if (service) {
        /* Clients of an API that is gone on purpose are turned away; of one that is restarted, they wait. */
        if (service->start == start_api) fd_close(&v->api_fds[service->index]);
        if (service->start == start_front) fd_close(&v->front_fds[service->index]);
        service->held = true;
        service_reaped(service, status);
    } else {
        pairs_reaped(&v->pairs, pid, status);
    }
    publish(v);
    return OK;
}

/* --- the loop --- */

static void tell_keyring(void *arg, json_t *message, const int *fds, unsigned fd_count) {
    struct supervisor *v = arg;
    BUF_AUTO(text, IPC_MAX_BYTES);
    if (is_err(json_write(message, &text)) || is_err(buf_check(&text)) || v->keyring_fd < 0) return;
    if (is_err(ipc_send(v->keyring_fd, buf_slice(&text), fds, fd_count, 1000))) {
        log_warn("keyring.unreachable", KV("reason", err_detail()));
    }
}

static void hear_keyring(struct supervisor *v) {
    AUTO(ipc_message_done) struct ipc_message message = {0};
    struct result r = ipc_receive(v->keyring_fd, 0, &message);
    if (r.code == ERR_TIMEOUT) return;
    if (is_err(r)) { /* it died: SIGCHLD tells the rest */
        close(v->keyring_fd);
        v->keyring_fd = -1;
        return;
    }
    JSON_AUTO(object);
    r = json_parse_object(buf_slice(&message.data), &object);
    if (is_ok(r)) r = pairs_handle(&v->pairs, object);
    if (is_err(r)) log_error("keyring.message_refused", KV("reason", err_detail()));
    publish(v);
}

static void reap(struct supervisor *v) {
    bool any = false;
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid <= 0) break;
        any = true;
        bool known = pairs_reaped(&v->pairs, pid, status);
        for (size_t i = 0; i < v->service_count && !known; i++) {
            if (v->services[i].pid != pid) continue;
            service_reaped(&v->services[i], status);
            known = true;
        }
    }
    if (any) publish(v);
}

static void hear_signals(struct supervisor *v) {
    struct signalfd_siginfo info;
    while (read(v->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGCHLD) continue;
        v->stopping = true;
        v->stop_signal = (int)info.ssi_signo;
    }
    reap(v);
}

static void loop_once(struct supervisor *v, int timeout_ms) {
    struct pollfd polled[POLL_MAX] = {
        {v->signal_fd, POLLIN, 0}, {v->control_fd, POLLIN, 0}, {v->keyring_fd, POLLIN, 0}};
    for (size_t i = 0; i < v->service_count; i++) {
        pid_t before = v->services[i].pid;
        int due = service_tick(&v->services[i]);
        if (v->services[i].pid != before && v->is_ready) publish(v); /* dev.json names who runs now */
        if (due >= 0 && (timeout_ms < 0 || due < timeout_ms)) timeout_ms = due + 1;
        polled[3 + i] = (struct pollfd){v->services[i].stdout_fd, POLLIN, 0};
    }
    polled[2].fd = v->keyring_fd; /* a tick may have started a new one */
    if (poll(polled, 3 + v->service_count, timeout_ms) <= 0) return;
    if (polled[2].revents && polled[2].fd == v->keyring_fd) hear_keyring(v);
    for (size_t i = 0; i < v->service_count; i++) {
        if (polled[3 + i].revents) service_read(&v->services[i]);
    }
    if (polled[0].revents) hear_signals(v);
    if (polled[1].revents) control_serve(v->control_fd, act, v);
}

/* --- start --- */

static struct result lock_data(struct supervisor *v) {
    const char *data = v->config->data;
    CHECK(strlen(data) <= DATA_PATH_MAX, ERR_INVALID,
          "the path of the data folder, '%s', is too long for the sockets in it; at most %d characters", data,
          DATA_PATH_MAX);
    AUTO_FREE char *run = str_format("%s/run", data);
    TRY(file_make_dirs(run));
    if (chmod(data, 0700) != 0) return err_from_errno(errno, "%s", data);
    AUTO_FREE char *path = str_format("%s/lock", run);
    v->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (v->lock_fd < 0) return err_from_errno(errno, "%s", path);
    CHECK(flock(v->lock_fd, LOCK_EX | LOCK_NB) == 0, ERR_CONFLICT,
          "another lockset runs on %s; stop it first, or use another --data folder", data);
    AUTO_FREE char *control = str_format("%s/control.sock", run);
    return ipc_listen(control, &v->control_fd);
}

static struct result block_signals(struct supervisor *v) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    v->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return v->signal_fd >= 0 ? OK : err_from_errno(errno, "signalfd");
}

/* Before the node was ever ready, what ends by itself again and again does so for a reason that stays. */
static struct result check_starting(const struct supervisor *v) {
    for (size_t i = 0; i < v->service_count; i++)
        CHECK(v->services[i].exits < START_EXITS_MAX, ERR_PEER, "%s can't start; its lines above tell why",
              v->services[i].name);
    return OK;
}

static struct result start_local_kms(struct supervisor *v) {
    for (size_t i = 0; i < DEV_REGIONS; i++) {
        service_start(add_service(v, str_format("kms.%s", dev_region_names[i]), start_kms, i));
    }
    int64_t until = clock_boottime_ns() + KMS_START_S * NS_PER_S;
    for (;;) {
        bool all = true;
        for (size_t i = 0; i < v->service_count; i++)
            all = all && v->services[i].said_ready;
        if (all || v->stopping) return OK;
        TRY(check_starting(v));
        CHECK(clock_boottime_ns() < until, ERR_TIMEOUT, "the local KMS didn't start within %d s; its log tells why",
              KMS_START_S);
        loop_once(v, 100);
    }
}

/* Reads the settings again with what `dev` adds to them. */
static struct result configure_dev(struct supervisor *v) {
    char *arns[DEV_REGIONS] = {0};
    if (is_err(dev_service_keys(&v->dev, v->config, arns))) {
        log_warn("dev.no_service_key", KV("reason", err_detail()),
                 KV("effect", "organizations without a customer's key can't be created in every region"));
    }
    struct config_override *all = mem_alloc_array(v->options->override_count + DEV_OVERRIDES_MAX, sizeof(*all));
    AUTO_FREE struct config_override *owner = all;
    size_t n = dev_overrides(&v->dev, arns, all);
    for (size_t i = 0; i < v->options->override_count; i++)
        all[n++] = v->options->overrides[i];
    struct config *loaded;
    struct result r = config_load(v->options->config_file, all, n, &loaded);
    for (size_t i = 0; i < DEV_REGIONS; i++)
        mem_free(arns[i]);
    TRY(r);
    config_free(v->config);
    v->config = loaded;
    return OK;
}

static struct result write_config(struct supervisor *v) {
    BUF_AUTO(text, 1 << 20);
    config_write(v->config, &text);
    TRY(buf_check(&text));
    v->config_file = str_format("%s/run/config.yaml", v->config->data);
    return file_write_atomic(v->config_file, buf_slice(&text), 0600);
}

static struct result read_token(const char *file, struct buf *out) {
    struct stat st;
    if (stat(file, &st) != 0) return err_from_errno(errno, "operator.token_file: %s", file);
    CHECK((st.st_mode & 077) == 0, ERR_INVALID, "operator.token_file: %s can be read by others: chmod 600 it", file);
    struct result r = file_read(file, 4096, out);
    if (is_ok(r)) return OK;
    AUTO_FREE char *why = str_dup(err_detail());
    FAIL(r.code, "operator.token_file: %s", why);
}

/* What the children will read: told here, with the setting's name, instead of in their logs. */
static struct result check_files(const struct config *c) {
    const struct {
        const char *name, *file;
    } files[] = {{"api.tls.cert", c->api_tls_cert},
                 {"api.tls.key", c->api_tls_key},
                 {"gateway.tls.cert", c->gateway_tls_cert},
                 {"gateway.tls.key", c->gateway_tls_key},
                 {"aws.credentials_file", c->aws_credentials_file},
                 {"engine.chdb", c->engine_chdb}};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        if (files[i].file && access(files[i].file, R_OK) != 0)
            return err_from_errno(errno, "%s: %s", files[i].name, files[i].file);
    }
    return OK;
}

/* The api learns only the hash of the operator's token. */
static struct result write_token_hash(struct supervisor *v) {
    AUTO(buf_done) struct buf token;
    buf_init_wiping(&token, 4096);
    if (v->options->dev) {
        buf_append_str(&token, v->dev.operator_token);
    } else {
        CHECK(v->config->operator_token_file, ERR_INVALID,
              "operator.token_file is not set: name a file (mode 0600) that holds the operator's token");
        TRY(read_token(v->config->operator_token_file, &token));
        while (token.len && (token.data[token.len - 1] == '\n' || token.data[token.len - 1] == '\r'))
            token.len--;
        CHECK(token.len >= 20, ERR_INVALID, "the token in %s must have at least 20 characters",
              v->config->operator_token_file);
    }
    uint8_t digest[SHA256_BYTES];
    TRY(sha256(buf_slice(&token), digest));
    BUF_AUTO(text, 128);
    hex_encode(slice_make(digest, sizeof(digest)), &text);
    buf_append_str(&text, "\n");
    AUTO_FREE char *path = str_format("%s/run/operator.sha256", v->config->data);
    return file_write_atomic(path, buf_slice(&text), 0600);
}

static struct result listen_all(struct supervisor *v) {
    size_t n = v->config->region_count;
    CHECK(n > 0, ERR_INVALID, "no regions are configured: add 'regions' with name and api.listen");
    CHECK(n <= REGIONS_MAX, ERR_INVALID, "%zu regions are configured; one node serves at most %d", n, REGIONS_MAX);
    for (; v->region_count < n; v->region_count++) {
        const struct config_region *region = &v->config->regions[v->region_count];
        v->front_fds[v->region_count] = -1;
        TRY(listen_region(region, &v->api_fds[v->region_count]));
        if (!region->gateway_listen) continue;
        struct result r = listen_at("gateway.listen", region->gateway_listen, &v->front_fds[v->region_count]);
        if (is_ok(r)) continue;
        fd_close(&v->api_fds[v->region_count]); /* only whole regions are given back */
        return r;
    }
    return OK;
}

static struct result wait_ready(struct supervisor *v) {
    int64_t until = clock_boottime_ns() + READY_S * NS_PER_S;
    size_t ready = 0, needed = v->region_count + v->front_count; /* the fronts stand behind the apis */
    while (!v->stopping && ready < needed) {
        if (v->apis[ready].said_ready) {
            ready++;
            continue;
        }
        TRY(check_starting(v));
        CHECK(clock_boottime_ns() < until, ERR_TIMEOUT, "%s didn't get ready within %d s; the log above tells why",
              v->apis[ready].name, READY_S);
        loop_once(v, 50);
    }
    if (v->stopping) return OK;
    publish(v);
    v->is_ready = true;
    const char *scheme = v->config->api_tls_cert ? "https" : "http";
    printf("ready: api=%s://%s", scheme, v->config->regions[0].api_listen);
    for (size_t i = 1; i < v->region_count; i++)
        printf(" api.%s=%s://%s", v->config->regions[i].name, scheme, v->config->regions[i].api_listen);
    for (size_t i = 0; i < v->region_count; i++) {
        const struct config_region *region = &v->config->regions[i];
        if (region->gateway_listen)
            printf(" s3.%s=%s://%s", region->name, v->config->gateway_tls_cert ? "https" : "http",
                   region->gateway_listen);
    }
    if (v->options->dev) {
        for (size_t i = 0; i < DEV_REGIONS; i++)
            printf(" kms.%s=%s", dev_region_names[i], v->dev.kms_url[i]);
    }
    printf(" data=%s\n", v->config->data);
    fflush(stdout);
    return OK;
}

/* A program that isn't there is not a crash that a restart could mend. */
static struct result check_programs(const struct supervisor *v) {
    static const char *const needed[] = {"lockset-keyring", "lockset-gateway", "lockset-engine",
                                         "lockset-api",     "lockset-front",   "lockset-kms"};
    for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
        AUTO_FREE char *path = NULL;
        TRY(child_program(needed[i], &path));
        if (!v->options->dev && !strcmp(needed[i], "lockset-kms")) continue;
        if (v->options->gateway_only && !strcmp(needed[i], "lockset-engine")) continue;
        CHECK(access(path, X_OK) == 0, ERR_NOT_FOUND, "%s is missing; the programs of Lockset stand in one folder",
              path);
    }
    return OK;
}

static struct result start_node(struct supervisor *v) {
    TRY(check_programs(v));
    TRY(config_load(v->options->config_file, v->options->overrides, v->options->override_count, &v->config));
    CHECK(!v->options->gateway_only || !v->config->engine_enabled, ERR_INTERNAL, "a gateway alone has no engines");
    TRY(lock_data(v));
    TRY(block_signals(v));
    http_client_start();
    if (v->options->dev) {
        TRY(dev_prepare(&v->dev, v->config));
        if (v->dev.own_kms) TRY(start_local_kms(v));
        if (v->stopping) return OK;
        TRY(configure_dev(v));
    }
    TRY(check_files(v->config));
    TRY(store_gate_check(v->config));
    TRY(write_token_hash(v));
    TRY(write_config(v));
    TRY(listen_all(v));
    v->pairs = (struct pairs){.config = v->config, .config_file = v->config_file, .tell = tell_keyring, .arg = v};
    v->keyring = add_service(v, str_dup("keyring"), start_keyring, 0);
    /* The first region's has the short name. */
    for (size_t i = 0; i < v->region_count; i++) {
        char *name = i == 0 ? str_dup("api") : str_format("api.%s", v->config->regions[i].name);
        struct service *s = add_service(v, name, start_api, i);
        if (i == 0) v->apis = s;
    }
    for (size_t i = 0; i < v->region_count; i++) {
        if (!v->config->regions[i].gateway_listen) continue;
        struct service *s = add_service(v, str_format("s3.%s", v->config->regions[i].name), start_front, i);
        if (v->front_count++ == 0) v->fronts = s;
    }
    CHECK(!v->options->gateway_only || v->front_count > 0, ERR_INVALID, "no region has a gateway.listen (HOST:PORT)");
    service_start(v->keyring);
    for (size_t i = 0; i < v->region_count + v->front_count; i++)
        service_start(&v->apis[i]);
    return wait_ready(v);
}

/* --- end --- */

static bool wait_gone(struct supervisor *v, const struct service *s, int64_t ms) {
    int64_t until = clock_boottime_ns() + ms * NS_PER_MS;
    while (s->pid > 0 && clock_boottime_ns() < until) {
        struct pollfd polled = {v->signal_fd, POLLIN, 0};
        poll(&polled, 1, 50);
        hear_signals(v);
    }
    return s->pid <= 0;
}

static void ask_to_end(struct service *s) {
    s->held = true;
    s->restart_at_ns = 0;
    if (s->pid <= 0) return;
    kill(s->pid, SIGTERM);
    kill(s->pid, SIGCONT); /* a frozen one can't hear the first */
}

/* The api first, so that running requests end; then what holds plaintext; then the rest. */
static void end_node(struct supervisor *v) {
    v->stopping = true;
    for (size_t i = 0; v->apis && i < v->region_count; i++)
        ask_to_end(&v->apis[i]);
    for (size_t i = 0; i < v->front_count; i++)
        ask_to_end(&v->fronts[i]);
    int64_t drained_ns = clock_boottime_ns() + API_DRAIN_MS * NS_PER_MS;
    for (size_t i = 0; v->apis && i < v->region_count; i++) {
        int64_t left_ms = (drained_ns - clock_boottime_ns()) / NS_PER_MS;
        if (!wait_gone(v, &v->apis[i], left_ms)) child_kill(v->apis[i].pid, NULL);
    }
    for (size_t i = 0; i < v->service_count; i++)
        ask_to_end(&v->services[i]);
    pairs_end_all(&v->pairs);
    for (size_t i = 0; i < v->service_count; i++) {
        if (!wait_gone(v, &v->services[i], STOP_MS)) child_kill(v->services[i].pid, NULL);
    }
    for (size_t i = 0; i < v->service_count; i++)
        service_done(&v->services[i]);
    if (v->options->dev) dev_done(&v->dev);
    bool is_owner = v->control_fd >= 0; /* of the folder */
    for (size_t i = 0; i < v->region_count; i++) {
        fd_close(&v->api_fds[i]);
        fd_close(&v->front_fds[i]);
    }
    int *fds[] = {&v->signal_fd, &v->control_fd, &v->keyring_fd, &v->lock_fd};
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        if (*fds[i] >= 0) close(*fds[i]);
    }
    if (is_owner) {
        AUTO_FREE char *control = str_format("%s/run/control.sock", v->config->data);
        unlink(control);
    }
    mem_free(v->config_file);
    v->config = config_free(v->config);
}

struct result supervisor_run(const struct supervisor_options *options) {
    struct supervisor v = {.options = options, .signal_fd = -1, .control_fd = -1, .lock_fd = -1, .keyring_fd = -1};
    umask(077);
    struct result r = start_node(&v);
    AUTO_FREE char *why = is_err(r) ? str_dup(err_detail()) : NULL;
    while (is_ok(r) && !v.stopping)
        loop_once(&v, -1);
    if (v.stopping) log_info("supervisor.stopping", KVI("signal", v.stop_signal));
    end_node(&v);
    if (is_err(r)) return err_make(r.code, "%s", why);
    return OK;
}
