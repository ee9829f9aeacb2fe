#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "store/cache_priv.h"

static void *wake(void *arg) {
    struct cache_waker *w = arg;
    struct pollfd fds[] = {{w->fd, POLLIN, 0}, {w->stop_fd, POLLIN, 0}};
    for (;;) {
        if (poll(fds, ARRAY_LEN(fds), -1) < 0 && errno != EINTR) return NULL;
        if (fds[1].revents != 0) return NULL;
        uint64_t times;
        if (fds[0].revents != 0 && read(w->fd, &times, sizeof times) == sizeof times) w->tick(w->arg);
    }
}

static struct timespec timespec_of(int64_t ns) {
    return (struct timespec){.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
}

struct result cache_waker_start(struct cache_waker *w, int64_t first_boottime_ns, int64_t interval_ns,
                                void (*tick)(void *arg), void *arg) {
    w->tick = tick;
    w->arg = arg;
    w->fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (w->fd < 0) return err_from_errno(errno, "timerfd_create");
    const struct itimerspec when = {.it_value = timespec_of(first_boottime_ns + interval_ns),
                                    .it_interval = timespec_of(interval_ns)};
    if (timerfd_settime(w->fd, TFD_TIMER_ABSTIME, &when, NULL) != 0) {
        int error = errno;
        fd_close(&w->fd);
        return err_from_errno(error, "timerfd_settime");
    }
    w->stop_fd = eventfd(0, EFD_CLOEXEC);
    int error = w->stop_fd < 0 ? errno : pthread_create(&w->thread, NULL, wake, w);
    if (error == 0) return OK;
    fd_close(&w->fd);
    fd_close(&w->stop_fd);
    return err_from_errno(error, "starting the cache's thread");
}

void cache_waker_stop(struct cache_waker *w) {
    if (w->fd < 0 || w->stop_fd < 0) return;
    const uint64_t one = 1;
    if (write(w->stop_fd, &one, sizeof one) == sizeof one) pthread_join(w->thread, NULL);
    fd_close(&w->fd);
    fd_close(&w->stop_fd);
}
