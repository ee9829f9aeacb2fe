#include "lifecycle/sql_text.h"

#include <string.h>
#include <strings.h>

#include "lifecycle/sql_value.h"

enum { MAX_DEPTH = 64, MAX_CTES = 64 };

/* Where the walk over the tokens stands. */
struct walk {
    struct sql_text *out;
    const json_t *parameters;
    int64_t row_limit;
    struct slice previous; /* token that was no space */
    enum sql_token_kind previous_kind;
    int parens, braces;
    int leading;         /* parentheses that stand before the first SELECT and are still open: "(SELECT 1)" */
    bool in_select_list; /* of the outermost SELECT */
    bool seen_ternary, seen_limit, seen_settings, is_compound, is_select, has_begun;
    bool expects_table;          /* right behind FROM, JOIN, or a comma between tables */
    bool in_from[MAX_DEPTH];     /* per depth of parentheses: a comma separates tables */
    bool has_select[MAX_DEPTH];  /* a query, not arguments such as EXTRACT(YEAR FROM t) */
    bool ended;                  /* behind a final ';' */
    struct slice ctes[MAX_CTES]; /* names that WITH gives: they are no collections */
    size_t cte_count;
};

void sql_text_done(struct sql_text *s) {
    buf_done(&s->text);
    for (size_t i = 0; i < s->param_count; i++)
        buf_done(&s->params[i].value);
    mem_free(s->params);
    mem_free(s->origins);
    for (size_t i = 0; i < s->table_count; i++) {
        mem_free(s->tables[i].workspace);
        mem_free(s->tables[i].name);
    }
    *s = (struct sql_text){0};
}

static bool is_word(struct slice text, const char *word) {
    return text.len == strlen(word) && strncasecmp((const char *)text.data, word, text.len) == 0;
}

static bool is_any(struct slice text, const char *const words[]) {
    for (size_t i = 0; words[i]; i++)
        if (is_word(text, words[i])) return true;
    return false;
}

static const json_t *find_parameter(const json_t *parameters, const char *name) {
    size_t i;
    json_t *p;
    json_array_foreach(parameters, i, p) {
        const char *own = json_string_value(json_object_get(p, "name"));
        if (own && strcmp(own, name) == 0) return p;
    }
    return NULL;
}

static struct result put_param(struct walk *w, struct slice token) {
    BUF_AUTO(name, SQL_MAX_BYTES);
    sql_token_name(token, &name);
    const json_t *p = find_parameter(w->parameters, buf_str(&name));
    if (!p && w->seen_ternary && token.data[1] != '"') {
        buf_append_slice(&w->out->text, token); /* a ? b :c */
        return OK;
    }
    CHECK(p, ERR_INVALID, "the SQL uses :%.60s, but 'parameters' holds no such name", buf_str(&name));
    return sql_value_put(p, w->out);
}

/* The token behind white space; its kind is SQL_SPACE at the end of the text. */
static struct sql_token next_token(struct slice sql, size_t *at) {
    struct sql_token t = {SQL_SPACE, {0}};
    while (sql_next_token(sql, at, &t))
        if (t.kind != SQL_SPACE) return t;
    return (struct sql_token){SQL_SPACE, {0}};
}

static bool is_name(struct sql_token t) {
    return t.kind == SQL_WORD || t.kind == SQL_QUOTED_NAME;
}

static int depth_of(const struct walk *w) {
    return w->parens < 0 ? 0 : w->parens < MAX_DEPTH ? w->parens : MAX_DEPTH - 1;
}

/* Names given by `name AS (`. */
static void find_ctes(struct walk *w, struct slice sql) {
    size_t at = 0;
    struct sql_token a = next_token(sql, &at), b = next_token(sql, &at), c;
    while ((c = next_token(sql, &at)).text.len) {
        if (is_name(a) && is_word(b.text, "AS") && slice_is(c.text, "(") && w->cte_count < MAX_CTES)
            w->ctes[w->cte_count++] = a.text;
        a = b;
        b = c;
    }
}

static bool is_cte(const struct walk *w, const char *name) {
    for (size_t i = 0; i < w->cte_count; i++) {
        BUF_AUTO(cte, SQL_MAX_BYTES);
        sql_token_name(w->ctes[i], &cte);
        if (strcmp(buf_str(&cte), name) == 0) return true;
    }
    return false;
}

/* A name where a table belongs, `at` behind it: "name" alone means commons.name, unless it is a function or was given
 * by WITH. */
static void see_table(struct walk *w, struct slice sql, size_t at, const char *name) {
    struct sql_token next = next_token(sql, &at), second = {0};
    bool is_qualified = slice_is(next.text, ".");
    if (slice_is(next.text, "(") || (!is_qualified && is_cte(w, name))) return;
    BUF_AUTO(two, SQL_MAX_BYTES);
    if (is_qualified) {
        second = next_token(sql, &at);
        if (!is_name(second)) return;
        sql_token_name(second.text, &two);
    } else {
        buf_append_str(&w->out->text, "commons.");
    }
    if (w->out->table_count == SQL_MAX_TABLES) return;
    w->out->tables[w->out->table_count++] =
        (struct sql_table){str_dup(is_qualified ? name : "commons"), str_dup(is_qualified ? buf_str(&two) : name)};
}

/* HINT ( ... ): `at` behind the word; behind the closing parenthesis, or unchanged if none opens. */
static size_t skip_hint(struct slice sql, size_t at) {
    struct sql_token t;
    size_t look = at;
    int depth = 0;
    while (sql_next_token(sql, &look, &t)) {
        if (t.kind == SQL_SPACE) continue;
        if (slice_is(t.text, "("))
            depth++;
        else if (slice_is(t.text, ")"))
            depth--;
        else if (depth == 0)
            return at;
        if (depth <= 0) return depth == 0 ? look : at;
    }
    return at;
}

static bool follows_table(const struct walk *w) {
    return w->previous_kind == SQL_WORD || w->previous_kind == SQL_QUOTED_NAME || slice_is(w->previous, ")");
}

static bool is_outer(const struct walk *w) {
    return w->parens <= w->leading;
}

static void see_star(struct walk *w) {
    static const char *const before[] = {"SELECT", "DISTINCT", "ALL", ",", ".", NULL};
    if (w->in_select_list && is_outer(w) && is_any(w->previous, before)) w->out->is_star = true;
}

static void see_punctuation(struct walk *w, struct slice text) {
    switch (text.data[0]) {
    case '(':
        w->parens++;
        if (!w->has_begun) w->leading++;
        w->in_from[depth_of(w)] = w->has_select[depth_of(w)] = false;
        break;
    case ')':
        w->in_from[depth_of(w)] = w->has_select[depth_of(w)] = false;
        w->parens--;
        if (w->leading > w->parens) w->leading = w->parens;
        break;
    case '{':
        w->braces++;
        break;
    case '}':
        w->braces--;
        break;
    case '?':
        w->seen_ternary = true;
        break;
    case '*':
        see_star(w);
        break;
    case ',':
        if (w->in_from[depth_of(w)]) w->expects_table = true;
        return;
    default:
        break;
    }
    w->expects_table = false;
}

/* LIMIT and FETCH where they can be keywords (a column may be named so), and LIMIT n BY x, which is no limit of rows.
 */
static void see_limit(struct walk *w, struct slice word) {
    static const char *const before_expression[] = {"SELECT", "DISTINCT", "AS",   "BY",   "WHERE", "PREWHERE",
                                                    "HAVING", "AND",      "OR",   "NOT",  "ON",    "THEN",
                                                    "ELSE",   "WHEN",     "CASE", "LIKE", "IN",    NULL};
    static const char *const before_by[] = {"ORDER", "GROUP", "PARTITION", NULL};
    bool closes = slice_is(w->previous, ")") || slice_is(w->previous, "]") || slice_is(w->previous, "*");
    bool is_behind_value = closes || w->previous_kind != SQL_PUNCTUATION;
    bool is_keyword = is_behind_value && !is_any(w->previous, before_expression);
    if (is_keyword && (is_word(word, "LIMIT") || is_word(word, "FETCH"))) w->seen_limit = true;
    if (is_word(word, "BY") && !is_any(w->previous, before_by)) w->seen_limit = false;
}

static void see_word(struct walk *w, struct slice word) {
    static const char *const ends_from[] = {"WHERE",    "GROUP",  "ORDER",   "HAVING", "LIMIT",  "UNION",
                                            "PREWHERE", "SELECT", "QUALIFY", "WINDOW", "EXCEPT", "INTERSECT",
                                            "SETTINGS", "ON",     "USING",   NULL};
    static const char *const compounds[] = {"UNION", "EXCEPT", "INTERSECT", NULL};
    bool outer = is_outer(w) && !slice_is(w->previous, ".");
    bool is_first = !w->has_begun;
    w->has_begun = true;
    if (is_first && w->parens > 0) w->is_compound = true; /* a limit can't be appended */
    if (is_first) w->is_select = is_word(word, "SELECT") || is_word(word, "WITH") || is_word(word, "FROM");
    if (slice_is(w->previous, ".")) return;
    bool *in_from = &w->in_from[depth_of(w)], *has_select = &w->has_select[depth_of(w)];
    if (is_word(word, "SELECT")) *has_select = true;
    if (is_first && (is_word(word, "DESCRIBE") || is_word(word, "DESC"))) w->expects_table = true;
    if (w->expects_table && is_word(word, "TABLE")) return;
    bool begins_query = is_first || slice_is(w->previous, "(") || *has_select;
    bool is_from = is_word(word, "FROM") && begins_query && !is_word(w->previous, "DISTINCT");
    if (is_from || (is_word(word, "JOIN") && *in_from)) {
        w->expects_table = true;
        *in_from = true;
        if (outer) w->in_select_list = false;
        return;
    }
    if (is_any(word, ends_from)) *in_from = false;
    if (!is_first) w->expects_table = false;
    if (!outer) return;
    if (is_word(word, "SELECT")) w->in_select_list = true;
    see_limit(w, word);
    if (is_word(word, "SETTINGS") || is_word(word, "FORMAT") || is_word(word, "OFFSET")) w->seen_settings = true;
    /* SELECT * EXCEPT (...) is no compound, SELECT 1 EXCEPT SELECT 2 is. */
    bool is_modifier = is_word(word, "EXCEPT") && slice_is(w->previous, "*");
    if (is_any(word, compounds) && !is_modifier) w->is_compound = true;
}

static struct result see_name(struct walk *w, struct slice sql, size_t at, struct sql_token t) {
    static const char *const before_table[] = {"TABLE", "SELECT", "FINAL", "ONLY", NULL};
    BUF_AUTO(name, SQL_MAX_BYTES);
    sql_token_name(t.text, &name);
    CHECK(!is_word(buf_slice(&name), "lockset_data"), ERR_INVALID, "the database lockset_data is the server's own");
    bool is_keyword = t.kind == SQL_WORD && is_any(t.text, before_table);
    if (w->expects_table && !is_keyword) {
        see_table(w, sql, at, buf_str(&name));
        w->expects_table = false;
        return OK;
    }
    if (t.kind == SQL_WORD) see_word(w, t.text);
    return OK;
}

/* What is written next comes from this offset of the tenant's text. */
static void note_origin(struct sql_text *s, size_t in) {
    const struct sql_origin *last = s->origin_count ? &s->origins[s->origin_count - 1] : NULL;
    size_t out = s->text.len;
    if (last && out - last->out == in - last->in) return;
    if (!s->origins || s->origin_count == s->origin_capacity) {
        s->origin_capacity = s->origin_capacity ? s->origin_capacity * 2 : 16;
        s->origins = mem_resize(s->origins, s->origin_capacity * sizeof *s->origins);
    }
    s->origins[s->origin_count++] = (struct sql_origin){out, in};
}

size_t sql_text_origin(const struct sql_text *s, size_t offset) {
    size_t i = s->origin_count;
    while (i > 0 && s->origins[i - 1].out > offset)
        i--;
    if (i == 0) return 0;
    size_t in = s->origins[i - 1].in + (offset - s->origins[i - 1].out);
    /* Within what took the place of something shorter. */
    return i < s->origin_count && in > s->origins[i].in ? s->origins[i].in : in;
}

/* One token; it may take more from the text (HINT). */
static struct result take_token(struct walk *w, struct slice sql, size_t *at, struct sql_token t) {
    struct buf *out = &w->out->text;
    if (t.kind == SQL_SPACE) {
        buf_append_slice(out, t.text);
        return OK;
    }
    CHECK(!w->ended, ERR_INVALID, "one statement at a time: something stands behind the ';'");
    if (t.kind == SQL_PUNCTUATION && t.text.data[0] == ';') {
        w->ended = true;
        return OK;
    }
    if (t.kind == SQL_PARAM) {
        /* Inside braces stands ClickHouse's own {name:Type} or a map. */
        if (w->braces > 0)
            buf_append_slice(out, t.text);
        else
            TRY(put_param(w, t.text));
    } else if (t.kind == SQL_WORD && is_word(t.text, "HINT") && follows_table(w) && skip_hint(sql, *at) != *at) {
        *at = skip_hint(sql, *at);
        buf_append_byte(out, ' ');
    } else {
        if (t.kind == SQL_PUNCTUATION) see_punctuation(w, t.text);
        if (t.kind == SQL_WORD || t.kind == SQL_QUOTED_NAME) TRY(see_name(w, sql, *at, t));
        note_origin(w->out, (size_t)(t.text.data - sql.data)); /* "commons." may stand before it now */
        buf_append_slice(out, t.text);
    }
    w->previous = t.text;
    w->previous_kind = t.kind;
    return OK;
}

/* At the end of a simple SELECT a limit can be appended; others are wrapped. */
static void add_limit(struct walk *w) {
    if (w->row_limit <= 0 || w->seen_limit || !w->is_select) return;
    struct buf *out = &w->out->text;
    if (!w->is_compound && !w->seen_settings) {
        buf_printf(out, "\nLIMIT %lld", (long long)w->row_limit);
        return;
    }
    BUF_AUTO(inner, SQL_MAX_BYTES * 2);
    buf_append_slice(&inner, buf_slice(out));
    buf_clear(out);
    buf_append_str(out, "SELECT * FROM (\n");
    for (size_t i = 0; i < w->out->origin_count; i++)
        w->out->origins[i].out += out->len;
    buf_append_slice(out, buf_slice(&inner));
    buf_printf(out, "\n) LIMIT %lld", (long long)w->row_limit);
}

static struct result prepare(struct walk *w, struct slice sql) {
    find_ctes(w, sql);
    struct sql_token t;
    size_t at = 0;
    while (sql_next_token(sql, &at, &t)) {
        note_origin(w->out, (size_t)(t.text.data - sql.data));
        TRY(take_token(w, sql, &at, t));
    }
    CHECK(w->previous.len > 0, ERR_INVALID, "the SQL is empty");
    add_limit(w);
    CHECK(is_ok(buf_check(&w->out->text)), ERR_TOO_LARGE, "the SQL is too long");
    return OK;
}

struct result sql_text_prepare(struct slice sql, const json_t *parameters, int64_t row_limit, struct sql_text *ret) {
    CHECK(sql.len <= SQL_MAX_BYTES, ERR_TOO_LARGE, "the SQL is over %d bytes", SQL_MAX_BYTES);
    CHECK(!slice_has_nul(sql), ERR_INVALID, "the SQL holds the character U+0000");
    TRY(sql_value_check(parameters));
    AUTO(sql_text_done) struct sql_text text = {0};
    buf_init_wiping(&text.text, SQL_MAX_BYTES * 2);
    text.params = mem_alloc_array(SQL_MAX_PARAMS, sizeof *text.params);
    struct walk w = {.out = &text, .parameters = parameters, .row_limit = row_limit};
    TRY(prepare(&w, sql));
    *ret = text;
    text = (struct sql_text){0};
    return OK;
}
