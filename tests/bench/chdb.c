/* chDB alone, in one process with one session: the peer that ingest and queries are measured beside.
 *
 *     bench-chdb LIBRARY FOLDER [--SETTING=VALUE ...]
 *
 * Obeys lines on stdin. Statements stand on one line. Times are nanoseconds inside of the library.
 *
 *     query FORMAT STATEMENT    -> ok NANOSECONDS BYTES, then the answer's bytes
 *     insert FORMAT FILE STATEMENT   the file holds bodies, each behind its length (u32, little endian); one INSERT for
 *                                    each -> ok NANOSECONDS ROWS
 *
 * Anything that goes wrong ends the process with a message on stderr. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "engine/chdb.h"

enum { MAX_ARGUMENTS = 32, MAX_LINE_BYTES = 65536, MAX_FILE_BYTES = 256 << 20 };

static struct chdb chdb;
static struct chdb_session **session;
static FILE *orders;

static _Noreturn void die(const char *what, const char *why) {
    fprintf(stderr, "bench-chdb: %s: %s\n", what, why);
    _exit(1);
}

static void must(struct result r, const char *what) {
    if (is_err(r)) die(what, err_detail());
}

static void check(struct chdb_result *r, const char *sql) {
    if (!r) die(sql, "no result");
    if (chdb.result_error(r)) die(sql, chdb.result_error(r));
}

static void query(const char *format, const char *sql) {
    int64_t begun = clock_boottime_ns();
    struct chdb_result *r = chdb.query(*session, sql, strlen(sql), format, strlen(format), NULL, NULL, NULL, NULL, 0);
    int64_t took = clock_boottime_ns() - begun;
    check(r, sql);
    printf("ok %lld %zu\n", (long long)took, chdb.result_len(r));
    fwrite(chdb.result_data(r), 1, chdb.result_len(r), stdout);
    chdb.result_free(r);
}

static uint64_t insert_one(const char *format, const char *sql, struct slice body) {
    struct chdb_insert *i = chdb.insert(*session, sql, strlen(sql), format, strlen(format));
    if (chdb.insert_error(i)) die(sql, chdb.insert_error(i));
    chdb.insert_append(i, body.data, body.len); /* what it refuses is in the result */
    struct chdb_result *r = chdb.insert_done(i);
    check(r, sql);
    uint64_t rows = chdb.result_rows_written(r);
    chdb.result_free(r);
    chdb.insert_free(i);
    return rows;
}

static void insert(const char *format, const char *path, const char *sql) {
    BUF_AUTO(file, MAX_FILE_BYTES);
    must(file_read(path, MAX_FILE_BYTES, &file), path);
    struct slice rest = buf_slice(&file), body;
    uint64_t rows = 0;
    int64_t begun = clock_boottime_ns();
    while (rest.len > 4) {
        uint32_t len =
            rest.data[0] | (uint32_t)rest.data[1] << 8 | (uint32_t)rest.data[2] << 16 | (uint32_t)rest.data[3] << 24;
        rest = slice_make(rest.data + 4, rest.len - 4);
        if (!take_bytes(&rest, len, &body)) die(path, "it is cut short");
        rows += insert_one(format, sql, body);
    }
    printf("ok %lld %llu\n", (long long)(clock_boottime_ns() - begun), (unsigned long long)rows);
}

static void obey(char *line) {
    char *rest = line;
    const char *order = strsep(&rest, " "), *format = strsep(&rest, " ");
    if (rest && strcmp(order, "query") == 0) {
        query(format, rest);
    } else if (rest && strcmp(order, "insert") == 0) {
        const char *path = strsep(&rest, " ");
        insert(format, path, rest);
    } else {
        die(line, "no such order");
    }
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc < 3 || argc > MAX_ARGUMENTS) die("usage", "bench-chdb LIBRARY FOLDER [--SETTING=VALUE ...]");
    /* The library reads the process's stdin where it can, so orders come from elsewhere. */
    int fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 10), nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || nothing < 0 || dup2(nothing, STDIN_FILENO) < 0 || !(orders = fdopen(fd, "r"))) die("stdin", "lost");
    must(chdb_load(argv[1], &chdb), argv[1]);
    AUTO_FREE char *metadata = str_format("%s/metadata", argv[2]);
    AUTO_FREE char *path = str_format("--path=%s", argv[2]);
    must(file_make_dirs(metadata), metadata);
    char *arguments[MAX_ARGUMENTS] = {argv[0], path};
    for (int i = 3; i < argc; i++)
        arguments[i - 1] = argv[i];
    chdb.set_signal_handlers(0);
    session = chdb.connect(argc - 1, arguments);
    if (!session) die(argv[2], "no session");
    static char line[MAX_LINE_BYTES];
    while (fgets(line, sizeof line, orders)) {
        line[strcspn(line, "\n")] = '\0';
        obey(line);
    }
    chdb.close(session);
    _exit(0);
}
