/* The first head of a connection, as anybody may send it: its end is found alike whole and in pieces, and a key id is
 * one. */
#include <string.h>

#include "front/head.h"
#include "fuzz.h"

static size_t end_in_pieces(struct slice all, size_t step) {
    size_t had = 0, seen = 0;
    while (had < all.len) {
        had = had + step < all.len ? had + step : all.len;
        size_t end = head_end(slice_make(all.data, had), seen);
        if (end != 0) return end;
        seen = had;
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > HEAD_MAX_BYTES) return 0;
    struct slice all = slice_make(data, size);
    size_t end = head_end(all, 0);
    PROMISE(end <= size);
    for (size_t step = 1; step <= 5; step += 2)
        PROMISE(end_in_pieces(all, step) == end);
    struct head head;
    err_forget();
    struct result r = head_parse(end ? slice_make(data, end) : all, &head);
    PROMISE(is_settled(r));
    if (is_err(r)) return 0;
    size_t key = strlen(head.access_key_id), method = strlen(head.method);
    PROMISE((head.auth == HEAD_KEY) == (key > 0) && key <= HEAD_KEY_MAX_CHARS);
    PROMISE(method > 0 && method <= HEAD_METHOD_MAX_CHARS);
    for (size_t i = 0; i < key; i++)
        PROMISE(strchr("/.'%\\ \r\n", head.access_key_id[i]) == NULL);
    PROMISE(head.path.data >= data && head.path.data + head.path.len <= data + size);
    return 0;
}
