/* Loaded into a program with LD_PRELOAD, this moves the wall clock that the program sees, as someone who sets a
 * machine's clock would: by the nanoseconds in the first eight bytes of the file that CLOCK_SHIFT names, which a test
 * changes while the program runs. Clocks that nobody can set stay as they are. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const int64_t *shift;

__attribute__((constructor)) static void open_shift(void) {
    const char *path = getenv("CLOCK_SHIFT");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) abort();
    void *at = mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) abort();
    close(fd);
    shift = at;
}

int clock_gettime(clockid_t clock, struct timespec *ret) {
    if (syscall(SYS_clock_gettime, clock, ret) < 0) return -1;
    if (clock != CLOCK_REALTIME) return 0;
    int64_t ns = (int64_t)ret->tv_sec * 1000000000 + ret->tv_nsec + __atomic_load_n(shift, __ATOMIC_RELAXED);
    ret->tv_sec = (time_t)(ns / 1000000000);
    ret->tv_nsec = (long)(ns % 1000000000);
    return 0;
}
