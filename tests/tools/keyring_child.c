/* A stand-in for a gateway or an engine in the tests of the keyring: descriptor 3 is its control socket. It arms the
 * real dead-man timer, says what it received, and asks for a branch when told to on stdin.
 *
 *     keyring-child gateway|engine [ignore-end] */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "keys/deadman.h"
#include "keys/wire.h"

static void print_hash(const char *what, struct slice key) {
    uint8_t digest[SHA256_BYTES];
    BUF_AUTO(hex, 80);
    if (is_err(sha256(key, digest))) return;
    hex_encode(slice_make(digest, sizeof digest), &hex);
    printf("%s %s\n", what, buf_str(&hex));
}

static int take(bool is_engine, bool ignores_end) {
    static bool is_ready;
    struct wire_message m = {0};
    struct result r = wire_receive(3, 0, &m);
    if (r.code == ERR_TIMEOUT) return 0;
    if (is_err(r)) {
        printf("eof\n");
        return 1;
    }
    BUF_AUTO(id, 64);
    hex_encode(slice_make(m.id, sizeof m.id), &id);
    if (m.type == WIRE_ARM) {
        printf("arm %lld\n", (long long)(m.expiry_boottime_ns / NS_PER_MS));
        if (is_err(deadman_arm(m.expiry_boottime_ns))) return 2;
        if (!is_ready && is_err(wire_send_ready(3, 1000))) return 2;
        is_ready = true;
    } else if (m.type == WIRE_BRANCH) {
        printf("branch %s\n", buf_str(&id));
        print_hash("branch-key", secret_view(&m.key));
    } else if (m.type == WIRE_ACTIVE) {
        printf("active %s\n", buf_str(&id));
    } else if (m.type == WIRE_NAMES) {
        print_hash("names", secret_view(&m.key));
    } else if (m.type == WIRE_NO_BRANCH) {
        printf("no-branch %s %s\n", buf_str(&id), err_name(m.code));
    } else if (m.type == WIRE_END) {
        printf("end\n");
        const struct wire_wiped wiped = {1, 1, 2, 0, 3, clock_unix_ms(), clock_boottime_ns()};
        if (!ignores_end && is_err(wire_send_ended(3, &wiped, 0))) return 2;
        if (!ignores_end) _exit(0);
    }
    wire_message_done(&m);
    return 0;
}

static int take_command(void) {
    char line[128];
    if (!fgets(line, sizeof line, stdin)) return 0;
    line[strcspn(line, "\n")] = 0;
    BUF_AUTO(id, 16);
    if (strcmp(line, "nonsense") == 0) return write(3, "\xff", 1) == 1 ? 0 : 2;
    if (is_err(hex_decode(slice_str(line), &id)) || id.len != 16) return 2;
    return is_err(wire_send_need_branch(3, id.data, 1000)) ? 2 : 0;
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    bool is_engine = strcmp(argv[1], "engine") == 0, ignores_end = argc > 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    setvbuf(stdin, NULL, _IONBF, 0);
    if (is_err(secret_start(1 << 16, true)) || is_err(deadman_start(DEADMAN_FIRST_MS))) return 2;
    struct pollfd p[2] = {{3, POLLIN, 0}, {0, POLLIN, 0}};
    for (;;) {
        if (poll(p, 2, -1) < 0) return 2;
        if (p[0].revents) {
            int code = take(is_engine, ignores_end);
            if (code == 2) return 2;
            if (code == 1) p[0].fd = -1; /* the keyring died: go on until the timer fires */
        }
        if (p[1].revents & POLLIN) {
            if (take_command() != 0) return 2;
        } else if (p[1].revents) {
            return 0; /* the test has gone */
        }
    }
}
