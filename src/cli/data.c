#include "cli/data.h"

#include <string.h>

#include "base/file.h"
#include "cli/table.h"

struct result data_ask(const struct args *a, const char *method, const char *path, json_t *body,
                       struct client_answer *answer) {
    AUTO(json_unref) json_t *body_owner = body;
    AUTO(client_done) struct client c = {0};
    TRY(client_init(&c, a, CLIENT_ORGANIZATION));
    BUF_AUTO(text, 4 << 20);
    if (body) TRY(json_write(body, &text));
    TRY(buf_check(&text));
    return client_expect(&c, method, path, buf_slice(&text), answer);
}

char *data_collection_path(const char *workspace, const char *collection) {
    BUF_AUTO(path, 4096);
    buf_append_str(&path, "/v1/orgs/self/ws/");
    percent_encode(slice_str(workspace), false, &path);
    buf_append_str(&path, "/collections");
    if (collection) {
        buf_append_str(&path, "/");
        percent_encode(slice_str(collection), false, &path);
    }
    return buf_take_str(&path);
}

struct result data_split_name(const char *name, char **workspace, char **collection) {
    struct slice head, tail;
    bool dotted = slice_cut(slice_str(name), '.', &head, &tail);
    CHECK(dotted ? head.len && tail.len : *name != '\0', ERR_INVALID,
          "'%.60s' names no collection: it is WORKSPACE.NAME, or NAME for one of the workspace commons", name);
    *workspace = dotted ? slice_to_str(head) : str_dup("commons");
    *collection = dotted ? slice_to_str(tail) : str_dup(name);
    return OK;
}

struct result data_show(const struct args *a, const char *method, const char *path, json_t *body,
                        const char *const *columns) {
    AUTO(client_answer_done) struct client_answer answer = {0};
    TRY(data_ask(a, method, path, body, &answer));
    if (args_has(a, "--json")) {
        client_print_json(answer.body);
        return OK;
    }
    json_t *data = json_object_get(answer.body, "data");
    JSON_AUTO(rows);
    rows = json_is_array(data) ? json_incref(data) : json_pack("[O]", data);
    table_print(rows, columns);
    return OK;
}

struct result data_read_object(const char *file, json_t **ret) {
    BUF_AUTO(text, DATA_MAX_FILE_BYTES);
    text.wipes = true;
    struct result r = file_read(strcmp(file, "-") == 0 ? "/dev/stdin" : file, DATA_MAX_FILE_BYTES, &text);
    if (is_ok(r)) r = json_parse_object(buf_slice(&text), ret);
    if (is_ok(r)) return OK;
    AUTO_FREE char *detail = str_dup(err_detail());
    FAIL(ERR_INVALID, "%.100s must be a JSON object: %s", file, detail);
}
