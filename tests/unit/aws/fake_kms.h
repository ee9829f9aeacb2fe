/* A KMS that answers from a script, byte for byte, and checks how it was asked. For tests of the client. */
#ifndef LOCKSET_TESTS_AWS_FAKE_KMS_H
#define LOCKSET_TESTS_AWS_FAKE_KMS_H

#include <pthread.h>
#include <stdatomic.h>

#include "aws/sigv4.h"

/* One answer. Steps follow one another, the last one repeats. */
struct fake_step {
    int status; /* 0: close without an answer */
    const char *body;
    int64_t clock_ms; /* for the header Date, relative to the real time; the signature is judged by this clock too */
    unsigned delay_ms;
    bool breaks_off;     /* sends half of the body */
    bool needs_new_key;  /* expects the second access key */
    const char *headers; /* more header lines */
};

struct fake_kms {
    const struct fake_step *steps;
    size_t step_count;
    atomic_uint requests;
    atomic_bool stopped;
    int listen_fd;
    unsigned port;
    pthread_t thread;
    /* Of the last request. */
    enum sigv4_failure signature;
    char detail[SIGV4_DETAIL_BYTES], target[100], content_type[100], body[8192], token[100];
};

#define FAKE_KEY "AKIAFAKE0000"
#define FAKE_SECRET "fake secret one"
#define FAKE_NEW_KEY "AKIAFAKE1111"
#define FAKE_NEW_SECRET "fake secret two"
#define FAKE_TOKEN "fake-session-token"

void fake_kms_start(struct fake_kms *f, const struct fake_step *steps, size_t count);
void fake_kms_stop(struct fake_kms *f);

#endif
