#include "cli/args.h"

#include <stdio.h>
#include <string.h>

#include "base/secret.h"

static const struct args_option common_options[] = {
    {"--data", "DIR", "data folder of a running `lockset dev`; address and token come from its dev.json", NULL},
    {"--api", "URL", "address of the API; or the environment variable LOCKSET_API", NULL},
    {"--region", "REGION", "with --data: the region to talk to", "the first"},
    {"--token", "TOKEN", "the operator's token; or LOCKSET_TOKEN", NULL},
    {"--api-key", "KEY", "an organization's API key; or LOCKSET_API_KEY", NULL},
    {"--json", NULL, "print the API's answer as JSON", NULL},
    {NULL, NULL, NULL, NULL},
};

static const struct args_option help_option[] = {{"--help", NULL, "show this help", NULL}, {NULL, NULL, NULL, NULL}};

static const struct args_option *find(const struct args_option *list, const char *name, size_t len) {
    for (; list && list->name; list++) {
        if (strlen(list->name) == len && !strncmp(list->name, name, len)) return list;
    }
    return NULL;
}

/* `except`: a list whose options are left out, because they were printed. */
static void print_options(const struct args_option *list, const struct args_option *except) {
    for (; list && list->name; list++) {
        if (find(except, list->name, strlen(list->name))) continue;
        AUTO_FREE char *left = str_format("%s%s%s", list->name, list->value ? " " : "", list->value ? list->value : "");
        printf("  %-24s %s%s%s%s\n", left, list->help, list->preset ? " (default: " : "",
               list->preset ? list->preset : "", list->preset ? ")" : "");
    }
}

static void print_help(const struct command *c) {
    printf("Usage: lockset %s%s%s [options]\n\n%s\n\nOptions:\n", c->name, c->positional[0] ? " " : "", c->positional,
           c->summary);
    print_options(c->options, NULL);
    if (!c->is_local) print_options(common_options, c->options);
    print_options(help_option, NULL);
}

static enum args_outcome complain(const struct command *c, const char *text, const char *what) {
    fprintf(stderr, "lockset %s: %s%s\nUsage: lockset %s%s%s [options]; --help shows the options\n", c->name, text,
            what, c->name, c->positional[0] ? " " : "", c->positional);
    return ARGS_USAGE;
}

static size_t words(const char *text, bool required_only) {
    size_t n = 0;
    for (const char *p = text; *p;) {
        bool optional = *p == '[';
        if (!optional || !required_only) n++;
        p += strcspn(p, " ");
        p += strspn(p, " ");
    }
    return n;
}

enum args_outcome args_parse(const struct command *c, int argc, char **argv, struct args *ret) {
    *ret = (struct args){0};
    bool only_words = false;
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        if (!only_words && !strcmp(word, "--")) {
            only_words = true;
            continue;
        }
        if (!only_words && (!strcmp(word, "--help") || !strcmp(word, "-h"))) {
            print_help(c);
            return ARGS_HELP;
        }
        if (only_words || word[0] != '-' || !word[1]) {
            if (ret->positional_count >= words(c->positional, false)) return complain(c, "unexpected word: ", word);
            ret->positional[ret->positional_count++] = word;
            continue;
        }
        size_t len = strcspn(word, "=");
        const struct args_option *option = find(c->options, word, len);
        if (!option && !c->is_local) option = find(common_options, word, len);
        if (!option) return complain(c, "unknown option ", word);
        if (ret->given_count == ARGS_REPEAT_MAX) return complain(c, "too many options at ", word);
        const char *value = "";
        if (option->value) {
            if (word[len] == '=') {
                value = word + len + 1;
            } else if (++i < argc) {
                value = argv[i];
            } else {
                return complain(c, "a value is missing after ", word);
            }
        } else if (word[len] == '=') {
            return complain(c, "takes no value: ", word);
        }
        ret->given[ret->given_count].name = option->name;
        ret->given[ret->given_count++].value = value;
    }
    if (ret->positional_count < words(c->positional, true)) return complain(c, "needs ", c->positional);
    return ARGS_OK;
}

const char *args_get(const struct args *a, const char *name) {
    for (size_t i = a->given_count; i > 0; i--) {
        if (!strcmp(a->given[i - 1].name, name)) return a->given[i - 1].value;
    }
    return NULL;
}

bool args_has(const struct args *a, const char *name) {
    return args_get(a, name) != NULL;
}

void args_wipe(const struct args *a, const char *name) {
    for (size_t i = 0; i < a->given_count; i++)
        if (!strcmp(a->given[i].name, name)) wipe(mem_unconst(a->given[i].value), strlen(a->given[i].value));
}
