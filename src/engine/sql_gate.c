#include "engine/sql_gate.h"

#include <string.h>

#include "engine/name_list.h"
#include "engine/sql_text.h"

struct sql_gate {
    struct name_list table_functions, system_tables;
};

/* Table functions that make rows from nothing, or wrap a query that is checked like the rest. `format` is here for the
 * scalar function of that name; as a table function readonly mode refuses it. */
static const char *const allowed_table_functions[] = {
    "numbers",         "numbers_mt",     "zeros",  "zeros_mt", "primes", "generateseries",
    "generate_series", "generaterandom", "values", "view",     "null",   "format",
};

static const char *const allowed_system_tables[] = {"one", "numbers", "numbers_mt", "zeros", "zeros_mt", "primes"};

/* Scalar functions that reach out of the rows: files, dictionaries, other tables by a string, the server's settings and
 * state, models, remote services. A '*' at the end stands for the rest of the name. */
static const char *const refused_functions[] = {
    "file",
    "filesystem*",
    "dict*",
    "joinget*",
    "hascolumnintable",
    "catboost*",
    "evalmlmethod",
    "naivebayes*",
    "ai*",
    "addressto*",
    "demangle",
    "logtrace",
    "trap",
    "tid",
    "ismergetree*",
    "mergetree*",
    "getserver*",
    "getmacro",
    "getmergetree*",
    "getclienthttp*",
    "getsetting*",
    "globalvariable",
    "showcertificate",
    "tcpport",
    "serveruuid",
    "zookeeper*",
    "generateserialid",
    "transaction*",
    "region*",
    "getmaxtablename*",
    "fqdn",
    "getoskernelversion",
    "buildid",
    "sleepeachrow",
    "authenticateduser",
    "__*",
    "eval",
    "lemmatize",
    "synonyms",
    "stem",
    "detectprogramming*",
    "fuzzquery",
    "hasthreadfuzzer",
    "structureto*",
    "executable*",
    "url",
    "remote*",
};

struct result sql_gate_new(struct slice table_functions, struct slice system_tables, struct sql_gate **ret) {
    struct sql_gate *g = mem_alloc(sizeof(*g));
    g->table_functions = name_list_make(table_functions);
    g->system_tables = name_list_make(system_tables);
    if (g->table_functions.count == 0 || g->system_tables.count == 0) {
        sql_gate_free(g);
        FAIL(ERR_INVALID, "the engine names no table functions or no system tables");
    }
    *ret = g;
    return OK;
}

struct sql_gate *sql_gate_free(struct sql_gate *g) {
    if (!g) return NULL;
    name_list_done(&g->table_functions);
    name_list_done(&g->system_tables);
    mem_free(g);
    return NULL;
}

static bool in_list(const char *lower, const char *const *list, size_t count) {
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(list[i]);
        bool prefix = list[i][n - 1] == '*';
        if (prefix ? strncmp(lower, list[i], n - 1) == 0 : strcmp(lower, list[i]) == 0) return true;
    }
    return false;
}

enum { MAX_DEPTH = 1000 };
enum { NAME_MAX_BYTES = 96 }; /* longer than any function's or system table's name */

/* The name in lower case; false if it is too long to be in any list. */
static bool lower_name(const struct sql_token *t, char ret[static NAME_MAX_BYTES + 1]) {
    if (t->text.len > NAME_MAX_BYTES) return false;
    for (size_t i = 0; i < t->text.len; i++) {
        uint8_t c = t->text.data[i];
        ret[i] = (char)(c >= 'A' && c <= 'Z' ? c | 32 : c);
    }
    ret[t->text.len] = 0;
    return true;
}

static bool function_is_refused(const struct sql_gate *g, const char *lower) {
    if (in_list(lower, refused_functions, ARRAY_LEN(refused_functions))) return true;
    return name_list_has(&g->table_functions, lower) &&
           !in_list(lower, allowed_table_functions, ARRAY_LEN(allowed_table_functions));
}

static bool starts_nocase(struct slice s, const char *prefix) {
    size_t n = strlen(prefix);
    return s.len >= n && strncasecmp((const char *)s.data, prefix, n) == 0;
}

/* Is the name at i called? `APPLY f`, `APPLY(f)` and `arrayMap(f, ...)` call a function by its bare name. */
static bool is_call(const struct sql_tokens *t, size_t i) {
    if (sql_is_mark(&t->items[i + 1], '(')) return true;
    if (i >= 2 && sql_is_mark(&t->items[i - 1], '(') && sql_is_name(&t->items[i - 2])) {
        struct slice caller = t->items[i - 2].text;
        if (starts_nocase(caller, "array") || starts_nocase(caller, "map")) return true;
    }
    size_t before = i;
    while (before > 0 && sql_is_mark(&t->items[before - 1], '(')) {
        before--;
    }
    return before > 0 && sql_is_word(&t->items[before - 1], "apply");
}

/* Lockset's own databases: hidden rows of the tables hold positions and credentials of data sources. */
static bool is_own_database(const char *lower) {
    return strcmp(lower, "lockset_data") == 0 || strncmp(lower, "lockset_input", strlen("lockset_input")) == 0;
}

static struct result check_name(const struct sql_gate *g, const struct sql_tokens *t, size_t i) {
    const struct sql_token *token = &t->items[i], *next = token + 1;
    char name[NAME_MAX_BYTES + 1];
    if (!lower_name(token, name)) return OK;
    bool behind_dot = i > 0 && sql_is_mark(token - 1, '.');
    if (is_call(t, i)) {
        CHECK(!function_is_refused(g, name), ERR_FORBIDDEN, "the function %s is not available in queries", name);
    }
    if (!behind_dot && sql_is_mark(next, '.') && sql_is_name(next + 1)) {
        CHECK(!is_own_database(name), ERR_FORBIDDEN,
              "%s is not available in queries: name collections by workspace and name", name);
        CHECK(strcmp(name, "information_schema") != 0, ERR_FORBIDDEN, "information_schema is not available in queries");
        char table[NAME_MAX_BYTES + 1];
        if (strcmp(name, "system") == 0 && lower_name(next + 1, table)) {
            CHECK(!name_list_has(&g->system_tables, table) ||
                      in_list(table, allowed_system_tables, ARRAY_LEN(allowed_system_tables)),
                  ERR_FORBIDDEN, "system.%s is not available in queries", table);
        }
    }
    return OK;
}

static struct result check_word(const struct sql_tokens *t, size_t i) {
    const struct sql_token *token = &t->items[i], *next = token + 1;
    if (token->kind != SQL_WORD) return OK;
    CHECK(!(sql_is_word(token, "into") && sql_is_word(next, "outfile")), ERR_FORBIDDEN,
          "INTO OUTFILE is not available in queries");
    if (next->kind == SQL_END) return OK;
    CHECK(!(sql_is_word(token, "settings") && sql_is_name(next) && sql_is_mark(next + 1, '=')), ERR_FORBIDDEN,
          "SETTINGS is not available in queries: limits are the service's");
    bool last = next[1].kind == SQL_END || sql_is_mark(next + 1, ';') || sql_is_word(next + 1, "settings");
    CHECK(!(sql_is_word(token, "format") && sql_is_name(next) && last), ERR_FORBIDDEN,
          "FORMAT is not available in queries: the request chooses the answer's format");
    return OK;
}

static struct result check_mark(const struct sql_tokens *t, size_t i) {
    const struct sql_token *token = &t->items[i];
    CHECK(!sql_is_mark(token, ';') || token[1].kind == SQL_END || sql_is_mark(token + 1, ';'), ERR_FORBIDDEN,
          "one statement a request");
    if (sql_is_mark(token, '{') && i + 3 < t->count && sql_is_mark(token + 2, ':')) {
        CHECK(!sql_is_word(token + 3, "identifier"), ERR_FORBIDDEN, "parameters can't stand for names in queries");
    }
    return OK;
}

struct nesting {
    char closers[MAX_DEPTH];
    size_t depth;
};

/* ClickHouse's time for brackets that don't match grows with the square of their number. */
static struct result check_bracket(const struct sql_token *token, struct nesting *n) {
    if (token->kind != SQL_MARK) return OK;
    char c = (char)token->text.data[0];
    char closer = c == '(' ? ')' : c == '[' ? ']' : c == '{' ? '}' : 0;
    if (closer) {
        CHECK(n->depth < MAX_DEPTH, ERR_INVALID, "brackets are nested more than %d deep", MAX_DEPTH);
        n->closers[n->depth++] = closer;
    } else if (c == ')' || c == ']' || c == '}') {
        CHECK(n->depth > 0 && n->closers[n->depth - 1] == c, ERR_INVALID, "the bracket at byte %zu matches none",
              token->begin);
        n->depth--;
    }
    return OK;
}

static struct result check_begin(const struct sql_tokens *t, struct sql_shape *ret) {
    size_t i = 0;
    while (i < t->count && sql_is_mark(&t->items[i], '(')) {
        i++;
    }
    const struct sql_token *first = &t->items[i];
    CHECK(first->kind != SQL_END, ERR_INVALID, "there is no statement");
    ret->is_select = sql_is_word(first, "select") || sql_is_word(first, "with") || sql_is_word(first, "from");
    bool other =
        i == 0 && (sql_is_word(first, "explain") || sql_is_word(first, "describe") || sql_is_word(first, "desc"));
    CHECK(ret->is_select || other, ERR_FORBIDDEN, "only SELECT, EXPLAIN and DESCRIBE are available in queries");
    return OK;
}

struct result sql_gate_check(const struct sql_gate *g, struct slice sql, struct sql_shape *ret) {
    AUTO(sql_tokens_done) struct sql_tokens t = {0};
    TRY(sql_tokenize(sql, &t));
    struct sql_shape shape = {0};
    struct nesting nesting = {.depth = 0};
    TRY(check_begin(&t, &shape));
    for (size_t i = 0; i < t.count; i++) {
        const struct sql_token *token = &t.items[i];
        CHECK(token->kind != SQL_BROKEN, ERR_INVALID,
              "the statement can't be read at byte %zu: a quote or comment without an end, or a character that is none "
              "of SQL",
              token->begin);
        if (sql_is_name(token)) TRY(check_name(g, &t, i));
        TRY(check_word(&t, i));
        TRY(check_mark(&t, i));
        TRY(check_bracket(token, &nesting));
    }
    CHECK(nesting.depth == 0, ERR_INVALID, "a bracket is not closed");
    *ret = shape;
    return OK;
}
