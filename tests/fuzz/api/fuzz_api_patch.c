/* {"document":{...},"patch":[...]}: applying ends, changes nothing on failure, and never touches what is fixed. */
#include <stdlib.h>

#include "lifecycle/patch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    JSON_AUTO(root);
    if (is_err(json_parse_object(slice_make(data, size), &root))) return 0;
    json_t *document = json_object_get(root, "document");
    if (!json_is_object(document)) return 0;
    json_object_set_new(document, "_id", json_string("fixed"));
    JSON_AUTO(before);
    JSON_AUTO(after);
    before = json_deep_copy(document);
    struct result r = patch_apply(document, json_object_get(root, "patch"), &after);
    if (!json_equal(before, document)) abort();
    if (is_err(r) != (after == NULL)) abort();
    if (after && !json_equal(json_object_get(after, "_id"), json_object_get(before, "_id"))) abort();
    return 0;
}
