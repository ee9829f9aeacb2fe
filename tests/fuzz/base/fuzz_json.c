/* JSON: what is accepted, written and read again is the same. */
#include "base/json.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    JSON_AUTO(first);
    err_forget();
    struct result r = json_parse(slice_make(data, size), &first);
    PROMISE(is_settled(r));
    PROMISE(is_ok(r) == (first != NULL));
    if (first) {
        PROMISE(slice_is_utf8(slice_make(data, size)));
        BUF_AUTO(text, 64 * size + 1024);
        PROMISE(is_ok(json_write(first, &text)));
        JSON_AUTO(second);
        PROMISE(is_ok(json_parse(buf_slice(&text), &second)));
        PROMISE(json_equal(first, second));
    }
    /* Any bytes can be written as a string, and UTF-8 comes back as it was. */
    BUF_AUTO(quoted, 6 * size + 2);
    json_write_str(slice_make(data, size), &quoted);
    PROMISE(is_ok(buf_check(&quoted)));
    JSON_AUTO(string);
    bool parsed = is_ok(json_parse(buf_slice(&quoted), &string));
    PROMISE(parsed || slice_has_nul(slice_make(data, size)));
    if (parsed && slice_is_utf8(slice_make(data, size)))
        PROMISE(slice_equal(slice_make(json_string_value(string), json_string_length(string)), slice_make(data, size)));
    return 0;
}
