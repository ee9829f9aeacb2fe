/* The kinds of sources there are; driver.c lists them. */
#ifndef LOCKSET_SOURCES_DRIVERS_H
#define LOCKSET_SOURCES_DRIVERS_H

#include "sources/driver.h"

extern const struct source_driver s3_driver;
extern const struct source_driver kafka_driver;
extern const struct source_driver postgres_driver;

#endif
