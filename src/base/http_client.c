#include "base/http_client.h"

#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/secret.h"

enum {
    KEPT_MAX = 64, /* idle handles, each with its connections */
    CONNECTIONS_PER_HANDLE = 4,
    POLL_MS = 50,
    HEADERS_MAX_BYTES = 256 * 1024,
    BUFFER_BYTES = 128 * 1024,
    CONNECT_TIMEOUT_MS = 5000
};

/* An easy handle and the multi handle that drives it (curl_easy_perform would look at a cancellation only once a
 * second). The connections are kept in the latter. */
struct handle {
    CURL *easy;
    CURLM *multi;
    struct handle *next;
};

struct http_pool {
    pthread_mutex_t lock;
    struct handle *idle;
    unsigned idle_count;
};

/* One call under way. */
struct transfer {
    const struct http_call *call;
    CURL *easy;
    struct http_reply reply;
    bool head_told;
    size_t body_sent; /* of call->body */
    uint64_t received;
    bool too_large, cancelled, answer_began, head_complete;
    int64_t began_ns;
    char reason[CURL_ERROR_SIZE];
};

static void *zeroed(size_t count, size_t size) {
    return mem_alloc_array(count, size);
}

void http_client_start(void) {
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    /* libcurl's buffers see credentials and plaintext keys. */
    curl_global_init_mem(CURL_GLOBAL_DEFAULT, mem_alloc, mem_free_wiping, mem_resize, str_dup, zeroed);
}

static struct handle *handle_free(struct handle *h) {
    if (!h) return NULL;
    curl_easy_cleanup(h->easy);
    curl_multi_cleanup(h->multi);
    mem_free(h);
    return NULL;
}

static void handle_free_auto(struct handle **h) {
    handle_free(*h);
}

static struct result handle_new(struct handle **ret) {
    AUTO(handle_free_auto) struct handle *h = mem_alloc(sizeof *h);
    h->easy = curl_easy_init();
    h->multi = curl_multi_init();
    CHECK(h->easy && h->multi, ERR_INTERNAL, "libcurl could not be set up");
    curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, (long)CONNECTIONS_PER_HANDLE);
    *ret = TAKE(h);
    return OK;
}

struct result http_pool_new(struct http_pool **ret) {
    struct http_pool *p = mem_alloc(sizeof *p);
    pthread_mutex_init(&p->lock, NULL);
    *ret = p;
    return OK;
}

struct http_pool *http_pool_free(struct http_pool *p) {
    if (!p) return NULL;
    while (p->idle) {
        struct handle *h = p->idle;
        p->idle = h->next;
        handle_free(h);
    }
    pthread_mutex_destroy(&p->lock);
    mem_free(p);
    return NULL;
}

static struct result pool_take(struct http_pool *p, struct handle **ret) {
    pthread_mutex_lock(&p->lock);
    struct handle *h = p->idle;
    if (h) {
        p->idle = h->next;
        p->idle_count--;
    }
    pthread_mutex_unlock(&p->lock);
    if (!h) return handle_new(ret);
    h->next = NULL;
    *ret = h;
    return OK;
}

static void pool_give_back(struct http_pool *p, struct handle *h) {
    /* Drops every pointer into the caller's memory, keeps connections and TLS sessions. */
    curl_easy_reset(h->easy);
    pthread_mutex_lock(&p->lock);
    bool kept = p->idle_count < KEPT_MAX;
    if (kept) {
        h->next = p->idle;
        p->idle = h;
        p->idle_count++;
    }
    pthread_mutex_unlock(&p->lock);
    if (!kept) handle_free(h);
}

static bool is_cancelled(const struct http_call *call) {
    return call->cancelled && __atomic_load_n(call->cancelled, __ATOMIC_RELAXED);
}

static size_t on_header(char *text, size_t size, size_t count, void *arg) {
    struct transfer *t = arg;
    size_t len = size * count;
    t->answer_began = true;
    /* A status line: what came before belonged to an interim answer. */
    if (slice_starts_with(slice_make(text, len), "HTTP/")) {
        buf_clear(&t->reply.headers);
        t->head_complete = false;
    }
    if (slice_is(slice_make(text, len), "\r\n") || slice_is(slice_make(text, len), "\n")) t->head_complete = true;
    buf_append(&t->reply.headers, text, len);
    t->too_large |= t->reply.headers.overflowed;
    return t->too_large ? CURL_WRITEFUNC_ERROR : len;
}

static void tell_head(struct transfer *t) {
    long status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    t->reply.status = (int)status;
    if (!t->head_told && t->call->see_head) t->call->see_head(t->call->arg, &t->reply);
    t->head_told = true;
}

static size_t on_body(char *data, size_t size, size_t count, void *arg) {
    struct transfer *t = arg;
    size_t len = size * count;
    t->received += len;
    if (t->call->write_body) {
        t->too_large = t->call->max_reply_bytes && t->received > t->call->max_reply_bytes;
        if (t->too_large) return CURL_WRITEFUNC_ERROR;
        tell_head(t);
        t->cancelled |= !t->call->write_body(t->call->arg, slice_make(data, len));
        return t->cancelled ? CURL_WRITEFUNC_ERROR : len;
    }
    buf_append(&t->reply.body, data, len);
    t->too_large = t->reply.body.overflowed;
    return t->too_large ? CURL_WRITEFUNC_ERROR : len;
}

static size_t on_send(char *to, size_t size, size_t count, void *arg) {
    struct transfer *t = arg;
    size_t max = size * count;
    if (t->call->read_body) {
        ssize_t n = t->call->read_body(t->call->arg, (uint8_t *)to, max);
        t->cancelled |= n < 0 || (size_t)n > max;
        return t->cancelled ? CURL_READFUNC_ABORT : (size_t)n;
    }
    size_t left = t->call->body.len - t->body_sent;
    size_t n = left < max ? left : max;
    if (n) mem_copy(to, t->call->body.data + t->body_sent, n);
    t->body_sent += n;
    return n;
}

/* libcurl sends a request again when a kept connection turns out to be dead. */
static int on_rewind(void *arg, curl_off_t offset, int origin) {
    struct transfer *t = arg;
    if (t->call->read_body || origin != SEEK_SET || offset < 0 || (size_t)offset > t->call->body.len)
        return CURL_SEEKFUNC_CANTSEEK;
    t->body_sent = (size_t)offset;
    return CURL_SEEKFUNC_OK;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    struct transfer *t = arg;
    t->cancelled |= is_cancelled(t->call);
    return t->cancelled;
}

static void slist_free(struct curl_slist **list) {
    for (struct curl_slist *l = *list; l; l = l->next)
        wipe(l->data, strlen(l->data));
    curl_slist_free_all(*list);
}

static void str_free_wiping(char **s) {
    mem_free_wiping(*s);
}

static bool is_clean(const char *text) {
    for (; *text; text++)
        if (((unsigned char)*text < 0x20 && *text != '\t') || *text == 0x7F) return false;
    return true;
}

static struct result add_line(struct curl_slist **list, const char *line) {
    struct curl_slist *longer = curl_slist_append(*list, line);
    CHECK(longer, ERR_INTERNAL, "libcurl could not take a header");
    *list = longer;
    return OK;
}

static struct result fields_of(const struct http_call *call, struct curl_slist **list) {
    bool expects = false;
    for (const struct http_field *f = call->fields; f && f->name; f++) {
        expects |= strcasecmp(f->name, "Expect") == 0;
        CHECK(*f->name && is_clean(f->name) && is_clean(f->value), ERR_INVALID,
              "a header to be sent holds a control character");
        /* "Name:" would mean to libcurl that the header is to be left out. */
        AUTO(str_free_wiping)
        char *line = *f->value ? str_format("%s: %s", f->name, f->value) : str_format("%s;", f->name);
        TRY(add_line(list, line));
    }
    /* By itself libcurl would ask for "100 Continue" and wait a second for it before it sends a long body. */
    if (!expects) TRY(add_line(list, "Expect:"));
    return OK;
}

static void set_method(CURL *c, const struct http_call *call, struct transfer *t) {
    bool sends = call->read_body || call->body.len > 0 || strcmp(call->method, "POST") == 0 ||
                 strcmp(call->method, "PUT") == 0 || strcmp(call->method, "PATCH") == 0;
    if (strcmp(call->method, "HEAD") == 0 && !sends) {
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
        return;
    }
    if (sends) {
        curl_off_t length = call->read_body ? (curl_off_t)call->read_body_length : (curl_off_t)call->body.len;
        curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE, length);
        curl_easy_setopt(c, CURLOPT_READFUNCTION, on_send);
        curl_easy_setopt(c, CURLOPT_READDATA, t);
        curl_easy_setopt(c, CURLOPT_SEEKFUNCTION, on_rewind);
        curl_easy_setopt(c, CURLOPT_SEEKDATA, t);
        curl_easy_setopt(c, CURLOPT_UPLOAD_BUFFERSIZE, (long)BUFFER_BYTES);
    }
    curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, call->method);
}

static struct result set_up(CURL *c, const struct http_call *call, struct transfer *t, struct curl_slist *lines) {
    CURLcode e = curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    CHECK(e == CURLE_OK, ERR_INTERNAL, "libcurl lacks http or https");
    curl_easy_setopt(c, CURLOPT_URL, call->url);
    curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, call->unix_socket);
    curl_easy_setopt(c, CURLOPT_PROXY, "");
    curl_easy_setopt(c, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L); /* the path may be signed, or hold an object's name */
    curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (call->ca_file) curl_easy_setopt(c, CURLOPT_CAINFO, call->ca_file);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(c, CURLOPT_BUFFERSIZE, (long)BUFFER_BYTES);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS,
                     (long)(call->connect_timeout_ms ? call->connect_timeout_ms : CONNECT_TIMEOUT_MS));
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)call->timeout_ms);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, lines);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, t);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->reason);
    set_method(c, call, t);
    return OK;
}

/* Runs the transfer to its end. */
static CURLcode run(struct handle *h, struct transfer *t) {
    if (curl_multi_add_handle(h->multi, h->easy) != CURLM_OK) return CURLE_FAILED_INIT;
    CURLcode code = CURLE_FAILED_INIT;
    for (bool done = false; !done;) {
        int running = 0, left = 0;
        if (curl_multi_perform(h->multi, &running) != CURLM_OK) break;
        for (CURLMsg *m; (m = curl_multi_info_read(h->multi, &left));) {
            if (m->msg != CURLMSG_DONE) continue;
            code = m->data.result;
            done = true;
        }
        t->cancelled |= is_cancelled(t->call);
        if (!done && t->cancelled) {
            code = CURLE_ABORTED_BY_CALLBACK;
            done = true;
        }
        if (!done && curl_multi_poll(h->multi, NULL, 0, t->call->cancelled ? POLL_MS : 1000, NULL) != CURLM_OK) break;
    }
    curl_multi_remove_handle(h->multi, h->easy);
    return code;
}

static struct result failure_of(CURLcode code, const struct transfer *t) {
    const char *text = curl_easy_strerror(code);
    const char *reason = t->reason[0] ? t->reason : text;
    if (t->cancelled) FAIL(ERR_CANCELLED, "the request was given up");
    if (t->too_large) FAIL(ERR_TOO_LARGE, "the answer is larger than its limit");
    if (code == CURLE_URL_MALFORMAT) FAIL(ERR_INVALID, "the URL is not valid");
    if (code == CURLE_OPERATION_TIMEDOUT) {
        int64_t took_ms = (clock_boottime_ns() - t->began_ns) / NS_PER_MS;
        bool whole = t->answer_began || (t->call->timeout_ms && took_ms + 5 >= t->call->timeout_ms);
        if (whole) FAIL(ERR_TIMEOUT, "no complete answer within %u ms", t->call->timeout_ms);
        FAIL(ERR_UNREACHABLE, "%s", reason);
    }
    /* From here on the reason could quote what the peer sent, so only libcurl's fixed text is told. */
    if (t->answer_began || code == CURLE_WEIRD_SERVER_REPLY || code == CURLE_UNSUPPORTED_PROTOCOL ||
        code == CURLE_PARTIAL_FILE || code == CURLE_HTTP2 || code == CURLE_BAD_CONTENT_ENCODING)
        FAIL(ERR_PEER, "the answer is not valid HTTP or broke off: %s", text);
    if (code == CURLE_FAILED_INIT || code == CURLE_OUT_OF_MEMORY || code == CURLE_BAD_FUNCTION_ARGUMENT)
        FAIL(ERR_INTERNAL, "the request could not be made: %s", text);
    FAIL(ERR_UNREACHABLE, "%s", reason);
}

static void transfer_done(struct transfer *t) {
    http_reply_done(&t->reply);
}

struct result http_call(struct http_pool *p, const struct http_call *call, struct http_reply *ret) {
    struct slice url = slice_str(call->url);
    CHECK(slice_starts_with(url, "http://") || slice_starts_with(url, "https://"), ERR_INVALID,
          "a URL must begin with http:// or https://");
    AUTO(slist_free) struct curl_slist *lines = NULL;
    TRY(fields_of(call, &lines));
    AUTO(transfer_done) struct transfer t = {.call = call, .began_ns = clock_boottime_ns()};
    buf_init(&t.reply.headers, HEADERS_MAX_BYTES);
    buf_init_wiping(&t.reply.body, call->max_reply_bytes ? call->max_reply_bytes : 1024 * 1024);
    if (is_cancelled(call)) FAIL(ERR_CANCELLED, "the request was given up");
    struct handle *h;
    TRY(pool_take(p, &h));
    t.easy = h->easy;
    struct result r = set_up(h->easy, call, &t, lines);
    CURLcode code = is_ok(r) ? run(h, &t) : CURLE_FAILED_INIT;
    long status = 0;
    curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &status);
    pool_give_back(p, h);
    TRY(r);
    if (code != CURLE_OK) return failure_of(code, &t);
    /* libcurl takes an end in the middle of the headers for an empty answer. */
    CHECK(t.head_complete, ERR_PEER, "the answer broke off within its headers");
    CHECK(status >= 200 && status <= 999, ERR_PEER, "the answer has no valid status");
    t.reply.status = (int)status;
    *ret = t.reply;
    t.reply = (struct http_reply){0};
    return OK;
}

void http_reply_done(struct http_reply *r) {
    buf_done(&r->headers);
    buf_done(&r->body);
    r->status = 0;
}

static struct slice trimmed(struct slice s) {
    while (s.len > 0 && (s.data[0] == ' ' || s.data[0] == '\t'))
        s = slice_make(s.data + 1, s.len - 1);
    while (s.len > 0 && strchr(" \t\r", s.data[s.len - 1]))
        s.len--;
    return s;
}

bool http_reply_header(const struct http_reply *r, const char *name, struct slice *ret) {
    struct slice rest = buf_slice(&r->headers), line, found, value;
    size_t name_len = strlen(name);
    while (rest.len > 0) {
        slice_cut(rest, '\n', &line, &rest);
        if (!slice_cut(line, ':', &found, &value)) continue;
        if (found.len != name_len || strncasecmp((const char *)found.data, name, name_len) != 0) continue;
        *ret = trimmed(value);
        return true;
    }
    return false;
}
