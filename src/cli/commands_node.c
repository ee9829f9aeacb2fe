#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"
#include "config/config.h"
#include "supervisor/child.h"
#include "supervisor/supervisor.h"

/* --set KEY=VALUE, in order; --data is one of them. Keys are cut out of `storage`, which the caller frees. */
static struct result overrides(const struct args *a, struct config_override *ret, size_t *ret_count, char **storage) {
    size_t n = 0, used = 0;
    *storage = mem_alloc(ARGS_REPEAT_MAX * 128);
    const char *data = args_get(a, "--data");
    if (data) ret[n++] = (struct config_override){"data", data};
    for (size_t i = 0; i < a->given_count; i++) {
        if (strcmp(a->given[i].name, "--set") != 0) continue;
        const char *pair = a->given[i].value;
        size_t len = strcspn(pair, "=");
        CHECK(pair[len] == '=' && len > 0 && len < 128, ERR_INVALID, "--set wants KEY=VALUE, not '%.64s'", pair);
        char *key = *storage + used;
        mem_copy(key, pair, len);
        used += len + 1;
        ret[n++] = (struct config_override){key, pair + len + 1};
    }
    *ret_count = n;
    return OK;
}

static struct result run_node(const struct args *a, bool dev) {
    struct config_override list[ARGS_REPEAT_MAX + 1];
    AUTO_FREE char *storage = NULL;
    struct supervisor_options options = {.dev = dev, .config_file = args_get(a, "--config"), .overrides = list};
    TRY(overrides(a, list, &options.override_count, &storage));
    return supervisor_run(&options);
}

static struct result run_dev(const struct args *a) {
    return run_node(a, true);
}

static struct result run_serve(const struct args *a) {
    CHECK(args_has(a, "--config"), ERR_INVALID, "--config FILE is needed; docs/operations.md shows one");
    return run_node(a, false);
}

static struct result run_gateway(const struct args *a) {
    CHECK(args_has(a, "--config"), ERR_INVALID, "--config FILE is needed; docs/operations.md shows one");
    struct config_override list[ARGS_REPEAT_MAX + 2];
    AUTO_FREE char *storage = NULL;
    struct supervisor_options options = {
        .gateway_only = true, .config_file = args_get(a, "--config"), .overrides = list};
    TRY(overrides(a, list, &options.override_count, &storage));
    list[options.override_count++] = (struct config_override){"engine.enabled", "false"};
    return supervisor_run(&options);
}

static struct result run_devctl(const struct args *a) {
    const char *data = args_get(a, "--data");
    TRY(supervisor_control(data ? data : "lockset-data", a->positional[0], a->positional[1]));
    printf("%s: %s\n", a->positional[1], a->positional[0]);
    return OK;
}

/* The local KMS is a program of its own: it takes this one's place. */
static struct result run_kms(const struct args *a) {
    AUTO_FREE char *program = NULL;
    TRY(child_program("lockset-kms", &program));
    char *argv[2 + 2 * ARGS_REPEAT_MAX] = {program};
    size_t n = 1;
    for (size_t i = 0; i < a->given_count; i++) {
        argv[n++] = mem_unconst(a->given[i].name);
        argv[n++] = mem_unconst(a->given[i].value);
    }
    execv(program, argv);
    return err_from_errno(errno, "%s", program);
}

static struct result run_settings(const struct args *a) {
    BUF_AUTO(text, 1 << 16);
    config_describe(&text);
    TRY(buf_check(&text));
    fputs(buf_str(&text), stdout);
    return OK;
}

static struct result run_config_check(const struct args *a) {
    AUTO(config_free_auto) struct config *c = NULL;
    TRY(config_load(a->positional[0], NULL, 0, &c));
    printf("%s: valid, %zu region%s\n", a->positional[0], c->region_count, c->region_count == 1 ? "" : "s");
    return OK;
}

#define SET_OPTION                                                                                                     \
    { "--set", "KEY=VALUE", "override a setting; may be given several times", NULL }
#define END                                                                                                            \
    { NULL, NULL, NULL, NULL }

const struct command node_commands[] = {
    {"dev", "",
     "Everything on this machine: local KMS, directory store, embedded engine; for development, demos, tests.",
     (const struct args_option[]){
         {"--data", "DIR", "data folder; the same one can be stopped and started again", "./lockset-data"},
         {"--config", "FILE", "settings in YAML", NULL},
         SET_OPTION,
         END},
     true, run_dev},
    {"serve", "", "A production node.",
     (const struct args_option[]){{"--config", "FILE", "settings in YAML (needed)", NULL},
                                  {"--data", "DIR", "data folder", NULL},
                                  SET_OPTION,
                                  END},
     true, run_serve},
    {"gateway", "",
     "The encrypting S3 gateway alone: organizations, their keys, and a bucket for each; no engines, no collections.",
     (const struct args_option[]){{"--config", "FILE", "settings in YAML (needed)", NULL},
                                  {"--data", "DIR", "data folder", NULL},
                                  SET_OPTION,
                                  END},
     true, run_gateway},
    {"devctl", "ACTION PROCESS",
     "Stops, starts, freezes or thaws one process of a running node (kms.us-west-2, keyring, api, ...).",
     (const struct args_option[]){{"--data", "DIR", "data folder of the node", "./lockset-data"}, END}, true,
     run_devctl},
    {"kms", "", "The local KMS alone: AWS KMS's protocol on a local port.",
     (const struct args_option[]){{"--data", "DIR", "where keys are kept", NULL},
                                  {"--listen", "HOST:PORT", "address to serve on", NULL},
                                  {"--region", "REGION", "the region it is", "us-west-2"},
                                  {"--accounts", "FILE", "accounts and their access keys, JSON", NULL},
                                  {"--root-key", "FILE", "the key that wraps all others; made if absent", NULL},
                                  END},
     true, run_kms},
    {"config settings", "", "Lists every setting with default, range and meaning.", (const struct args_option[]){END},
     true, run_settings},
    {"config check", "FILE", "Checks a configuration file.", (const struct args_option[]){END}, true, run_config_check},
    {NULL, NULL, NULL, NULL, false, NULL},
};
