#include "kafka_proxy.h"

#include <arpa/inet.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "testing.h"

enum {
    API_FETCH = 1,
    API_METADATA = 3,
    API_SASL_HANDSHAKE = 17,
    API_VERSIONS = 18,
    API_SASL_AUTHENTICATE = 36,
    FRAME_MAX = 64 << 20,
};

struct connection {
    struct kafka_proxy *proxy;
    int client, upstream;
    SSL *ssl;
    bool is_known;
};

/* ---- bytes ---- */

static bool read_upstream(int fd, uint8_t *to, size_t n) {
    for (ssize_t got; n > 0; n -= (size_t)got, to += got)
        if ((got = recv(fd, to, n, 0)) <= 0) return false;
    return true;
}

static bool write_upstream(int fd, const uint8_t *from, size_t n) {
    for (ssize_t got; n > 0; n -= (size_t)got, from += got)
        if ((got = send(fd, from, n, MSG_NOSIGNAL)) <= 0) return false;
    return true;
}

static bool read_client(struct connection *c, uint8_t *to, size_t n) {
    if (!c->ssl) return read_upstream(c->client, to, n);
    for (int got; n > 0; n -= (size_t)got, to += got)
        if ((got = SSL_read(c->ssl, to, (int)n)) <= 0) return false;
    return true;
}

static bool write_client(struct connection *c, const struct buf *frame) {
    if (!c->ssl) return write_upstream(c->client, frame->data, frame->len);
    return SSL_write(c->ssl, frame->data, (int)frame->len) == (int)frame->len;
}

static uint32_t number(const uint8_t *p, size_t bytes) {
    uint32_t n = 0;
    for (size_t i = 0; i < bytes; i++)
        n = n << 8 | p[i];
    return n;
}

static void set_u32(uint8_t *p, uint32_t n) {
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(n >> (24 - 8 * i));
}

/* A frame with its length in front. */
static bool read_frame(struct connection *c, bool from_client, struct buf *frame) {
    uint8_t length[4];
    buf_clear(frame);
    if (from_client ? !read_client(c, length, 4) : !read_upstream(c->upstream, length, 4)) return false;
    uint32_t n = number(length, 4);
    if (n > FRAME_MAX) return false;
    buf_append(frame, length, 4);
    uint8_t *at = buf_reserve(frame, n);
    if (from_client ? !read_client(c, at, n) : !read_upstream(c->upstream, at, n)) return false;
    frame->len += n;
    return true;
}

static void end_frame(struct buf *frame) {
    set_u32(frame->data, (uint32_t)(frame->len - 4));
}

/* ---- answers that are changed ---- */

/* Two more calls are known: SaslHandshake v1 and SaslAuthenticate v0. */
static void add_sasl(struct buf *frame) {
    static const uint8_t more[] = {0, API_SASL_HANDSHAKE, 0, 0, 0, 1, 0, API_SASL_AUTHENTICATE, 0, 0, 0, 0};
    enum { COUNT_AT = 4 + 4 + 2, LIST_AT = COUNT_AT + 4 };
    size_t behind = frame->len - LIST_AT;
    buf_append(frame, more, sizeof more);
    mem_move(frame->data + LIST_AT + sizeof more, frame->data + LIST_AT, behind);
    mem_copy(frame->data + LIST_AT, more, sizeof more);
    set_u32(frame->data + COUNT_AT, number(frame->data + COUNT_AT, 4) + 2);
    end_frame(frame);
}

/* Metadata v2: the broker is at our address (both names have nine letters), and of the topic, the last thing in the
 * answer, only some partitions are there. */
static void change_metadata(const struct kafka_proxy *p, struct buf *frame) {
    uint8_t *at = frame->data + 8;
    uint32_t brokers = number(at, 4);
    at += 4;
    for (uint32_t i = 0; i < brokers; i++) {
        at += 4 + 2;
        mem_copy(at, "localhost", 9);
        at += 9;
        set_u32(at, (uint32_t)p->port);
        at += 4;
        uint32_t rack = number(at, 2);
        at += 2 + (rack == 0xFFFF ? 0 : rack);
    }
    at += 2 + number(at, 2) + 4; /* cluster, controller */
    if (number(at, 4) != 1 || atomic_load(&p->shown_partitions) == 0) return;
    at += 4 + 2;
    at += 2 + number(at, 2) + 1;
    uint32_t shown = (uint32_t)atomic_load(&p->shown_partitions);
    if (number(at, 4) <= shown) return;
    set_u32(at, shown);
    at += 4;
    for (uint32_t i = 0; i < shown; i++) {
        at += 2 + 4 + 4;
        at += 4 + 4 * number(at, 4);
        at += 4 + 4 * number(at, 4);
    }
    frame->len = (size_t)(at - frame->data);
    end_frame(frame);
}

/* ---- login ---- */

static void answer_handshake(const struct buf *request, struct buf *answer) {
    static const uint8_t body[] = {0, 0, 0, 0, 0, 1, 0, 5, 'P', 'L', 'A', 'I', 'N'};
    put_u32(answer, 0);
    buf_append(answer, request->data + 8, 4);
    buf_append(answer, body, sizeof body);
    end_frame(answer);
}

static void answer_login(struct connection *c, const struct buf *request, struct buf *answer) {
    struct kafka_proxy *p = c->proxy;
    const uint8_t *at = request->data + 12;
    at += 2 + number(at, 2); /* the client's name */
    struct slice got = slice_make(at + 4, number(at, 4));
    BUF_AUTO(wanted, 200);
    buf_append_byte(&wanted, 0);
    buf_append_str(&wanted, p->user);
    buf_append_byte(&wanted, 0);
    buf_append_str(&wanted, p->password);
    c->is_known = slice_equal(got, buf_slice(&wanted));
    atomic_fetch_add(c->is_known ? &p->logins : &p->refusals, 1);
    put_u32(answer, 0);
    buf_append(answer, request->data + 8, 4);
    put_u16(answer, c->is_known ? 0 : 58);
    if (c->is_known) {
        put_u16(answer, 0xFFFF);
    } else { /* a broker that says too much */
        BUF_AUTO(why, 400);
        buf_append_str(&why, "bad login: ");
        for (size_t i = 0; i < got.len; i++)
            buf_append_byte(&why, got.data[i] ? got.data[i] : ' ');
        put_u16(answer, (uint16_t)why.len);
        buf_append_slice(answer, buf_slice(&why));
    }
    put_u32(answer, 0);
    end_frame(answer);
}

/* ---- connections ---- */

/* False: the connection ends. */
static bool serve_one(struct connection *c, struct buf *frame) {
    struct kafka_proxy *p = c->proxy;
    if (!read_frame(c, true, frame)) return false;
    while (atomic_load(&p->frozen)) {
        struct pollfd gone = {.fd = c->client, .events = POLLRDHUP};
        if (poll(&gone, 1, 10) > 0) return false;
    }
    uint32_t api = number(frame->data + 4, 2);
    BUF_AUTO(answer, 1000);
    if (p->tls && (api == API_SASL_HANDSHAKE || api == API_SASL_AUTHENTICATE)) {
        if (api == API_SASL_HANDSHAKE)
            answer_handshake(frame, &answer);
        else
            answer_login(c, frame, &answer);
        return write_client(c, &answer);
    }
    if (p->tls && !c->is_known && api != API_VERSIONS) return false;
    if (!write_upstream(c->upstream, frame->data, frame->len) || !read_frame(c, false, frame)) return false;
    if (p->tls && api == API_VERSIONS) add_sasl(frame);
    if (api == API_METADATA) change_metadata(p, frame);
    if (api == API_FETCH && frame->len > 200 && atomic_load(&p->damage) > 0) {
        atomic_fetch_sub(&p->damage, 1);
        frame->data[frame->len / 2] ^= 1;
    }
    return write_client(c, frame);
}

static int connect_to(int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0) return fd;
    close(fd);
    return -1;
}

static void *connection_main(void *argument) {
    struct connection *c = argument;
    BUF_AUTO(frame, FRAME_MAX + 100);
    c->upstream = connect_to(c->proxy->upstream_port);
    bool good = c->upstream >= 0;
    if (good && c->proxy->tls) {
        c->ssl = SSL_new(c->proxy->tls);
        SSL_set_fd(c->ssl, c->client);
        good = SSL_accept(c->ssl) == 1;
    }
    while (good)
        good = serve_one(c, &frame);
    SSL_free(c->ssl);
    close(c->client);
    if (c->upstream >= 0) close(c->upstream);
    atomic_fetch_sub(&c->proxy->connections, 1);
    mem_free(c);
    return NULL;
}

static void *proxy_main(void *argument) {
    struct kafka_proxy *p = argument;
    while (!atomic_load(&p->ending)) {
        struct pollfd ready = {.fd = p->listener, .events = POLLIN};
        if (poll(&ready, 1, 20) <= 0) continue;
        int fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) continue;
        struct connection *c = mem_alloc(sizeof *c);
        *c = (struct connection){.proxy = p, .client = fd};
        atomic_fetch_add(&p->connections, 1);
        pthread_t thread;
        pthread_create(&thread, NULL, connection_main, c);
        pthread_detach(thread);
    }
    return NULL;
}

/* ---- TLS ---- */

static SSL_CTX *make_tls(const char *path) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    X509_NAME *name = X509_get_subject_name(x);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"kafka", -1, -1, 0);
    X509_set_issuer_name(x, name);
    X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:localhost");
    X509_EXTENSION *ca = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");
    X509_add_ext(x, names, -1);
    X509_add_ext(x, ca, -1);
    X509_EXTENSION_free(names);
    X509_EXTENSION_free(ca);
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(PEM_write_X509(f, x), 1);
    fclose(f);
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(tls, x), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(tls, key), 1);
    X509_free(x);
    EVP_PKEY_free(key);
    return tls;
}

void kafka_proxy_start(struct kafka_proxy *p, const char *upstream, const char *certificate) {
    *p = (struct kafka_proxy){.user = "theApiKey", .password = "theSecret"};
    p->upstream_port = (int)strtol(strrchr(upstream, ':') + 1, NULL, 10);
    if (certificate) p->tls = make_tls(certificate);
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    assert_int_equal(bind(p->listener, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(p->listener, 50), 0);
    assert_int_equal(getsockname(p->listener, (struct sockaddr *)&at, &len), 0);
    p->port = ntohs(at.sin_port);
    snprintf(p->servers, sizeof p->servers, "localhost:%d", p->port);
    assert_int_equal(pthread_create(&p->thread, NULL, proxy_main, p), 0);
}

void kafka_proxy_end(struct kafka_proxy *p) {
    atomic_store(&p->ending, true);
    pthread_join(p->thread, NULL);
    while (atomic_load(&p->connections) > 0)
        usleep(1000);
    close(p->listener);
    SSL_CTX_free(p->tls);
}

/* ---- batches by hand ---- */

static uint32_t crc32c(struct slice s) {
    uint32_t crc = 0xFFFFFFFF;
    for (size_t i = 0; i < s.len; i++) {
        crc ^= s.data[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78 : 0);
    }
    return ~crc;
}

/* Small signed numbers, in zigzag. */
static void put_varint(struct buf *b, int n) {
    unsigned z = (unsigned)n << 1 ^ (unsigned)(n >> 31);
    for (; z > 0x7F; z >>= 7)
        buf_append_byte(b, (uint8_t)(z | 0x80));
    buf_append_byte(b, (uint8_t)z);
}

static void put_record(struct buf *b, bool is_control, int offset) {
    static const uint8_t commit_mark[] = {0, 0, 0, 1}, coordinator[] = {0, 0, 0, 0, 0, 0};
    BUF_AUTO(record, 200);
    buf_append_byte(&record, 0);
    put_varint(&record, 0); /* time */
    put_varint(&record, offset);
    if (is_control) {
        put_varint(&record, sizeof commit_mark);
        buf_append(&record, commit_mark, sizeof commit_mark);
        put_varint(&record, sizeof coordinator);
        buf_append(&record, coordinator, sizeof coordinator);
    } else {
        put_varint(&record, -1);
        put_varint(&record, 2);
        buf_append_str(&record, "{}");
    }
    put_varint(&record, 0); /* headers */
    put_varint(b, (int)record.len);
    buf_append_slice(b, buf_slice(&record));
}

void kafka_raw_produce(const char *servers, const char *topic, bool is_control, const int *offsets, int count,
                       int last) {
    BUF_AUTO(body, 4000); /* what the checksum is of */
    put_u16(&body, is_control ? 0x30 : 0);
    put_u32(&body, (uint32_t)last);
    put_u64(&body, 1700000000000);
    put_u64(&body, 1700000000000);
    put_u64(&body, UINT64_MAX); /* producer */
    put_u16(&body, 0xFFFF);
    put_u32(&body, UINT32_MAX);
    put_u32(&body, (uint32_t)count);
    for (int i = 0; i < count; i++)
        put_record(&body, is_control, offsets[i]);
    BUF_AUTO(request, 8000);
    put_u32(&request, 0);
    put_u16(&request, 0); /* Produce v3 */
    put_u16(&request, 3);
    put_u32(&request, 1);
    put_u16(&request, 0xFFFF);
    put_u16(&request, 0xFFFF); /* no transaction */
    put_u16(&request, 1);
    put_u32(&request, 10000);
    put_u32(&request, 1);
    put_u16(&request, (uint16_t)strlen(topic));
    buf_append_str(&request, topic);
    put_u32(&request, 1);
    put_u32(&request, 0);
    put_u32(&request, (uint32_t)(8 + 4 + 4 + 1 + 4 + body.len));
    put_u64(&request, 0);
    put_u32(&request, (uint32_t)(4 + 1 + 4 + body.len));
    put_u32(&request, UINT32_MAX);
    buf_append_byte(&request, 2);
    put_u32(&request, crc32c(buf_slice(&body)));
    buf_append_slice(&request, buf_slice(&body));
    end_frame(&request);
    struct connection c = {.upstream = connect_to((int)strtol(strrchr(servers, ':') + 1, NULL, 10))};
    assert_true(c.upstream >= 0);
    assert_true(write_upstream(c.upstream, request.data, request.len));
    assert_true(read_frame(&c, false, &request));
    /* length, correlation, topics, topic, partitions, partition, error */
    assert_int_equal(number(request.data + 4 + 4 + 4 + 2 + strlen(topic) + 4 + 4, 2), 0);
    close(c.upstream);
}
