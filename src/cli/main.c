#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/secret.h"
#include "cli/client.h"
#include "cli/commands.h"

static const struct command *const tables[] = {
    node_commands,   admin_commands, data_commands,  s3_commands,
    source_commands, audit_commands, drill_commands, store_commands,
};
static const char *const titles[] = {"Run", "Operate", "Use", "S3", "Connect", "Prove", "Drill", "Check"};

static void print_help(void) {
    printf(
        "lockset " LOCKSET_VERSION
        ": a real-time analytics database whose tenants hold the encryption key\n\nUsage: lockset COMMAND [options]\n");
    for (size_t t = 0; t < ARRAY_LEN(tables); t++) {
        printf("\n%s:\n", titles[t]);
        for (const struct command *c = tables[t]; c->name; c++) {
            AUTO_FREE char *left = str_format("%s %s", c->name, c->positional);
            const char *end = strstr(c->summary, ". ");
            size_t len = end ? (size_t)(end - c->summary) : strlen(c->summary) - 1; /* without the full stop */
            printf("  %-34s %.*s\n", left, (int)len, c->summary);
        }
    }
    printf("\n`lockset COMMAND --help` tells more. Exit codes: 0 done, 1 failed, 2 wrong usage.\n");
}

/* How many of argv's words are the command's name; 0: another command. */
static int matches(const struct command *c, int argc, char **argv) {
    char name[64];
    snprintf(name, sizeof(name), "%s", c->name);
    int words = 0;
    for (char *save = NULL, *word = strtok_r(name, " ", &save); word; word = strtok_r(NULL, " ", &save), words++) {
        if (words >= argc || strcmp(argv[words], word) != 0) return 0;
    }
    return words;
}

static int run(const struct command *c, int argc, char **argv) {
    struct args args;
    switch (args_parse(c, argc, argv, &args)) {
    case ARGS_HELP:
        return EXIT_DONE;
    case ARGS_USAGE:
        return EXIT_USAGE;
    case ARGS_OK:
        break;
    }
    struct result r = c->run(&args);
    fflush(stdout);
    if (is_ok(r)) return EXIT_DONE;
    const char *whole = r.code == ERR_PEER ? client_failure() : NULL;
    fprintf(stderr, "lockset %s: %s\n", c->name, whole ? whole : err_detail());
    return r.code == ERR_INVALID ? EXIT_USAGE : EXIT_FAILED;
}

static int list_group(const char *group) {
    size_t len = strlen(group);
    bool found = false;
    for (size_t t = 0; t < ARRAY_LEN(tables); t++) {
        for (const struct command *c = tables[t]; c->name; c++) {
            if (strncmp(c->name, group, len) != 0 || c->name[len] != ' ') continue;
            if (!found) printf("Commands of `lockset %s`:\n", group);
            found = true;
            printf("  lockset %s%s%s\n", c->name, c->positional[0] ? " " : "", c->positional);
        }
    }
    return found;
}

static int unknown(int argc, char **argv) {
    bool has_second = argc > 1 && argv[1][0] != '-';
    fprintf(stderr, "lockset: unknown command '%s%s%s'; `lockset --help` lists what there is\n", argv[0],
            has_second ? " " : "", has_second ? argv[1] : "");
    return EXIT_USAGE;
}

/* `lockset help query`, `lockset help org create`, `lockset help org`. */
static int help_about(int argc, char **argv) {
    static char help[] = "--help";
    for (size_t t = 0; t < ARRAY_LEN(tables); t++) {
        for (const struct command *c = tables[t]; c->name; c++) {
            if (matches(c, argc, argv) > 0) return run(c, 1, (char *[]){help});
        }
    }
    return list_group(argv[0]) ? EXIT_DONE : unknown(argc, argv);
}

int main(int argc, char **argv) {
    log_start("lockset", LOG_INFO);
    if (argc > 2 && !strcmp(argv[1], "help")) return help_about(argc - 2, argv + 2);
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        print_help();
        return argc < 2 ? EXIT_USAGE : EXIT_DONE;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("lockset " LOCKSET_VERSION "\n");
        return EXIT_DONE;
    }
    if (is_err(secret_start(1 << 20, false))) {
        fprintf(stderr, "lockset: %s\n", err_detail());
        return EXIT_FAILED;
    }
    for (size_t t = 0; t < ARRAY_LEN(tables); t++) {
        for (const struct command *c = tables[t]; c->name; c++) {
            int words = matches(c, argc - 1, argv + 1);
            if (words > 0) return run(c, argc - 1 - words, argv + 1 + words);
        }
    }
    bool wants_help = argc > 2 && !strcmp(argv[2], "--help");
    if ((argc == 2 || wants_help) && list_group(argv[1])) return wants_help ? EXIT_DONE : EXIT_USAGE;
    return unknown(argc - 1, argv + 1);
}
