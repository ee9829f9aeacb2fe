#include "fake_kms.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "helpers.h"

#include "base/clock.h"
#include "base/crypto.h"

enum { REQUEST_MAX = 64 * 1024 };

static bool lookup(void *arg, const char *access_key_id, struct sigv4_credential *ret) {
    const struct fake_step *step = arg;
    const char *key = step->needs_new_key ? FAKE_NEW_KEY : FAKE_KEY;
    *ret = (struct sigv4_credential){.secret_key = slice_str(step->needs_new_key ? FAKE_NEW_SECRET : FAKE_SECRET),
                                     .session_token = slice_str(step->needs_new_key ? FAKE_TOKEN : ""),
                                     .user = arg};
    return strcmp(access_key_id, key) == 0;
}

static void copy_header(const struct http_field *fields, const char *name, char *to, size_t size) {
    to[0] = 0;
    for (; fields->name; fields++)
        if (strcasecmp(fields->name, name) == 0) snprintf(to, size, "%s", fields->value);
}

/* Cuts the header block up and verifies. */
static void judge(struct fake_kms *f, const struct fake_step *step, char *head, struct slice body) {
    SIGV4_FIELDS_AUTO(fields);
    for (char *line = strchr(head, '\n') + 1; *line;) {
        char *end = strstr(line, "\r\n");
        if (end) *end = 0;
        char *colon = strchr(line, ':');
        *colon = 0;
        sigv4_fields_add(&fields, line, colon + 1 + strspn(colon + 1, " "));
        line = end ? end + 2 : colon + strlen(colon + 1) + 1;
    }
    const struct http_field *list = sigv4_fields_list(&fields);
    uint8_t hash[SHA256_BYTES];
    BUF_AUTO(hex, 65);
    ASSERT_OK(sha256(body, hash));
    hex_encode(slice_make(hash, sizeof hash), &hex);
    struct sigv4_request r = {
        .method = slice_str("POST"), .path = slice_str("/"), .fields = list, .payload_hash = buf_slice(&hex)};
    struct fake_step copy = *step;
    struct sigv4_expect expect = {.region = "us-west-2",
                                  .service = "kms",
                                  .now_unix_ms = clock_unix_ms() + step->clock_ms,
                                  .max_skew_ms = 300000,
                                  .lookup = lookup,
                                  .arg = &copy};
    struct sigv4_verified v;
    ASSERT_OK(sigv4_verify(&r, &expect, &v));
    f->signature = v.failure;
    mem_copy(f->detail, v.detail, sizeof f->detail);
    copy_header(list, "X-Amz-Target", f->target, sizeof f->target);
    copy_header(list, "Content-Type", f->content_type, sizeof f->content_type);
    copy_header(list, "X-Amz-Security-Token", f->token, sizeof f->token);
    snprintf(f->body, sizeof f->body, "%.*s", (int)body.len, (const char *)body.data);
}

/* Reads one request; false if the client went away. */
static bool read_request(struct fake_kms *f, int fd, const struct fake_step *step) {
    BUF_AUTO(in, REQUEST_MAX);
    for (;;) {
        uint8_t piece[4096];
        ssize_t n = read(fd, piece, sizeof piece);
        if (n <= 0) return false;
        buf_append(&in, piece, (size_t)n);
        char *end = strstr((char *)in.data, "\r\n\r\n");
        if (end == NULL) continue;
        const char *length = strcasestr((char *)in.data, "content-length:");
        size_t head = (size_t)(end - (char *)in.data) + 4, body = length ? strtoul(length + 15, NULL, 10) : 0;
        if (in.len < head + body) continue;
        *end = 0;
        judge(f, step, (char *)in.data, slice_make(in.data + head, body));
        return true;
    }
}

static void answer(int fd, const struct fake_step *step) {
    char date[CLOCK_ISO_BYTES];
    clock_format_http(clock_unix_ms() + step->clock_ms, date);
    size_t len = strlen(step->body);
    BUF_AUTO(out, 1 << 20);
    buf_printf(&out,
               "HTTP/1.1 %d X\r\nDate: %s\r\nx-amzn-RequestId: 11111111-2222\r\nConnection: close\r\n"
               "Content-Type: application/x-amz-json-1.1\r\nContent-Length: %zu\r\n%s\r\n",
               step->status, date, len, step->headers ? step->headers : "");
    buf_append(&out, step->body, step->breaks_off ? len / 2 : len);
    for (size_t at = 0; at < out.len;) {
        ssize_t n = send(fd, out.data + at, out.len - at, MSG_NOSIGNAL);
        if (n <= 0) return;
        at += (size_t)n;
    }
}

static void *serve(void *arg) {
    struct fake_kms *f = arg;
    for (;;) {
        int fd = accept(f->listen_fd, NULL, NULL);
        if (atomic_load(&f->stopped) || fd < 0) {
            if (fd >= 0) close(fd);
            return NULL;
        }
        unsigned n = atomic_load(&f->requests);
        const struct fake_step *step = &f->steps[n < f->step_count ? n : f->step_count - 1];
        if (read_request(f, fd, step)) {
            atomic_fetch_add(&f->requests, 1);
            for (unsigned ms = 0; ms < step->delay_ms && !atomic_load(&f->stopped); ms += 10)
                clock_sleep_ms(10);
            if (step->status) answer(fd, step);
        }
        close(fd);
    }
}

void fake_kms_start(struct fake_kms *f, const struct fake_step *steps, size_t count) {
    *f = (struct fake_kms){.steps = steps, .step_count = count};
    ASSERT_OK(http_listen_tcp("127.0.0.1", 0, &f->listen_fd, &f->port));
    assert_int_equal(pthread_create(&f->thread, NULL, serve, f), 0);
}

void fake_kms_stop(struct fake_kms *f) {
    atomic_store(&f->stopped, true);
    shutdown(f->listen_fd, SHUT_RDWR);
    pthread_join(f->thread, NULL);
    close(f->listen_fd);
}
