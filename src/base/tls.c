#include "base/tls.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <poll.h>

#include "base/clock.h"

/* What browsers and SDKs of the last ten years speak. */
static const char priorities[] = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2";

struct tls_server {
    gnutls_certificate_credentials_t credentials;
    gnutls_priority_t priority;
};

struct tls {
    gnutls_session_t session;
};

static struct result load(struct tls_server *s, const char *cert_pem, const char *key_pem) {
    struct slice cert = slice_str(cert_pem), key = slice_str(key_pem);
    gnutls_datum_t c = {mem_unconst(cert.data), (unsigned)cert.len}, k = {mem_unconst(key.data), (unsigned)key.len};
    CHECK(gnutls_certificate_allocate_credentials(&s->credentials) == 0, ERR_INTERNAL, "GnuTLS has no memory");
    int code = gnutls_certificate_set_x509_key_mem(s->credentials, &c, &k, GNUTLS_X509_FMT_PEM);
    CHECK(code >= 0, ERR_INVALID, "the TLS certificate and key can't be used: %s", gnutls_strerror(code));
    code = gnutls_priority_init(&s->priority, priorities, NULL);
    CHECK(code == 0, ERR_INTERNAL, "GnuTLS: %s", gnutls_strerror(code));
    return OK;
}

struct result tls_server_new(const char *cert_pem, const char *key_pem, struct tls_server **ret) {
    struct tls_server *s = mem_alloc(sizeof *s);
    struct result r = load(s, cert_pem, key_pem);
    if (is_err(r)) {
        tls_server_free(s);
        return r;
    }
    *ret = s;
    return OK;
}

struct tls_server *tls_server_free(struct tls_server *s) {
    if (!s) return NULL;
    if (s->credentials) gnutls_certificate_free_credentials(s->credentials);
    if (s->priority) gnutls_priority_deinit(s->priority);
    mem_free(s);
    return NULL;
}

static struct result wait_for(struct tls *t, int fd, int64_t deadline_ns) {
    struct pollfd polled = {fd, gnutls_record_get_direction(t->session) ? POLLOUT : POLLIN, 0};
    int64_t left_ms = (deadline_ns - clock_boottime_ns()) / NS_PER_MS;
    CHECK(left_ms > 0, ERR_TIMEOUT, "the TLS handshake took too long");
    int n = poll(&polled, 1, (int)(left_ms < 1000 ? left_ms : 1000));
    return n < 0 && errno != EINTR ? err_from_errno(errno, "poll") : OK;
}

static struct result handshake(struct tls *t, int fd, int64_t deadline_ns) {
    for (;;) {
        int code = gnutls_handshake(t->session);
        if (code == GNUTLS_E_SUCCESS) return OK;
        CHECK(!gnutls_error_is_fatal(code), ERR_PEER, "TLS: %s", gnutls_strerror(code));
        if (code == GNUTLS_E_AGAIN) TRY(wait_for(t, fd, deadline_ns));
        CHECK(clock_boottime_ns() < deadline_ns, ERR_TIMEOUT, "the TLS handshake took too long");
    }
}

struct result tls_accept(const struct tls_server *s, int fd, int64_t deadline_boottime_ns, struct tls **ret) {
    struct tls *t = mem_alloc(sizeof *t);
    int code = gnutls_init(&t->session, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
    if (code != 0) {
        mem_free(t);
        FAIL(ERR_INTERNAL, "GnuTLS: %s", gnutls_strerror(code));
    }
    gnutls_priority_set(t->session, s->priority);
    gnutls_credentials_set(t->session, GNUTLS_CRD_CERTIFICATE, s->credentials);
    gnutls_transport_set_int(t->session, fd);
    gnutls_handshake_set_timeout(t->session, GNUTLS_INDEFINITE_TIMEOUT); /* the deadline counts */
    struct result r = handshake(t, fd, deadline_boottime_ns);
    if (is_err(r)) {
        gnutls_deinit(t->session);
        mem_free(t);
        return r;
    }
    *ret = t;
    return OK;
}

struct tls *tls_free(struct tls *t) {
    if (!t) return NULL;
    (void)gnutls_bye(t->session, GNUTLS_SHUT_WR); /* non-blocking: what has no room is not said */
    gnutls_deinit(t->session);
    mem_free(t);
    return NULL;
}

/* Warning alerts and the like are no reason to end: the caller comes again. */
static ssize_t outcome(ssize_t code) {
    if (code >= 0) return code;
    return gnutls_error_is_fatal((int)code) ? TLS_BROKEN : TLS_AGAIN;
}

ssize_t tls_receive(struct tls *t, uint8_t *to, size_t max) {
    return outcome(gnutls_record_recv(t->session, to, max));
}

ssize_t tls_send(struct tls *t, struct slice bytes) {
    return outcome(gnutls_record_send(t->session, bytes.data, bytes.len));
}

bool tls_has_pending(const struct tls *t) {
    return gnutls_record_check_pending(t->session) > 0;
}
