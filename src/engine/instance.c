#include "engine/instance.h"

#include <string.h>
#include <sys/stat.h>

#include "base/file.h"

enum { MAX_SETTINGS = 64 };

/* Mebibytes that ClickHouse may keep in caches: its memory is the organization's rows, ended with the lease. */
enum { MARK_CACHE_MB = 64, INDEX_CACHE_MB = 64, CONDITION_CACHE_MB = 1 };

#define MB(n) ((unsigned long long)(n) << 20)

void instance_write_config(const struct instance_options *o, struct buf *config, struct buf *users) {
    unsigned long long server = o->memory_bytes / 10 * 6;
    buf_printf(config,
               "<clickhouse>\n"
               "<users_config>%s/users.xml</users_config>\n"
               "<max_server_memory_usage>%llu</max_server_memory_usage>\n"
               "<mark_cache_size>%llu</mark_cache_size>\n"
               "<primary_index_cache_size>%llu</primary_index_cache_size>\n"
               "<query_condition_cache_size>%llu</query_condition_cache_size>\n"
               "<uncompressed_cache_size>0</uncompressed_cache_size>\n"
               "<mmap_cache_size>0</mmap_cache_size>\n"
               /* There is no cgroup to be seen in the sandbox. */
               "<memory_worker_use_cgroup>0</memory_worker_use_cgroup>\n"
               "<allow_experimental_transactions>0</allow_experimental_transactions>\n"
               "</clickhouse>\n",
               o->data_path, server, MB(MARK_CACHE_MB), MB(INDEX_CACHE_MB), MB(CONDITION_CACHE_MB));
    buf_printf(users,
               "<clickhouse><profiles><default>\n"
               "<async_insert>0</async_insert>\n"
               "<input_format_skip_unknown_fields>0</input_format_skip_unknown_fields>\n"
               "<input_format_try_infer_dates>0</input_format_try_infer_dates>\n"
               "<input_format_try_infer_datetimes>0</input_format_try_infer_datetimes>\n"
               "<input_format_parallel_parsing>0</input_format_parallel_parsing>\n"
               /* The rows of a file always come in the file's order: their numbers are parts of their ids. */
               "<input_format_parquet_preserve_order>1</input_format_parquet_preserve_order>\n"
               "<json_type_escape_dots_in_keys>1</json_type_escape_dots_in_keys>\n"
               "<allow_introspection_functions>0</allow_introspection_functions>\n"
               "<implicit_select>0</implicit_select>\n"
               /* What tenants see: an aggregate of nothing is null, times are ISO 8601, mixed values sort and group. */
               "<aggregate_functions_null_for_empty>1</aggregate_functions_null_for_empty>\n"
               "<date_time_output_format>iso</date_time_output_format>\n"
               "<allow_suspicious_types_in_group_by>1</allow_suspicious_types_in_group_by>\n"
               "<allow_suspicious_types_in_order_by>1</allow_suspicious_types_in_order_by>\n"
               "<query_profiler_real_time_period_ns>0</query_profiler_real_time_period_ns>\n"
               "<query_profiler_cpu_time_period_ns>0</query_profiler_cpu_time_period_ns>\n"
               "<max_query_size>1100000</max_query_size>\n"
               "<max_memory_usage>%llu</max_memory_usage>\n"
               /* Rows never go to disk: what doesn't fit into memory is refused. */
               "<max_bytes_ratio_before_external_group_by>0</max_bytes_ratio_before_external_group_by>\n"
               "<max_bytes_ratio_before_external_sort>0</max_bytes_ratio_before_external_sort>\n"
               "<max_bytes_ratio_before_external_join>0</max_bytes_ratio_before_external_join>\n"
               "<max_bytes_before_external_group_by>0</max_bytes_before_external_group_by>\n"
               "<max_bytes_before_external_sort>0</max_bytes_before_external_sort>\n"
               "<max_temporary_data_on_disk_size_for_query>1</max_temporary_data_on_disk_size_for_query>\n"
               "<max_temporary_data_on_disk_size_for_user>1</max_temporary_data_on_disk_size_for_user>\n"
               "</default></profiles>\n"
               "<quotas><default/></quotas>\n"
               "<users><default><no_password/><profile>default</profile><quota>default</quota>\n"
               "<networks><ip>::/0</ip></networks>\n"
               /* Everything Lockset itself does, and no more: no sources (files, URLs, other servers), no functions,
                  users, dictionaries, backups. */
               "<grants><query>GRANT SELECT, INSERT, CREATE DATABASE, CREATE TABLE, CREATE VIEW, DROP DATABASE, "
               "DROP TABLE, DROP VIEW, TRUNCATE, OPTIMIZE, CHECK, SHOW, KILL QUERY, ALTER UPDATE, ALTER DELETE ON "
               "*.*</query></grants>\n"
               "</default></users></clickhouse>\n",
               server / 10 * 8);
}

static struct result write_file(const char *folder, const char *name, struct slice text) {
    AUTO_FREE char *path = str_format("%s/%s", folder, name);
    return file_write_atomic(path, text, 0600);
}

static struct result write_files(const struct instance_options *o) {
    BUF_AUTO(config, 16384);
    BUF_AUTO(users, 16384);
    instance_write_config(o, &config, &users);
    TRY(buf_check(&config));
    TRY(buf_check(&users));
    TRY(write_file(o->data_path, "config.xml", buf_slice(&config)));
    TRY(write_file(o->data_path, "users.xml", buf_slice(&users)));
    /* Without this folder at the first connect, DROP ... SYNC would wait for ever. */
    AUTO_FREE char *metadata = str_format("%s/db/metadata", o->data_path);
    return file_make_dirs(metadata);
}

struct result instance_connect(struct instance *i, const char *const *settings, size_t count,
                               struct chdb_session ***ret) {
    CHECK(count <= MAX_SETTINGS, ERR_INVALID, "at most %d settings a statement", MAX_SETTINGS);
    static char program[] = "lockset";
    char *args[MAX_SETTINGS + 3] = {program, i->path_argument, i->config_argument};
    char *owned[MAX_SETTINGS];
    for (size_t k = 0; k < count; k++) {
        args[k + 3] = owned[k] = str_format("--%s", settings[k]);
    }
    pthread_mutex_lock(&i->connecting);
    struct chdb_session **s = i->chdb.connect((int)count + 3, args);
    pthread_mutex_unlock(&i->connecting);
    for (size_t k = 0; k < count; k++) {
        mem_free(owned[k]);
    }
    CHECK(s && *s, ERR_INTERNAL, "ClickHouse makes no session; is every setting one that it knows?");
    *ret = s;
    return OK;
}

void instance_close(struct instance *i, struct chdb_session **s) {
    if (!s) return;
    pthread_mutex_lock(&i->connecting);
    i->chdb.close(s);
    pthread_mutex_unlock(&i->connecting);
}

struct result instance_ask(struct instance *i, const char *sql, const char *format, struct buf *out) {
    struct chdb_session **s;
    TRY(instance_connect(i, NULL, 0, &s));
    struct chdb_result *r = i->chdb.query(*s, sql, strlen(sql), format, strlen(format), NULL, NULL, NULL, NULL, 0);
    const char *error = r ? i->chdb.result_error(r) : "no result";
    struct result outcome = OK;
    if (error)
        outcome = err_make(ERR_INTERNAL, "%.200s", error);
    else
        buf_append(out, i->chdb.result_data(r), i->chdb.result_len(r));
    if (r) i->chdb.result_free(r);
    instance_close(i, s);
    TRY(outcome);
    return buf_check(out);
}

struct result instance_start(const struct chdb *chdb, const struct instance_options *options, struct instance *ret) {
    TRY(write_files(options));
    ret->chdb = *chdb;
    ret->path_argument = str_format("--path=%s/db", options->data_path);
    ret->config_argument = str_format("--config-file=%s/config.xml", options->data_path);
    pthread_mutex_init(&ret->connecting, NULL);
    ret->chdb.set_signal_handlers(0);
    TRY(instance_connect(ret, NULL, 0, &ret->keeper));
    BUF_AUTO(answer, 64);
    TRY(instance_ask(ret, "SELECT 1", "TSV", &answer));
    CHECK(slice_is(buf_slice(&answer), "1\n"), ERR_INTERNAL, "ClickHouse does not answer SELECT 1 with 1");
    return OK;
}
