/* lockset-front --config FILE --region NAME: the door for S3 clients of one region (front.h). Descriptor 3 is its
 * listening socket. Says "ready:" on stdout once it serves. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "front/front.h"

enum { LISTEN_FD = 3, MAX_PEM_BYTES = 1024 * 1024, FILES = 4096 };

static struct result read_arguments(int count, char **words, const char **ret_config, const char **ret_region) {
    for (int i = 1; i + 1 < count; i += 2) {
        if (strcmp(words[i], "--config") == 0) *ret_config = words[i + 1];
        if (strcmp(words[i], "--region") == 0) *ret_region = words[i + 1];
    }
    CHECK(count == 5 && *ret_config && *ret_region, ERR_INVALID, "usage: lockset-front --config FILE --region NAME");
    return OK;
}

static struct result open_tls(const struct config *c, struct tls_server **ret) {
    if (!c->gateway_tls_cert) return OK;
    BUF_AUTO(cert, MAX_PEM_BYTES);
    AUTO(buf_done) struct buf key;
    buf_init_wiping(&key, MAX_PEM_BYTES);
    TRY(file_read(c->gateway_tls_cert, MAX_PEM_BYTES, &cert));
    TRY(file_read(c->gateway_tls_key, MAX_PEM_BYTES, &key));
    return tls_server_new(buf_str(&cert), buf_str(&key), ret);
}

/* Two descriptors for each connection. */
static void allow_files(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= FILES) return;
    limit.rlim_cur = limit.rlim_max < FILES ? limit.rlim_max : FILES;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* with fewer, fewer are served */
}

static struct result run(const char *config_file, const char *region) {
    struct config *config; /* all of it to the end of the process */
    struct front_options o = {.region = region, .listen_fd = LISTEN_FD};
    struct tls_server *tls = NULL;
    TRY(config_load(config_file, NULL, 0, &config));
    CHECK(config_find_region(config, region), ERR_INVALID, "the settings have no region '%s'", region);
    o.config = config;
    AUTO_FREE char *registry = str_format("%s/registry.db", config->data);
    AUTO_FREE char *keyring = str_format("%s/run/keyring.sock", config->data);
    TRY(registry_open(registry, &o.registry));
    TRY(open_tls(config, &tls));
    o.tls = tls;
    TRY(keylink_new(keyring, region, &o.keylink));
    static const struct timespec moment = {.tv_nsec = 20 * 1000 * 1000};
    while (!keylink_is_connected(o.keylink))
        nanosleep(&moment, NULL);
    TRY(front_start(&o));
    log_info("front.serving", KV("region", region));
    printf("ready: %s\n", region);
    fflush(stdout);
    for (;;)
        pause(); /* SIGTERM ends it: what was acknowledged is in the store */
}

int main(int count, char **words) {
    mem_start_frugal();
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_DUMPABLE, 0);
    allow_files();
    log_start("lockset-front", LOG_INFO);
    const char *config = NULL, *region = NULL;
    struct result r = read_arguments(count, words, &config, &region);
    if (is_ok(r)) r = run(config, region);
    log_error("front.failed", KV("code", err_name(r.code)), KV("detail", err_detail()));
    return r.code == ERR_INVALID ? 2 : 1;
}
