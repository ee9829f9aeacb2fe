/* Policy variables. Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html */
#include <string.h>

#include "kms/match.h"
#include "kms/policy_model.h"

/* One "${...}": what stands inside. at points behind "${"; NULL: never closed. */
struct variable {
    struct slice name, fallback;
    bool has_fallback;
    const char *end; /* behind "}" */
};

static struct slice trim(struct slice s) {
    while (s.len > 0 && s.data[0] == ' ')
        s = slice_make(s.data + 1, s.len - 1);
    while (s.len > 0 && s.data[s.len - 1] == ' ')
        s.len--;
    return s;
}

static bool read_variable(const char *at, struct variable *ret) {
    const char *close = strchr(at, '}');
    if (close == NULL) return false;
    struct slice name, rest;
    *ret = (struct variable){.end = close + 1};
    ret->has_fallback = slice_cut(slice_make(at, (size_t)(close - at)), ',', &name, &rest);
    ret->name = trim(name);
    if (ret->name.len == 0) return false;
    if (!ret->has_fallback) return true;
    rest = trim(rest);
    if (rest.len < 2 || rest.data[0] != '\'' || rest.data[rest.len - 1] != '\'') return false;
    ret->fallback = slice_make(rest.data + 1, rest.len - 2);
    return true;
}

bool kmsd_variables_are_well_formed(const char *text) {
    struct variable v;
    for (const char *at = strstr(text, "${"); at != NULL; at = strstr(v.end, "${"))
        if (!read_variable(at + 2, &v)) return false;
    return true;
}

static void append_literal(struct slice text, bool as_pattern, struct buf *out) {
    for (size_t i = 0; i < text.len; i++) {
        if (as_pattern && (text.data[i] == '*' || text.data[i] == '?')) buf_append_byte(out, KMSD_MATCH_LITERAL);
        buf_append_byte(out, text.data[i]);
    }
}

static enum kmsd_truth append_variable(const struct variable *v, const struct kmsd_facts *facts, bool as_pattern,
                                       struct buf *out) {
    if (slice_is(v->name, "*") || slice_is(v->name, "?") || slice_is(v->name, "$")) {
        append_literal(v->name, as_pattern, out);
        return KMSD_YES;
    }
    AUTO_FREE char *name = slice_to_str(v->name);
    const struct kmsd_fact *fact = kmsd_facts_find(facts, name);
    if (fact != NULL && fact->certainty != KMSD_KNOWN) return KMSD_UNKNOWN;
    if (fact == NULL && !v->has_fallback) return KMSD_NO;
    append_literal(fact != NULL ? slice_str(fact->value) : v->fallback, as_pattern, out);
    return KMSD_YES;
}

enum kmsd_truth kmsd_variables_replace(const char *text, const struct kmsd_facts *facts, bool as_pattern, char **ret) {
    BUF_AUTO(out, (size_t)1 << 20);
    struct variable v;
    const char *rest = text;
    for (const char *at = strstr(rest, "${"); at != NULL && read_variable(at + 2, &v); at = strstr(rest, "${")) {
        buf_append(&out, rest, (size_t)(at - rest));
        enum kmsd_truth had = append_variable(&v, facts, as_pattern, &out);
        if (had != KMSD_YES) return had;
        rest = v.end;
    }
    buf_append_str(&out, rest);
    if (is_err(buf_check(&out))) return KMSD_NO;
    *ret = str_dup(buf_str(&out));
    return KMSD_YES;
}
