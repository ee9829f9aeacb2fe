/* Fault commands: lines of anything. Each gets one JSON object with "ok", and faults apply only to what they are for.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "kms/fault.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_answer(struct kmsd_faults *f, struct slice line) {
    BUF_AUTO(answer, 1 << 20);
    JSON_AUTO(j);
    kmsd_faults_command(f, line, &answer);
    if (is_err(buf_check(&answer)) || is_err(json_parse_object(buf_slice(&answer), &j))) abort();
    const json_t *ok = json_object_get(j, "ok");
    if (!json_is_boolean(ok) || (json_is_false(ok) && !json_is_string(json_object_get(j, "error")))) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct kmsd_faults *f = kmsd_faults_new();
    struct slice line, rest = slice_make(data, size);
    bool more = true;
    while (more) {
        more = slice_cut(rest, '\n', &line, &rest);
        check_answer(f, line);
    }
    AUTO(kmsd_fault_done) struct kmsd_fault fault = {0};
    if (kmsd_faults_take(f, "Decrypt", "mrk-1", &fault)) {
        if (fault.operation != NULL && strcmp(fault.operation, "Decrypt") != 0) abort();
        if (fault.key_id != NULL && strcmp(fault.key_id, "mrk-1") != 0) abort();
        if (!kmsd_faults_has(f, fault.id) || fault.hits != 1) abort();
        if (fault.kind == KMSD_FAULT_ERROR && (fault.error == NULL || fault.status < 400)) abort();
    }
    check_answer(f, slice_str("{\"do\":\"clear\"}"));
    kmsd_fault_done(&fault);
    if (kmsd_faults_take(f, "Decrypt", "mrk-1", &fault)) abort();
    kmsd_faults_free(f);
    return 0;
}
