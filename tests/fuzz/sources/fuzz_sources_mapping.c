/* No text is too strange for a field mapping to be refused, or to be taken with the row's number put in once. */
#include "fuzz.h"

#include <string.h>

#include "lifecycle/mapping.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    AUTO(mapping_text_done) struct mapping_text m = {0};
    if (is_err(mapping_text_parse(slice_make(data, size), &m))) return 0;
    PROMISE(strstr(m.statement, "__lockset_row, "));
    PROMISE(m.name_count <= MAPPING_MAX_NAMES);
    for (size_t i = 0; i < m.name_count; i++)
        PROMISE(*m.names[i].name);
    return 0;
}
