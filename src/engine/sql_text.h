/* SQL as ClickHouse's lexer cuts it: just enough to look at a statement without parsing it. White space and comments
 * (`--`, `//`, `#!`, `# `, C comments, which nest) are skipped. Quoted identifiers come decoded. What that lexer might
 * cut in another way is SQL_BROKEN. No I/O, no state. Compared with ClickHouse's own tokenizeQuery() of 26.7. */
#ifndef LOCKSET_ENGINE_SQL_TEXT_H
#define LOCKSET_ENGINE_SQL_TEXT_H

#include "base/buf.h"

enum sql_token_kind {
    SQL_END,
    SQL_WORD,       /* bare identifier or keyword */
    SQL_IDENTIFIER, /* `quoted` or "quoted"; text is decoded */
    SQL_STRING,     /* 'text', x'41', b'01', or a heredoc $tag$text$tag$; text is not decoded */
    SQL_NUMBER,
    SQL_MARK,   /* one punctuation character */
    SQL_BROKEN, /* an unterminated quote or comment, a byte that begins no token */
};

struct sql_token {
    enum sql_token_kind kind;
    struct slice text; /* the word, the decoded name, the character; valid until sql_tokens_done */
    size_t begin, end; /* where it stands in the source */
};

struct sql_tokens {
    struct sql_token *items; /* ends with SQL_END (or SQL_BROKEN, SQL_END) */
    size_t count;            /* without SQL_END */
    struct buf names;        /* storage of decoded names */
};

enum { SQL_MAX_BYTES = 4 * 1024 * 1024 };

/* TOO_LARGE over SQL_MAX_BYTES. A broken text is a success whose last token is SQL_BROKEN. The caller calls
 * sql_tokens_done; token texts point into the source or into the object. */
struct result sql_tokenize(struct slice sql, struct sql_tokens *ret);
void sql_tokens_done(struct sql_tokens *t); /* accepts zeroed */

/* Is this a bare word equal to `word` in any case? */
bool sql_is_word(const struct sql_token *t, const char *word);
/* Is this a name (bare or quoted)? */
bool sql_is_name(const struct sql_token *t);
bool sql_is_mark(const struct sql_token *t, char mark);
/* Equal in any (ASCII) case? */
bool sql_equal_nocase(struct slice a, const char *b);

#endif
