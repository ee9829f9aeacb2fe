/* lockset-kms: the local KMS of one region as a program. */
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "kms/fault_socket.h"
#include "kms/service.h"

enum { EXIT_USAGE = 2, SECRET_HEAP_BYTES = 256 * 1024 };

static const char help[] =
    "usage: lockset-kms --data DIR --listen HOST:PORT [options]\n"
    "\n"
    "A local service that speaks AWS KMS's protocol for one region.\n"
    "\n"
    "  --data DIR         where this region's keys are kept (made if absent)\n"
    "  --listen HOST:PORT where to serve; port 0 picks a free one. Other hosts than 127.0.0.1,\n"
    "                     [::1] and localhost need --tls-cert and --tls-key\n"
    "  --region REGION    the region to be (default us-west-2)\n"
    "  --accounts FILE    access keys, JSON, mode 0600 (default DIR/accounts.json, made with\n"
    "                     one account and fresh credentials if absent)\n"
    "  --shared DIR       what the regions share of Multi-Region keys (default DIR/../shared)\n"
    "  --root-key FILE    the key all keys are wrapped under, shared by the regions, mode 0600\n"
    "                     (default DIR/../root.key, made if absent)\n"
    "  --day-seconds N    length of a day of deletion windows and rotation periods (default 86400; for\n"
    "                     tests, down to 0.001)\n"
    "  --tls-cert FILE, --tls-key FILE\n"
    "                     PEM files: serve HTTPS\n"
    "  --fault-socket PATH\n"
    "                     a unix socket, mode 0600, over which tests ask for faults: delays, errors,\n"
    "                     dropped and hanging calls (see docs/local-kms.md)\n"
    "  --log-level LEVEL  debug, info, warn or error (default info); the log goes to stderr\n"
    "  --die-with-parent  end when the process that started this one does\n"
    "  --debuggable       let debuggers and leak checkers in (for tests)\n"
    "  --help, --version\n"
    "\n"
    "Prints one line when it serves: ready: http://HOST:PORT region=REGION\n";

struct settings {
    struct kmsd_store_options store;
    const char *accounts, *tls_cert, *tls_key, *fault_socket;
    char *host; /* without brackets */
    bool host_is_v6;
    unsigned port;
    enum log_level log_level;
    bool debuggable;
    pid_t dies_with; /* 0: with nobody */
};

__attribute__((format(printf, 1, 2), noreturn)) static void usage_error(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("lockset-kms: ", stderr);
    vfprintf(stderr, format, args);
    fputs("\nTry: lockset-kms --help\n", stderr);
    va_end(args);
    exit(EXIT_USAGE);
}

static uint64_t number(const char *option, const char *text, uint64_t max) {
    uint64_t value = 0;
    if (is_err(slice_to_u64(slice_str(text), max, &value)))
        usage_error("%s: '%s' is not a number up to %llu", option, text, (unsigned long long)max);
    return value;
}

/* Seconds with up to three decimals. */
static int64_t read_day(const char *text) {
    const char *point = strchr(text, '.');
    AUTO_FREE char *whole = point != NULL ? str_ndup(text, (size_t)(point - text)) : str_dup(text);
    size_t decimals = point != NULL ? strlen(point + 1) : 0;
    if (decimals > 3) usage_error("--day-seconds: '%s' has more than three decimals", text);
    uint64_t ms = number("--day-seconds", whole, 86400) * 1000;
    if (point != NULL) {
        AUTO_FREE char *part = str_format("1%s%.*s", point + 1, (int)(3 - decimals), "000");
        ms += number("--day-seconds", part, 1999) - 1000; // the 1 keeps zeros in front from being refused
    }
    if (ms == 0) usage_error("--day-seconds: a day can't be shorter than 0.001 seconds");
    return (int64_t)ms;
}

static void read_listen(const char *text, struct settings *s) {
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text) usage_error("--listen: '%s' is not HOST:PORT", text);
    s->host = str_ndup(text, (size_t)(colon - text));
    s->port = (unsigned)number("--listen", colon + 1, 65535);
    size_t len = strlen(s->host);
    if (s->host[0] == '[' && s->host[len - 1] == ']') { // [::1]
        char *bare = str_ndup(s->host + 1, len - 2);
        mem_free(s->host);
        s->host = bare;
    }
    s->host_is_v6 = strchr(s->host, ':') != NULL;
}

static enum log_level read_level(const char *text) {
    static const char *const names[] = {"debug", "info", "warn", "error"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(names[i], text) == 0) return (enum log_level)i;
    usage_error("--log-level: '%s' is not debug, info, warn or error", text);
}

static void check_settings(const struct settings *s) {
    if (s->store.data_dir == NULL) usage_error("--data DIR is missing");
    if (s->host == NULL) usage_error("--listen HOST:PORT is missing");
    if (!arn_is_region(slice_str(s->store.region)) || arn_partition_of_region(slice_str(s->store.region)) == NULL)
        usage_error("--region: '%s' is not an AWS region", s->store.region);
    if ((s->tls_cert == NULL) != (s->tls_key == NULL)) usage_error("--tls-cert and --tls-key go together");
    bool local = strcmp(s->host, "127.0.0.1") == 0 || strcmp(s->host, "::1") == 0 || strcmp(s->host, "localhost") == 0;
    if (!local && s->tls_cert == NULL)
        usage_error("--listen: %s can be reached from elsewhere, so it needs --tls-cert and --tls-key", s->host);
}

static void read_arguments(int argc, char **argv, struct settings *s) {
    enum {
        DATA = 1,
        LISTEN,
        REGION,
        ACCOUNTS,
        SHARED,
        ROOT_KEY,
        DAY,
        CERT,
        KEY,
        FAULTS,
        LEVEL,
        DIE,
        DEBUGGABLE,
        HELP,
        VERSION
    };
    static const struct option options[] = {
        {"data", required_argument, NULL, DATA},       {"listen", required_argument, NULL, LISTEN},
        {"region", required_argument, NULL, REGION},   {"accounts", required_argument, NULL, ACCOUNTS},
        {"shared", required_argument, NULL, SHARED},   {"root-key", required_argument, NULL, ROOT_KEY},
        {"day-seconds", required_argument, NULL, DAY}, {"tls-cert", required_argument, NULL, CERT},
        {"tls-key", required_argument, NULL, KEY},     {"fault-socket", required_argument, NULL, FAULTS},
        {"log-level", required_argument, NULL, LEVEL}, {"die-with-parent", no_argument, NULL, DIE},
        {"debuggable", no_argument, NULL, DEBUGGABLE}, {"help", no_argument, NULL, HELP},
        {"version", no_argument, NULL, VERSION},       {NULL, 0, NULL, 0},
    };
    pid_t parent = getppid();
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case DATA:
            s->store.data_dir = optarg;
            break;
        case LISTEN:
            read_listen(optarg, s);
            break;
        case REGION:
            s->store.region = optarg;
            break;
        case ACCOUNTS:
            s->accounts = optarg;
            break;
        case SHARED:
            s->store.shared_dir = optarg;
            break;
        case ROOT_KEY:
            s->store.root_key_file = optarg;
            break;
        case DAY:
            s->store.day_ms = read_day(optarg);
            break;
        case CERT:
            s->tls_cert = optarg;
            break;
        case KEY:
            s->tls_key = optarg;
            break;
        case FAULTS:
            s->fault_socket = optarg;
            break;
        case LEVEL:
            s->log_level = read_level(optarg);
            break;
        case DIE:
            s->dies_with = parent;
            break;
        case DEBUGGABLE:
            s->debuggable = true;
            break;
        case HELP:
            fputs(help, stdout);
            exit(0);
        case VERSION:
            puts("lockset-kms " LOCKSET_VERSION);
            exit(0);
        default:
            fputs("Try: lockset-kms --help\n", stderr);
            exit(EXIT_USAGE);
        }
    }
    if (optind < argc) usage_error("'%s' is not an option", argv[optind]);
    check_settings(s);
}

static struct result load_accounts(const struct settings *s, const char *partition, struct kmsd_accounts *ret) {
    if (s->accounts != NULL) return kmsd_accounts_load(s->accounts, partition, ret);
    AUTO_FREE char *path = str_format("%s/accounts.json", s->store.data_dir);
    struct result r = kmsd_accounts_load(path, partition, ret);
    if (r.code != ERR_NOT_FOUND) return r;
    TRY(kmsd_accounts_create(path, partition));
    log_info("accounts.created", KV("file", path));
    return kmsd_accounts_load(path, partition, ret);
}

/* Ends when told to; meanwhile deletes what is due. */
static void wait_for_signal(struct kmsd_store *store, const sigset_t *signals) {
    struct timespec second = {.tv_sec = 1};
    while (sigtimedwait(signals, NULL, &second) < 0)
        kmsd_store_sweep(store, clock_unix_ms());
}

static struct result serve(const struct settings *s, struct kmsd_service *service, const sigset_t *signals) {
    BUF_AUTO(cert, 1 << 20);
    AUTO(buf_done) struct buf key;
    buf_init_wiping(&key, 1 << 20);
    struct http_server_options options = {0};
    kmsd_service_options(service, &options);
    if (s->tls_cert != NULL) {
        TRY(file_read(s->tls_cert, 1 << 20, &cert));
        TRY(file_read(s->tls_key, 1 << 20, &key));
        options.tls_cert_pem = buf_str(&cert);
        options.tls_key_pem = buf_str(&key);
    }
    unsigned port = 0;
    TRY(http_listen_tcp(s->host, s->port, &options.listen_fd, &port));
    struct http_server *server = NULL;
    struct kmsd_fault_socket *faults = NULL;
    if (s->fault_socket != NULL) TRY(kmsd_fault_socket_start(s->fault_socket, service->faults, &faults));
    struct result started = http_server_start(&options, &server);
    if (is_err(started)) {
        kmsd_fault_socket_stop(faults);
        return started;
    }
    printf("ready: %s://%s%s%s:%u region=%s\n", s->tls_cert != NULL ? "https" : "http", s->host_is_v6 ? "[" : "",
           s->host, s->host_is_v6 ? "]" : "", port, s->store.region);
    fflush(stdout);
    wait_for_signal(service->store, signals);
    http_server_stop(server, true);
    kmsd_fault_socket_stop(faults);
    return OK;
}

static struct result run(const struct settings *s) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); // before any thread: only the main one takes them
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); // a file that may not grow fails one call, not all
    json_start_wiping();
    TRY(secret_start(SECRET_HEAP_BYTES, s->debuggable));
    struct kmsd_service service = {0};
    AUTO(kmsd_accounts_done) struct kmsd_accounts accounts = {0};
    TRY(file_make_dirs(s->store.data_dir));
    TRY(load_accounts(s, arn_partition_of_region(slice_str(s->store.region)), &accounts));
    service.accounts = &accounts;
    TRY(kmsd_store_open(&s->store, &service.store));
    if (s->fault_socket != NULL) service.faults = kmsd_faults_new();
    struct result r = serve(s, &service, &signals);
    kmsd_faults_free(service.faults);
    kmsd_store_close(service.store);
    return r;
}

int main(int argc, char **argv) {
    struct settings s = {.store = {.region = "us-west-2"}, .log_level = LOG_INFO};
    read_arguments(argc, argv, &s);
    if (s.dies_with != 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != s.dies_with) return 1; // it went away before the kernel was told
    }
    log_start("lockset-kms", s.log_level);
    struct result r = run(&s);
    if (is_err(r)) fprintf(stderr, "lockset-kms: %s\n", err_detail());
    mem_free(s.host);
    return is_ok(r) ? 0 : 1;
}
