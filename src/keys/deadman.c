#include "keys/deadman.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "base/clock.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static timer_t timer;
static bool is_started;

static struct result set_timer(int64_t at_ns) {
    int64_t now = clock_boottime_ns();
    int64_t latest = now + DEADMAN_MAX_MS * NS_PER_MS;
    if (at_ns > latest) at_ns = latest;
    if (at_ns < 1) at_ns = 1; /* zero would disarm it; a time long past fires at once */
    struct itimerspec when = {.it_value = {.tv_sec = at_ns / NS_PER_S, .tv_nsec = at_ns % NS_PER_S}};
    if (timer_settime(timer, TIMER_ABSTIME, &when, NULL) < 0) return err_from_errno(errno, "arming the dead-man timer");
    return OK;
}

struct result deadman_start(int64_t first_ms) {
    CHECK(first_ms >= 1 && first_ms <= DEADMAN_MAX_MS, ERR_INVALID, "a dead-man timer's bound is 1 to %d ms, not %lld",
          DEADMAN_MAX_MS, (long long)first_ms);
    pthread_mutex_lock(&lock);
    struct result done = OK;
    if (is_started) {
        done = err_make(ERR_CONFLICT, "the dead-man timer runs already");
    } else {
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
        if (timer_create(CLOCK_BOOTTIME, &event, &timer) < 0) {
            done = err_from_errno(errno, "making the dead-man timer");
        } else {
            done = set_timer(clock_boottime_ns() + first_ms * NS_PER_MS);
            is_started = is_ok(done);
            if (!is_started) timer_delete(timer);
        }
    }
    pthread_mutex_unlock(&lock);
    return done;
}

struct result deadman_arm(int64_t expiry_boottime_ns) {
    pthread_mutex_lock(&lock);
    struct result done =
        is_started ? set_timer(expiry_boottime_ns) : err_make(ERR_INVALID, "the dead-man timer was not started");
    pthread_mutex_unlock(&lock);
    return done;
}
