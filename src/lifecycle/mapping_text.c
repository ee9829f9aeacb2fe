#include <string.h>
#include <strings.h>

#include "lifecycle/mapping.h"
#include "lifecycle/sql_text.h"

enum { MAX_TOKENS = 20000 };

struct tokens {
    struct sql_token *items; /* without white space */
    size_t *ends;            /* where each ends in the text */
    int *depths;             /* parentheses around it */
    size_t count;
};

static void tokens_done(struct tokens *t) {
    mem_free(t->items);
    mem_free(t->ends);
    mem_free(t->depths);
}

static struct result read_tokens(struct slice sql, struct tokens *t) {
    t->items = mem_alloc_array(MAX_TOKENS, sizeof *t->items);
    t->ends = mem_alloc_array(MAX_TOKENS, sizeof *t->ends);
    t->depths = mem_alloc_array(MAX_TOKENS, sizeof *t->depths);
    size_t at = 0;
    int depth = 0;
    struct sql_token token;
    while (sql_next_token(sql, &at, &token)) {
        if (token.kind == SQL_SPACE) continue;
        CHECK(t->count < MAX_TOKENS, ERR_INVALID, "the field mapping has too many words");
        bool is_mark = token.kind == SQL_PUNCTUATION && token.text.len == 1;
        if (is_mark && token.text.data[0] == ')') depth--;
        t->items[t->count] = token;
        t->ends[t->count] = at;
        t->depths[t->count++] = depth;
        if (is_mark && token.text.data[0] == '(') depth++;
    }
    return OK;
}

static bool is_word(const struct tokens *t, size_t i, const char *word) {
    return i < t->count && t->items[i].kind == SQL_WORD && t->items[i].text.len == strlen(word) &&
           strncasecmp((const char *)t->items[i].text.data, word, strlen(word)) == 0;
}

static bool is_mark(const struct tokens *t, size_t i, const char *mark) {
    return i < t->count && t->items[i].kind == SQL_PUNCTUATION && slice_is(t->items[i].text, mark);
}

static bool is_name(const struct tokens *t, size_t i) {
    return i < t->count && (t->items[i].kind == SQL_WORD || t->items[i].kind == SQL_QUOTED_NAME);
}

/* ---- what a mapping can't be ---- */

static struct result check_word(const struct tokens *t, size_t i) {
    CHECK(!(is_word(t, i, "GROUP") && is_word(t, i + 1, "BY")), ERR_INVALID,
          "a field mapping with GROUP BY (a rollup) is not served: each row must come from one document");
    static const char *const refused[] = {"HAVING", "QUALIFY", "LIMIT",     "OFFSET",
                                          "FETCH",  "UNION",   "INTERSECT", "JOIN"};
    for (size_t k = 0; k < ARRAY_LEN(refused); k++) {
        bool is_array_join = is_word(t, i, "JOIN") && i > 0 && is_word(t, i - 1, "ARRAY");
        bool is_column = i > 0 && (is_mark(t, i - 1, ".") || is_mark(t, i - 1, ",") || is_word(t, i - 1, "SELECT"));
        CHECK(!is_word(t, i, refused[k]) || is_array_join || is_column, ERR_INVALID,
              "a field mapping with %s is not served: each row must come from one document of _input", refused[k]);
    }
    bool is_compound = is_word(t, i, "EXCEPT") && (is_word(t, i + 1, "SELECT") || is_word(t, i + 1, "ALL") ||
                                                   (is_mark(t, i + 1, "(") && is_word(t, i + 2, "SELECT")));
    CHECK(!is_compound, ERR_INVALID, "a field mapping with EXCEPT SELECT is not served");
    return OK;
}

/* The outermost SELECT. */
static struct result find_select(const struct tokens *t, size_t *ret) {
    size_t found = 0;
    for (size_t i = 0; i < t->count; i++) {
        if (t->depths[i] != 0) continue;
        TRY(check_word(t, i));
        if (!is_word(t, i, "SELECT") || (i > 0 && is_mark(t, i - 1, "."))) continue;
        CHECK(found++ == 0, ERR_INVALID, "a field mapping is one SELECT");
        *ret = i;
    }
    bool begins_well = is_word(t, 0, "SELECT") || is_word(t, 0, "WITH") || is_word(t, 0, "FROM");
    CHECK(found == 1 && begins_well, ERR_INVALID, "a field mapping is one SELECT ... FROM _input");
    CHECK(!is_word(t, *ret + 1, "DISTINCT") && !is_word(t, *ret + 1, "TOP"), ERR_INVALID,
          "a field mapping with SELECT DISTINCT or TOP is not served: each row must come from one document");
    return OK;
}

static struct result check_input(const struct tokens *t) {
    for (size_t i = 1; i < t->count; i++)
        if (is_word(t, i - 1, "FROM") && is_name(t, i) &&
            (slice_is(t->items[i].text, "_input") || slice_is(t->items[i].text, "\"_input\"") ||
             slice_is(t->items[i].text, "`_input`")))
            return OK;
    FAIL(ERR_INVALID, "a field mapping reads FROM _input");
}

/* Rockset's CLUSTER BY stands at the end, and says nothing about the documents. Neither does a last ';'. */
static size_t find_end(const struct tokens *t, struct slice sql) {
    for (size_t i = 1; i < t->count; i++) {
        bool is_cluster = is_word(t, i, "CLUSTER") && is_word(t, i + 1, "BY");
        if ((t->depths[i] == 0 && is_cluster) || is_mark(t, i, ";")) return t->ends[i - 1];
    }
    return sql.len;
}

static struct result check_tokens(const struct tokens *t) {
    CHECK(t->count > 0, ERR_INVALID, "the field mapping is empty");
    for (size_t i = 0; i < t->count; i++) {
        CHECK(t->items[i].kind != SQL_PARAM, ERR_INVALID, "a field mapping has no parameters: there is %.*s",
              (int)(t->items[i].text.len < 60 ? t->items[i].text.len : 60), (const char *)t->items[i].text.data);
        CHECK(!is_mark(t, i, ";") || i + 1 == t->count || is_mark(t, i + 1, ";"), ERR_INVALID,
              "a field mapping is one statement: something stands behind the ';'");
    }
    return OK;
}

/* ---- names ---- */

static void add_name(struct mapping_text *m, const char *name, bool is_object) {
    static const char *const given[] = {"_input", "_id", "_event_time", "__lockset_row"};
    for (size_t i = 0; i < ARRAY_LEN(given); i++)
        if (strcmp(name, given[i]) == 0) return;
    for (size_t i = 0; i < m->name_count; i++) {
        if (strcmp(m->names[i].name, name) != 0) continue;
        m->names[i].is_object |= is_object;
        return;
    }
    if (m->name_count == MAPPING_MAX_NAMES) return; /* the engine will say which it doesn't know */
    m->names = mem_resize(m->names, (m->name_count + 1) * sizeof *m->names);
    m->names[m->name_count++] = (struct mapping_name){str_dup(name), is_object};
}

/* Does the SQL give this name to _input: FROM _input AS i? */
static bool is_alias(const struct tokens *t, size_t i) {
    size_t before = i;
    if (before > 0 && is_word(t, before - 1, "AS")) before--;
    return before > 1 && slice_is(t->items[before - 1].text, "_input") && is_word(t, before - 2, "FROM");
}

static struct slice find_alias(const struct tokens *t) {
    static const char *const keywords[] = {"AS",    "WHERE", "PREWHERE", "ARRAY",   "LEFT",   "INNER",
                                           "ORDER", "FINAL", "SAMPLE",   "CLUSTER", "SELECT", "WINDOW"};
    for (size_t i = 0; i < t->count; i++) {
        bool is_keyword = false;
        for (size_t k = 0; k < ARRAY_LEN(keywords); k++)
            is_keyword |= is_word(t, i, keywords[k]);
        if (is_name(t, i) && !is_keyword && is_alias(t, i)) return t->items[i].text;
    }
    return (struct slice){0};
}

static void find_names(const struct tokens *t, struct mapping_text *m) {
    struct slice alias = find_alias(t);
    for (size_t i = 0; i < t->count; i++) {
        bool is_call = is_mark(t, i + 1, "(") && t->items[i].kind == SQL_WORD;
        bool is_table = alias.len && slice_equal(t->items[i].text, alias);
        if (!is_name(t, i) || is_call || is_table) continue;
        BUF_AUTO(name, SCHEMA_MAX_NAME_BYTES);
        sql_token_name(t->items[i].text, &name);
        bool good = name.len > 0 && !name.overflowed && !slice_has_nul(buf_slice(&name));
        if (good) add_name(m, buf_str(&name), is_mark(t, i + 1, ".") && is_name(t, i + 2));
    }
}

void mapping_text_done(struct mapping_text *m) {
    for (size_t i = 0; i < m->name_count; i++)
        mem_free(m->names[i].name);
    mem_free(m->names);
    mem_free(m->statement);
    *m = (struct mapping_text){0};
}

static struct result parse_plain(struct slice sql, struct mapping_text *m) {
    AUTO(tokens_done) struct tokens t = {0};
    size_t select = 0;
    TRY(read_tokens(sql, &t));
    TRY(check_tokens(&t));
    TRY(find_select(&t, &select));
    TRY(check_input(&t));
    size_t end = find_end(&t, sql), split = t.ends[select];
    m->statement = str_format("%.*s __lockset_row, %.*s", (int)split, (const char *)sql.data, (int)(end - split),
                              (const char *)sql.data + split);
    find_names(&t, m);
    return OK;
}

struct result mapping_text_parse(struct slice sql, struct mapping_text *ret) {
    CHECK(sql.len <= MAPPING_MAX_BYTES, ERR_INVALID, "a field mapping has at most %d KiB", MAPPING_MAX_BYTES / 1024);
    CHECK(!slice_has_nul(sql), ERR_INVALID, "the field mapping holds the character U+0000");
    AUTO(mapping_text_done) struct mapping_text m = {0};
    TRY(parse_plain(sql, &m));
    *ret = m;
    m = (struct mapping_text){0};
    return OK;
}
