#include "sources/driver.h"

#include <string.h>

#include "sources/drivers.h"

/* One line for each kind; declared in drivers.h. */
static const struct source_driver *const drivers[] = {
    &s3_driver,
    &kafka_driver,
    &postgres_driver,
    NULL,
};

const struct source_driver *source_driver_find(const char *kind) {
    for (size_t i = 0; drivers[i]; i++)
        if (strcmp(drivers[i]->kind, kind) == 0) return drivers[i];
    return NULL;
}

void source_batch_done(struct source_batch *b) {
    mem_free(b->records);
    buf_done(&b->text);
    json_decref(b->position);
    *b = (struct source_batch){0};
}
