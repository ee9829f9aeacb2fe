#include "engine/chdb.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

/* Only this line of versions was measured; another one may behave differently where it matters. */
#define CHDB_VERSION_PREFIX "26.7."

struct symbol {
    const char *name;
    size_t offset;
};

#define SYMBOL(field, name_)                                                                                           \
    { (name_), offsetof(struct chdb, field) }
static const struct symbol symbols[] = {
    SYMBOL(version, "chdb_version"),
    SYMBOL(set_signal_handlers, "chdb_set_signal_handlers_enabled"),
    SYMBOL(connect, "chdb_connect"),
    SYMBOL(close, "chdb_close_conn"),
    SYMBOL(query, "chdb_query_with_params_n"),
    SYMBOL(stream, "chdb_stream_query_with_params_n"),
    SYMBOL(stream_fetch, "chdb_stream_fetch_result"),
    SYMBOL(stream_cancel, "chdb_stream_cancel_query"),
    SYMBOL(insert, "chdb_stream_insert_n"),
    SYMBOL(insert_append, "chdb_stream_append"),
    SYMBOL(insert_done, "chdb_stream_done"),
    SYMBOL(insert_error, "chdb_stream_insert_error"),
    SYMBOL(insert_free, "chdb_destroy_insert_stream"),
    SYMBOL(result_error, "chdb_result_error"),
    SYMBOL(result_data, "chdb_result_buffer"),
    SYMBOL(result_len, "chdb_result_length"),
    SYMBOL(result_elapsed_s, "chdb_result_elapsed"),
    SYMBOL(result_rows_read, "chdb_result_storage_rows_read"),
    SYMBOL(result_bytes_read, "chdb_result_storage_bytes_read"),
    SYMBOL(result_rows_written, "chdb_result_rows_written"),
    SYMBOL(result_free, "chdb_destroy_query_result"),
    SYMBOL(classify, "chdb_classify_query_n"),
};

struct result chdb_load(const char *path, struct chdb *ret) {
    CHECK(access(path, R_OK) == 0, ERR_NOT_FOUND,
          "there is no libchdb at %s; run scripts/bootstrap, or name it with the setting engine.chdb", path);
    struct chdb chdb = {.library = dlopen(path, RTLD_NOW | RTLD_LOCAL)};
    CHECK(chdb.library, ERR_UNSUPPORTED, "libchdb can't be loaded: %.180s", dlerror());
    for (size_t i = 0; i < ARRAY_LEN(symbols); i++) {
        void *function = dlsym(chdb.library, symbols[i].name);
        CHECK(function, ERR_UNSUPPORTED, "%.150s has no %s", path, symbols[i].name);
        mem_copy((char *)&chdb + symbols[i].offset, &function, sizeof(function));
    }
    const char *version = chdb.version();
    CHECK(version && strncmp(version, CHDB_VERSION_PREFIX, strlen(CHDB_VERSION_PREFIX)) == 0, ERR_UNSUPPORTED,
          "libchdb is version %.32s; Lockset needs " CHDB_VERSION_PREFIX "x", version ? version : "unknown");
    *ret = chdb;
    return OK;
}
