/* Whatever is read as a position is written and read again as the same. */
#include "sources/kafka_position.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    JSON_AUTO(j);
    AUTO(kafka_position_done) struct kafka_position p = {0}, again = {0};
    if (is_err(json_parse(slice_make(data, size), &j)) || is_err(kafka_position_read(j, &p))) return 0;
    AUTO(json_unref) json_t *written = kafka_position_write(&p);
    if (is_err(kafka_position_read(written, &again))) __builtin_trap();
    AUTO(json_unref) json_t *twice = kafka_position_write(&again);
    if (!json_equal(written, twice)) __builtin_trap();
    return 0;
}
