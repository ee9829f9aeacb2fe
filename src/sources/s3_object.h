/* One object of a bucket while it is read: its bytes in parts, decompressed, cut into records. In bounded memory (a
 * Parquet file is held while the engine takes it in). */
#ifndef LOCKSET_SOURCES_S3_OBJECT_H
#define LOCKSET_SOURCES_S3_OBJECT_H

#include "aws/s3_client.h"
#include "sources/driver.h"
#include "sources/records.h"

enum { S3_OBJECT_MAX_PARQUET_BYTES = 60 << 20 };

enum s3_form { S3_BY_NAME, S3_JSON, S3_CSV, S3_PARQUET };

struct s3_format {
    enum s3_form form;
    struct csv_format csv;
};
/* From a source's format_params; NULL: by the objects' names. INVALID. Borrows from params. */
struct result s3_format_read(const json_t *params, struct s3_format *ret);
/* What the name says: ".csv.gz". Pure. */
enum s3_form s3_form_of_name(const char *key);

struct s3_reading {
    struct s3_client *client;           /* borrowed */
    const struct source_engine *engine; /* borrowed */
    const struct s3_format *format;     /* borrowed */
    const char *key, *etag;             /* borrowed */
    struct records_place place;         /* where to begin; what is behind is moved on by s3_reading_next */
};

struct s3_object_reader;
struct s3_object_reader *s3_object_new(const struct s3_reading *r);
struct s3_object_reader *s3_object_free(struct s3_object_reader *o); /* accepts NULL */

/* The next record, valid until the next call; *ret_end: there is none any more. NOT_FOUND, CONFLICT: the object is
 * gone, or was changed. A flaw of the whole object comes as a record with that flaw, the last one. */
struct result s3_object_next(struct s3_object_reader *o, struct record *ret, bool *ret_end);
struct records_place s3_object_place(const struct s3_object_reader *o);
/* Would the next call ask the network or the engine? */
bool s3_object_must_wait(const struct s3_object_reader *o);
int64_t s3_object_bytes_done(const struct s3_object_reader *o);

#endif
