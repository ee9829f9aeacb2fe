/* Tenants' SQL: the tokens make up the whole text, and preparing it ends, with and without parameters. */
#include <stdio.h>
#include <stdlib.h>

#include "lifecycle/sql_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_tokens(struct slice sql) {
    size_t at = 0, sum = 0;
    struct sql_token t;
    while (sql_next_token(sql, &at, &t)) {
        if (t.text.len == 0 || t.text.data != sql.data + sum) abort();
        sum += t.text.len;
    }
    if (sum != sql.len) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice sql = slice_make(data, size);
    check_tokens(sql);
    JSON_AUTO(parameters);
    parameters = json_pack("[{s:s, s:s, s:s}, {s:s, s:s}]", "name", "n", "type", "int", "value", "1", "name", "a",
                           "value", "[1]");
    for (int limit = 0; limit < 2; limit++) {
        AUTO(sql_text_done) struct sql_text text = {0};
        result_ignore(sql_text_prepare(sql, limit ? parameters : NULL, limit, &text)); /* either is fine */
    }
    return 0;
}
