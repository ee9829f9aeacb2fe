/* Requests to an S3 server over loopback, from as many connections as wanted, each kept alive.
 *
 *     s3-load --port N --op put|get|range|mixed [--plain] [--access-key A --secret-key S] [--bucket B] [--region R]
 *         [--prefix TEXT] [--size BYTES] [--objects N] [--count N] [--connections N] [--header "name: value"]...
 *
 * put and get go through objects PREFIX0, PREFIX1, ... in turn; range gets 1 MiB of them somewhere. What comes back is
 * compared with what was put. `mixed` is a life in short: everything that clients do, with errors, uploads that are
 * broken off and connections that end. --plain: unsigned requests for /PREFIX0, as a web server takes them.
 *
 * Prints one line of JSON: {"requests": .., "errors": .., "seconds": .., "bytes": .., "p50_ms": .., "p99_ms": ..} */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "aws/sigv4.h"
#include "base/file.h"

enum { HEADERS_MAX = 8, RANGE_BYTES = 1 << 20, SCRATCH_BYTES = 1 << 20, HEAD_BYTES = 8192, MIXED_KEYS = 50 };

static struct {
    unsigned port, objects, connections;
    const char *op, *access, *secret, *bucket, *region, *prefix;
    struct http_field headers[HEADERS_MAX];
    size_t header_count, size;
    uint64_t count;
    bool is_plain;
    uint8_t *body;
    int64_t *took_ns;
} options = {.objects = 1,
             .connections = 1,
             .access = "",
             .secret = "",
             .bucket = "lockset",
             .region = "us-west-2",
             .prefix = "load-",
             .size = 65536,
             .count = 100};

static _Atomic uint64_t next_number, errors, bytes_moved;

static _Noreturn void die(const char *what) {
    fprintf(stderr, "s3-load: %s\n", what);
    exit(1);
}

static void must(struct result r) {
    if (is_err(r)) die(err_detail());
}

/* ---- One connection ---- */

struct client {
    int fd;
    uint8_t *scratch;
    size_t have; /* bytes in scratch that were not looked at yet */
};

static void client_connect(struct client *c) {
    fd_close(&c->fd);
    c->have = 0;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr_in to = {AF_INET, htons((uint16_t)options.port), {htonl(INADDR_LOOPBACK)}};
    if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)&to, sizeof to) != 0) die("no connection");
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static bool client_send(struct client *c, const void *data, size_t size) {
    for (const uint8_t *p = data; size > 0;) {
        ssize_t n = send(c->fd, p, size, MSG_NOSIGNAL);
        if (n <= 0) return false;
        p += n;
        size -= (size_t)n;
    }
    return true;
}

/* What a request is, besides the options. */
struct ask {
    const char *method, *key, *query;
    const char *range;
    size_t body;     /* how much of the body is sent */
    size_t announce; /* Content-Length; 0: body */
    bool is_bad;     /* the signature does not fit */
};

static void add_head(const struct ask *a, struct buf *out) {
    char host[64], path[512];
    snprintf(host, sizeof host, "127.0.0.1:%u", options.port);
    snprintf(path, sizeof path, options.is_plain ? "/%.0s%s" : *a->key ? "/%s/%s" : "/%s", options.bucket, a->key);
    buf_printf(out, "%s %s%s%s HTTP/1.1\r\nHost: %s\r\n", a->method, path, *a->query ? "?" : "", a->query, host);
    struct http_field fields[HEADERS_MAX + 2] = {{"Host", host}};
    bool is_put = strcmp(a->method, "PUT") == 0;
    for (size_t i = 0; is_put && i < options.header_count; i++)
        fields[i + 1] = options.headers[i];
    for (const struct http_field *f = fields + 1; f->name != NULL; f++)
        buf_printf(out, "%s: %s\r\n", f->name, f->value);
    if (is_put) buf_printf(out, "Content-Length: %zu\r\n", a->announce ? a->announce : a->body);
    if (a->range != NULL) buf_printf(out, "Range: %s\r\n", a->range);
    if (!options.is_plain) {
        const struct sigv4_signer signer = {.access_key_id = options.access,
                                            .secret_key = slice_str(options.secret),
                                            .region = options.region,
                                            .service = "s3",
                                            .unix_ms = clock_unix_ms(),
                                            .add_content_sha256 = true};
        const struct sigv4_request r = {.method = slice_str(a->method),
                                        .path = slice_str(path),
                                        .query = slice_str(a->query),
                                        .fields = fields,
                                        .payload_hash = slice_str("UNSIGNED-PAYLOAD"),
                                        .path_rule = SIGV4_PATH_S3};
        AUTO(sigv4_signed_done) struct sigv4_signed made = {0};
        must(sigv4_sign(&signer, &r, &made));
        buf_printf(out, "X-Amz-Date: %s\r\nX-Amz-Content-Sha256: UNSIGNED-PAYLOAD\r\nAuthorization: %s%s\r\n",
                   made.amz_date, buf_str(&made.authorization), a->is_bad ? "0" : "");
    }
    buf_append_str(out, "\r\n");
}

/* Reads until the head is complete. Its length, 0 if the connection ended. */
static size_t read_head(struct client *c) {
    for (;;) {
        const uint8_t *end = memmem(c->scratch, c->have, "\r\n\r\n", 4);
        if (end != NULL) return (size_t)(end - c->scratch) + 4;
        if (c->have == HEAD_BYTES) die("a head that is too long");
        ssize_t n = recv(c->fd, c->scratch + c->have, HEAD_BYTES - c->have, 0);
        if (n <= 0) return 0;
        c->have += (size_t)n;
    }
}

/* The answer's status, its body compared with `expect` if there is one; 0 if the connection ended. */
static int read_answer(struct client *c, bool has_body, const uint8_t *expect, size_t *ret_length) {
    size_t head = read_head(c);
    if (head == 0) return 0;
    c->scratch[head - 1] = '\0';
    const char *text = (const char *)c->scratch, *length = strcasestr(text, "\r\ncontent-length:");
    int status = (int)strtol(text + 9, NULL, 10);
    size_t left = has_body && length != NULL ? strtoul(length + 17, NULL, 10) : 0, at = 0;
    bool is_chunked = has_body && strcasestr(text, "\r\ntransfer-encoding:") != NULL;
    *ret_length = left;
    size_t n = c->have - head;
    memmove(c->scratch, c->scratch + head, n);
    if (is_chunked) { /* small answers only: the end is what counts */
        while (n < 5 || memcmp(c->scratch + n - 5, "0\r\n\r\n", 5) != 0) {
            ssize_t more = recv(c->fd, c->scratch + n, SCRATCH_BYTES - n, 0);
            if (more <= 0) return 0;
            n += (size_t)more;
        }
        c->have = 0;
        return status;
    }
    for (;;) {
        size_t take = n < left ? n : left;
        if (expect != NULL && status < 300 && memcmp(expect + at, c->scratch, take) != 0) die("wrong bytes");
        at += take;
        left -= take;
        if (left == 0) break;
        ssize_t more = recv(c->fd, c->scratch, left < SCRATCH_BYTES ? left : SCRATCH_BYTES, 0);
        if (more <= 0) return 0;
        n = (size_t)more;
    }
    c->have = 0;
    return status;
}

static int request(struct client *c, const struct ask *a, const uint8_t *expect, size_t *ret_length) {
    BUF_AUTO(head, HEAD_BYTES);
    add_head(a, &head);
    must(buf_check(&head));
    if (!client_send(c, head.data, head.len) || !client_send(c, options.body, a->body)) return 0;
    if (a->announce > a->body) { /* it is broken off */
        client_connect(c);
        return 1;
    }
    return read_answer(c, strcmp(a->method, "HEAD") != 0, expect, ret_length);
}

/* ---- What is asked ---- */

static bool is_status(int status, int one, int other) {
    return status == one || status == other;
}

static void once(struct client *c, uint64_t number) {
    char key[300], range[80];
    size_t length = 0, moved;
    snprintf(key, sizeof key, "%s%u", options.prefix, (unsigned)(number % options.objects));
    int status;
    if (strcmp(options.op, "put") == 0) {
        status = request(c, &(struct ask){"PUT", key, "", .body = options.size}, NULL, &length);
        moved = options.size;
    } else if (strcmp(options.op, "get") == 0) {
        status = request(c, &(struct ask){"GET", key, ""}, options.body, &length);
        moved = length;
        if (length != options.size) status = 0;
    } else {
        size_t at = (size_t)(number * 2654435761u) % (options.size - RANGE_BYTES);
        snprintf(range, sizeof range, "bytes=%zu-%zu", at, at + RANGE_BYTES - 1);
        status = request(c, &(struct ask){"GET", key, "", .range = range}, options.body + at, &length);
        moved = length;
        if (length != RANGE_BYTES) status = 0;
    }
    if (status < 200 || status >= 300) {
        atomic_fetch_add(&errors, 1);
        client_connect(c);
    }
    atomic_fetch_add(&bytes_moved, moved);
}

static void once_mixed(struct client *c, uint64_t number) {
    char key[300];
    size_t length = 0;
    snprintf(key, sizeof key, "%sa/%u/%u", options.prefix, (unsigned)(number % 5),
             (unsigned)(number / 10 % MIXED_KEYS));
    int status = 0;
    bool is_good = false;
    switch (number % 12) {
    case 0:
    case 1:
        status = request(c, &(struct ask){"PUT", key, "", .body = 3000}, NULL, &length);
        is_good = status == 200;
        break;
    case 2:
        status = request(c, &(struct ask){"PUT", key, "", .body = 100000}, NULL, &length);
        is_good = status == 200;
        break;
    case 3:
    case 4:
        status = request(c, &(struct ask){"GET", key, ""}, options.body, &length);
        is_good = is_status(status, 200, 404);
        break;
    case 5:
        status = request(c, &(struct ask){"HEAD", key, ""}, NULL, &length);
        is_good = is_status(status, 200, 404);
        break;
    case 6:
        status = request(c, &(struct ask){"GET", "", "list-type=2&max-keys=20"}, NULL, &length);
        is_good = status == 200;
        break;
    case 7:
        status = request(c, &(struct ask){"DELETE", key, ""}, NULL, &length);
        is_good = status == 204;
        break;
    case 8:
        status = request(c, &(struct ask){"GET", "there/is/none", ""}, NULL, &length);
        is_good = status == 404;
        break;
    case 9:
        status = request(c, &(struct ask){"GET", key, "", .is_bad = true}, NULL, &length);
        is_good = is_status(status, 403, 400);
        break;
    case 10:
        status = request(c, &(struct ask){"GET", key, "", .range = "bytes=1000-1999"}, options.body + 1000, &length);
        is_good = is_status(status, 206, 404);
        break;
    default:
        status = request(c, &(struct ask){"PUT", key, "", .body = 70000, .announce = 200000}, NULL, &length);
        is_good = true;
    }
    if (!is_good) {
        fprintf(stderr, "s3-load: request %llu (%llu): %d\n", (unsigned long long)number,
                (unsigned long long)number % 12, status);
        atomic_fetch_add(&errors, 1);
    }
    if (!is_good || number % 7 == 0) client_connect(c);
    atomic_fetch_add(&bytes_moved, length);
}

static void *work(void *unused) {
    struct client c = {.fd = -1, .scratch = mem_alloc(SCRATCH_BYTES)};
    client_connect(&c);
    bool is_mixed = strcmp(options.op, "mixed") == 0;
    for (;;) {
        uint64_t number = atomic_fetch_add(&next_number, 1);
        if (number >= options.count) break;
        int64_t begun = clock_boottime_ns();
        if (is_mixed)
            once_mixed(&c, number);
        else
            once(&c, number);
        options.took_ns[number] = clock_boottime_ns() - begun;
    }
    fd_close(&c.fd);
    mem_free(c.scratch);
    return unused;
}

static int by_time(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void add_header(char *text) {
    char *colon = strchr(text, ':');
    if (colon == NULL || options.header_count == HEADERS_MAX) die("--header must be \"name: value\", at most 8 times");
    *colon = '\0';
    options.headers[options.header_count++] = (struct http_field){text, colon + 1 + strspn(colon + 1, " ")};
}

static void parse(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--plain") == 0) {
            options.is_plain = true;
            continue;
        }
        char *value = i + 1 < argc ? argv[++i] : NULL;
        if (value == NULL) die("an option without its value");
        const struct {
            const char *name, **text;
        } texts[] = {
            {"--op", &options.op},         {"--access-key", &options.access}, {"--secret-key", &options.secret},
            {"--bucket", &options.bucket}, {"--region", &options.region},     {"--prefix", &options.prefix}};
        bool is_known = false;
        for (size_t k = 0; k < sizeof texts / sizeof *texts; k++)
            if (strcmp(name, texts[k].name) == 0) {
                *texts[k].text = value;
                is_known = true;
            }
        uint64_t number = strtoull(value, NULL, 10);
        if (strcmp(name, "--header") == 0)
            add_header(value);
        else if (strcmp(name, "--port") == 0)
            options.port = (unsigned)number;
        else if (strcmp(name, "--size") == 0)
            options.size = number;
        else if (strcmp(name, "--objects") == 0)
            options.objects = (unsigned)number;
        else if (strcmp(name, "--count") == 0)
            options.count = number;
        else if (strcmp(name, "--connections") == 0)
            options.connections = (unsigned)number;
        else if (!is_known)
            die("an unknown option");
    }
    if (options.op == NULL || options.port == 0 || options.count == 0 || options.objects == 0 ||
        options.connections == 0)
        die("--port and --op must be given, and no count may be 0");
    if (strcmp(options.op, "range") == 0 && options.size <= RANGE_BYTES) die("ranges need more than 1 MiB");
}

/* The same bytes in every run, and no two places of them alike. */
static void make_body(void) {
    size_t size = options.size < 200000 ? 200000 : options.size;
    options.body = mem_alloc(size + 8);
    uint64_t x = 0x9E3779B97F4A7C15u;
    for (size_t i = 0; i < size; i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(options.body + i, &x, 8);
    }
}

int main(int argc, char **argv) {
    parse(argc, argv);
    must(secret_start(1 << 20, true));
    make_body();
    options.took_ns = mem_alloc_array(options.count, sizeof *options.took_ns);
    pthread_t *threads = mem_alloc_array(options.connections, sizeof *threads);
    int64_t begun = clock_boottime_ns();
    for (unsigned i = 0; i < options.connections; i++)
        if (pthread_create(&threads[i], NULL, work, NULL) != 0) die("no thread");
    for (unsigned i = 0; i < options.connections; i++)
        pthread_join(threads[i], NULL);
    double seconds = (double)(clock_boottime_ns() - begun) / 1e9;
    qsort(options.took_ns, options.count, sizeof *options.took_ns, by_time);
    printf("{\"requests\": %llu, \"errors\": %llu, \"seconds\": %.6f, \"bytes\": %llu, \"p50_ms\": %.4f, \"p99_ms\": "
           "%.4f}\n",
           (unsigned long long)options.count, (unsigned long long)errors, seconds, (unsigned long long)bytes_moved,
           (double)options.took_ns[options.count / 2] / 1e6, (double)options.took_ns[options.count * 99 / 100] / 1e6);
    return 0;
}
