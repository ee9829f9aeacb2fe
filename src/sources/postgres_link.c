#include "sources/postgres_link.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "sources/postgres_resolve.h"

enum { CONNECT_MS = 15000, QUERY_MS = 30000, LOOK_MS = 100, STATE_BYTES = 6, OLDEST_VERSION = 130000 };

#define SYSTEM_AUTHORITIES "/etc/ssl/certs/ca-certificates.crt"
#define NO_SUCH_FILE "/proc/self/fd/none"

struct postgres_link {
    PGconn *conn;
    const _Atomic bool *cancelled;
    bool is_broken;
    char state[STATE_BYTES];
};

/* A kind of failure by its SQLSTATE: its class, or the whole of it. */
static enum err_code code_of(const char *state) {
    static const struct {
        const char *begin;
        enum err_code code;
    } codes[] = {
        {"28", ERR_FORBIDDEN},      {"42501", ERR_FORBIDDEN}, {"3D000", ERR_NOT_FOUND}, {"42P01", ERR_NOT_FOUND},
        {"3F000", ERR_NOT_FOUND},   {"42704", ERR_NOT_FOUND}, {"42703", ERR_NOT_FOUND}, {"57014", ERR_TIMEOUT},
        {"55P03", ERR_TIMEOUT},     {"57P", ERR_UNREACHABLE}, {"53", ERR_UNREACHABLE},  {"55006", ERR_UNREACHABLE},
        {"08", ERR_UNREACHABLE},    {"40", ERR_UNREACHABLE},  {"55000", ERR_CONFLICT},  {"42710", ERR_EXISTS},
        {"25006", ERR_UNSUPPORTED}, {"58", ERR_PEER},         {"42", ERR_PEER},
    };
    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (strncmp(state, codes[i].begin, strlen(codes[i].begin)) == 0) return codes[i].code;
    return *state ? ERR_PEER : ERR_UNREACHABLE;
}

/* One line of a message, without what can't be shown. */
static char *first_line(const char *message) {
    char *line = str_ndup(message, strcspn(message, "\r\n"));
    for (char *c = line; *c; c++)
        if (iscntrl((unsigned char)*c)) *c = ' ';
    return line;
}

/* What a connection attempt failed with; libpq tells the SQLSTATE only within the verbose text ("FATAL:  28P01: ...").
 */
static struct result connect_failed(const PGconn *conn) {
    AUTO_FREE char *line = first_line(PQerrorMessage(conn));
    char state[STATE_BYTES] = "";
    for (const char *at = line; (at = strstr(at, ": ")); at++) {
        bool fits = at - line >= 6 && at[-6] == ' ', digit = false;
        for (int i = -5; fits && i < 0; i++) {
            fits = isdigit((unsigned char)at[i]) || isupper((unsigned char)at[i]);
            digit = digit || isdigit((unsigned char)at[i]);
        }
        if (!fits || !digit) continue;
        mem_copy(state, at - 5, 5);
        break;
    }
    FAIL(code_of(state), "%.220s", *line ? line : "the connection failed");
}

static struct result broken(struct postgres_link *l) {
    l->is_broken = true;
    AUTO_FREE char *line = first_line(PQerrorMessage(l->conn));
    FAIL(ERR_UNREACHABLE, "the connection to PostgreSQL was lost: %.180s", *line ? line : "closed");
}

static struct result refused(struct postgres_link *l, const PGresult *result) {
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    if (!state) return broken(l);
    snprintf(l->state, sizeof l->state, "%s", state);
    if (PQstatus(l->conn) == CONNECTION_BAD) l->is_broken = true;
    AUTO_FREE char *line = first_line(primary ? primary : "no message");
    FAIL(code_of(l->state), "PostgreSQL: %.200s (SQLSTATE %s)", line, l->state);
}

/* Waits for a descriptor until the moment. *ready false: the moment came first. */
static struct result wait_for(int fd, short events, int64_t until_ns, const _Atomic bool *cancelled, bool *ready) {
    *ready = false;
    for (;;) {
        CHECK(!cancelled || !atomic_load(cancelled), ERR_CANCELLED, "reading from PostgreSQL was cancelled");
        int64_t left_ms = (until_ns - clock_boottime_ns() + NS_PER_MS - 1) / NS_PER_MS;
        int64_t wait_ms = left_ms < 0 ? 0 : left_ms < LOOK_MS ? left_ms : LOOK_MS;
        struct pollfd p = {.fd = fd, .events = events};
        int n = poll(&p, 1, (int)wait_ms);
        *ready = n > 0;
        if (n > 0 || left_ms <= 0) return OK;
    }
}

/* The authorities' certificates as a file that exists in memory only. */
static struct result certificate_file(const char *pem, struct buf *path, int *ret_fd) {
    int fd = memfd_create("sslrootcert", MFD_CLOEXEC);
    if (fd < 0) return err_from_errno(errno, "memory for certificates");
    size_t len = strlen(pem);
    for (size_t at = 0; at < len;) {
        ssize_t n = write(fd, pem + at, len - at);
        if (n < 0) {
            struct result r = err_from_errno(errno, "memory for certificates");
            close(fd);
            return r;
        }
        at += (size_t)n;
    }
    buf_printf(path, "/proc/self/fd/%d", fd);
    *ret_fd = fd;
    return OK;
}

static void ignore_notice(void *context, const PGresult *notice) {}

/* Drives the attempt until it is connected. */
static struct result connect_poll(PGconn *conn, const _Atomic bool *cancelled) {
    int64_t deadline = clock_boottime_ns() + CONNECT_MS * NS_PER_MS;
    PostgresPollingStatusType want = PGRES_POLLING_WRITING;
    while (want != PGRES_POLLING_OK) {
        if (want == PGRES_POLLING_FAILED || PQsocket(conn) < 0) return connect_failed(conn);
        bool ready;
        TRY(wait_for(PQsocket(conn), want == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline, cancelled, &ready));
        CHECK(ready, ERR_TIMEOUT, "PostgreSQL did not answer within %d s", CONNECT_MS / 1000);
        want = PQconnectPoll(conn);
    }
    return OK;
}

static struct result connect_to(struct postgres_link *l, const struct postgres_address *a, const char *hostaddr,
                                const char *rootcert, bool for_replication) {
    char port[8];
    snprintf(port, sizeof port, "%u", a->port);
    const char *names[] = {"host",
                           "hostaddr",
                           "port",
                           "dbname",
                           "user",
                           "password",
                           "sslmode",
                           "sslrootcert",
                           "sslcert",
                           "sslkey",
                           "sslcrl",
                           "gssencmode",
                           "application_name",
                           "client_encoding",
                           "keepalives_idle",
                           "keepalives_interval",
                           "keepalives_count",
                           "tcp_user_timeout",
                           for_replication ? "replication" : NULL,
                           NULL};
    const char *values[] = {a->host,  hostaddr,     port,         a->dbname,    a->user,    a->password, a->sslmode,
                            rootcert, NO_SUCH_FILE, NO_SUCH_FILE, NO_SUCH_FILE, "disable",  "lockset",   "UTF8",
                            "15",     "5",          "3",          "30000",      "database", NULL};
    l->conn = PQconnectStartParams(names, values, 0);
    CHECK(l->conn, ERR_UNREACHABLE, "no memory for a connection");
    PQsetErrorVerbosity(l->conn, PQERRORS_VERBOSE);
    PQsetNoticeReceiver(l->conn, ignore_notice, NULL); /* libpq's own would print them */
    if (PQstatus(l->conn) == CONNECTION_BAD) return connect_failed(l->conn);
    TRY(connect_poll(l->conn, l->cancelled));
    CHECK(PQsetnonblocking(l->conn, 1) == 0, ERR_UNREACHABLE, "the connection failed");
    return OK;
}

/* Each address in turn. A server that answered, if only to refuse, is the one that was meant. */
static struct result connect_any(struct postgres_link *l, const struct postgres_address *a, const char *rootcert,
                                 bool for_replication) {
    struct resolved found = {0};
    TRY(resolve_host(a->host, CONNECT_MS, l->cancelled, &found));
    struct result r = OK;
    for (unsigned i = 0; i < found.count; i++) {
        r = connect_to(l, a, found.addresses[i], rootcert, for_replication);
        if (r.code != ERR_UNREACHABLE && r.code != ERR_TIMEOUT) return r;
        PQfinish(TAKE(l->conn));
    }
    return r;
}

static struct result connect_link(struct postgres_link *l, const struct postgres_address *a, bool for_replication) {
    BUF_AUTO(path, 64);
    bool verifies = strncmp(a->sslmode, "verify", 6) == 0;
    if (!a->sslrootcert || !verifies)
        return connect_any(l, a, verifies ? SYSTEM_AUTHORITIES : NO_SUCH_FILE, for_replication);
    int fd = -1;
    TRY(certificate_file(a->sslrootcert, &path, &fd));
    struct result r = connect_any(l, a, buf_str(&path), for_replication);
    close(fd);
    return r;
}

/* What values look like must depend on nothing that the server's or the user's configuration says. */
static struct result set_session_up(struct postgres_link *l) {
    POSTGRES_RESULT_AUTO(set);
    POSTGRES_RESULT_AUTO(checked);
    TRY(postgres_link_query(
        l,
        "SELECT pg_catalog.set_config(n, v, false) FROM (VALUES ('DateStyle', 'ISO, YMD'), "
        "('IntervalStyle', 'postgres'), ('TimeZone', 'UTC'), ('extra_float_digits', '1'), "
        "('bytea_output', 'hex'), ('standard_conforming_strings', 'on'), ('search_path', ''), "
        "('synchronous_commit', 'local'), ('statement_timeout', '0'), ('lock_timeout', '0'), ('row_security', 'off'), "
        "('default_transaction_isolation', 'read committed')) AS settings (n, v)",
        0, NULL, &set));
    /* So that a statement of ours which waits does not outlive us. Not every platform's server can. */
    struct result r =
        PQserverVersion(l->conn) < 140000
            ? OK
            : postgres_link_query(l, "SELECT pg_catalog.set_config('client_connection_check_interval', '2000', false)",
                                  0, NULL, &checked);
    return is_err(r) && l->is_broken ? r : OK;
}

static struct result open_link(struct postgres_link *l, const struct postgres_address *a, bool for_replication) {
    TRY(connect_link(l, a, for_replication));
    int version = PQserverVersion(l->conn);
    CHECK(version >= OLDEST_VERSION, ERR_INVALID, "PostgreSQL %d is too old: version %d or later is needed",
          version / 10000, OLDEST_VERSION / 10000);
    return set_session_up(l);
}

struct result postgres_link_open(const struct postgres_address *address, bool for_replication,
                                 const _Atomic bool *cancelled, struct postgres_link **ret) {
    struct postgres_link *l = mem_alloc(sizeof *l);
    l->cancelled = cancelled;
    struct result r = open_link(l, address, for_replication);
    if (is_ok(r))
        *ret = l;
    else
        postgres_link_close(l);
    return r;
}

struct postgres_link *postgres_link_close(struct postgres_link *l) {
    if (l) {
        PQfinish(l->conn);
        mem_free(l);
    }
    return NULL;
}

bool postgres_link_is_broken(const struct postgres_link *l) {
    return l->is_broken;
}

int postgres_link_version(const struct postgres_link *l) {
    return PQserverVersion(l->conn);
}

const char *postgres_link_state(const struct postgres_link *l) {
    return l->state;
}

/* Sends what is still to be sent, taking in what comes meanwhile, as libpq wants it. *ready: all is sent. */
static struct result flush(struct postgres_link *l, int64_t until_ns, bool *ready) {
    for (;;) {
        int left = PQflush(l->conn);
        if (left < 0) return broken(l);
        *ready = left == 0;
        if (left == 0) return OK;
        TRY(wait_for(PQsocket(l->conn), POLLIN | POLLOUT, until_ns, l->cancelled, ready));
        if (!*ready) return OK;
        if (!PQconsumeInput(l->conn)) return broken(l);
    }
}

struct result postgres_link_send(struct postgres_link *l, const char *sql, unsigned count, const char *const params[],
                                 bool singly) {
    CHECK(!l->is_broken, ERR_UNREACHABLE, "the connection to PostgreSQL is lost");
    l->state[0] = '\0';
    int sent =
        count ? PQsendQueryParams(l->conn, sql, (int)count, NULL, params, NULL, NULL, 0) : PQsendQuery(l->conn, sql);
    if (!sent) return broken(l);
    if (singly) PQsetSingleRowMode(l->conn);
    return OK;
}

/* Takes in what comes, for a moment at most. What TLS holds back is no event of the socket, so it is asked either way.
 * *in_time false: the moment came, and one more look will do. */
static struct result pump(struct postgres_link *l, int64_t until_ns, bool *in_time) {
    int64_t now = clock_boottime_ns(), soon = now + LOOK_MS * NS_PER_MS;
    bool readable;
    TRY(wait_for(PQsocket(l->conn), POLLIN, until_ns < soon ? until_ns : soon, l->cancelled, &readable));
    if (!PQconsumeInput(l->conn)) return broken(l);
    *in_time = readable || now < until_ns;
    return OK;
}

struct result postgres_link_take(struct postgres_link *l, int64_t until_ns, bool *ready, PGresult **ret) {
    CHECK(!l->is_broken, ERR_UNREACHABLE, "the connection to PostgreSQL is lost");
    TRY(flush(l, until_ns, ready));
    while (*ready && PQisBusy(l->conn))
        TRY(pump(l, until_ns, ready));
    if (PQisBusy(l->conn)) return OK;
    *ready = true;
    POSTGRES_RESULT_AUTO(result);
    result = PQgetResult(l->conn);
    ExecStatusType status = PQresultStatus(result);
    if (result && (status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE)) return refused(l, result);
    *ret = TAKE(result);
    return OK;
}

/* After a failure: what is left of the answer, so that the next statement finds the connection idle. */
static void drain(struct postgres_link *l, int64_t until_ns) {
    bool ready = true;
    while (!l->is_broken) {
        POSTGRES_RESULT_AUTO(rest);
        struct result r = postgres_link_take(l, until_ns, &ready, &rest);
        if (is_ok(r) && ready && !rest) return;
        if (!ready || r.code == ERR_CANCELLED) l->is_broken = true;
    }
}

struct result postgres_link_query(struct postgres_link *l, const char *sql, unsigned count, const char *const params[],
                                  PGresult **ret) {
    int64_t deadline = clock_boottime_ns() + QUERY_MS * NS_PER_MS;
    POSTGRES_RESULT_AUTO(kept);
    TRY(postgres_link_send(l, sql, count, params, false));
    for (;;) {
        PGresult *one = NULL;
        bool ready;
        struct result r = postgres_link_take(l, deadline, &ready, &one);
        if (is_err(r)) {
            AUTO_FREE char *why = str_dup(err_detail());
            if (r.code == ERR_CANCELLED) l->is_broken = true;
            drain(l, deadline);
            return err_make(r.code, "%s", why);
        }
        if (!ready) {
            l->is_broken = true;
            FAIL(ERR_TIMEOUT, "PostgreSQL did not answer within %d s", QUERY_MS / 1000);
        }
        if (!one) break;
        PQclear(kept);
        kept = one;
    }
    *ret = TAKE(kept);
    return OK;
}

struct result postgres_link_stream(struct postgres_link *l, const char *command) {
    POSTGRES_RESULT_AUTO(result);
    bool ready;
    int64_t deadline = clock_boottime_ns() + QUERY_MS * NS_PER_MS;
    TRY(postgres_link_send(l, command, 0, NULL, false));
    struct result r = postgres_link_take(l, deadline, &ready, &result);
    if (is_err(r)) {
        AUTO_FREE char *why = str_dup(err_detail());
        drain(l, deadline);
        return err_make(r.code, "%s", why);
    }
    if (ready && PQresultStatus(result) == PGRES_COPY_BOTH) return OK;
    l->is_broken = true;
    FAIL(ready ? ERR_PEER : ERR_TIMEOUT, "PostgreSQL did not start to stream");
}

struct result postgres_link_receive(struct postgres_link *l, int64_t until_ns, bool *ready, char **ret,
                                    size_t *ret_len) {
    CHECK(!l->is_broken, ERR_UNREACHABLE, "the connection to PostgreSQL is lost");
    for (bool in_time = true;;) {
        char *data = NULL;
        int len = PQgetCopyData(l->conn, &data, 1);
        if (len > 0) {
            *ready = true;
            *ret = data;
            *ret_len = (size_t)len;
            return OK;
        }
        if (len == -2) return broken(l);
        if (len == -1) break;
        *ready = false;
        if (!in_time) return OK;
        if (PQflush(l->conn) < 0) return broken(l);
        TRY(pump(l, until_ns, &in_time));
    }
    POSTGRES_RESULT_AUTO(end);
    TRY(postgres_link_take(l, clock_boottime_ns() + LOOK_MS * NS_PER_MS, ready, &end));
    l->is_broken = true;
    FAIL(ERR_UNREACHABLE, "PostgreSQL ended the stream of changes");
}

struct result postgres_link_tell(struct postgres_link *l, struct slice message) {
    CHECK(!l->is_broken, ERR_UNREACHABLE, "the connection to PostgreSQL is lost");
    int sent = PQputCopyData(l->conn, (const char *)message.data, (int)message.len);
    if (sent < 0 || PQflush(l->conn) < 0) return broken(l);
    return OK; /* 0: no room; the next one tells more */
}

static void quote(char mark, const char *text, struct buf *out) {
    buf_append_byte(out, (uint8_t)mark);
    for (; *text; text++) {
        if (*text == mark) buf_append_byte(out, (uint8_t)mark);
        buf_append_byte(out, (uint8_t)*text);
    }
    buf_append_byte(out, (uint8_t)mark);
}

void postgres_quote_name(const char *name, struct buf *out) {
    quote('"', name, out);
}

void postgres_quote_text(const char *text, struct buf *out) {
    quote('\'', text, out); /* standard_conforming_strings: a backslash is only itself */
}
