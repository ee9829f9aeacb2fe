/* Credentials files: whatever the text, a profile is whole or refused, and no message repeats the file. */
#include <string.h>

#include "aws/credentials.h"
#include "fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    return fuzz_start();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    CREDENTIALS_AUTO(c);
    if (is_ok(credentials_parse(slice_make(data, size), "FILE", "p", &c))) {
        PROMISE(c.access_key_id[0] && is_printable(c.access_key_id));
        PROMISE(c.secret_key.len > 0);
    } else {
        PROMISE(c.access_key_id == NULL && is_printable(err_detail()));
    }
    return 0;
}
