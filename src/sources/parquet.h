/* Parquet files, taken in by an organization's engine: what a driver gets as source_engine. */
#ifndef LOCKSET_SOURCES_PARQUET_H
#define LOCKSET_SOURCES_PARQUET_H

#include "lifecycle/tenant.h"
#include "sources/driver.h"

/* Borrows the tenant. */
void parquet_engine(struct tenant *t, struct source_engine *ret);

/* The end of a Parquet file that describes it, as a small file of its own; appended to out. INVALID. Pure. */
struct result parquet_footer(struct slice file, struct buf *out);

#endif
