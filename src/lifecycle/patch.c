#include "lifecycle/patch.h"

#include <math.h>
#include <string.h>
#include <strings.h>

enum { MAX_POINTER_BYTES = 8192, MAX_COPIED_BYTES = 10 * 1024 * 1024 };

/* A place in the document: a container and the last step of a pointer. The whole document has no container. */
struct place {
    json_t *container;
    char *step; /* unescaped */
};

static void place_done(struct place *p) {
    mem_free(p->step);
}

/* The next reference token of a pointer that begins with '/': unescaped, for the caller to free. */
static struct result next_step(struct slice *pointer, char **ret) {
    BUF_AUTO(step, MAX_POINTER_BYTES);
    size_t i = 1;
    for (; i < pointer->len && pointer->data[i] != '/'; i++) {
        uint8_t c = pointer->data[i];
        if (c == '~') {
            uint8_t e = i + 1 < pointer->len ? pointer->data[++i] : 0;
            CHECK(e == '0' || e == '1', ERR_INVALID, "'~' in a path must be ~0 (for ~) or ~1 (for /)");
            c = e == '0' ? '~' : '/';
        }
        buf_append_byte(&step, c);
    }
    *pointer = slice_make(pointer->data + i, pointer->len - i);
    *ret = str_dup(buf_str(&step));
    return OK;
}

/* An index into an array: digits without leading zero, at most `max`. */
static struct result array_index(const char *step, size_t max, size_t *ret) {
    uint64_t v;
    if (is_err(slice_to_u64(slice_str(step), SIZE_MAX / 2, &v)))
        FAIL(ERR_INVALID, "'%.40s' is no index of an array", step);
    CHECK(v <= max, ERR_INVALID, "index %llu is behind the end of the array", (unsigned long long)v);
    *ret = (size_t)v;
    return OK;
}

/* The member of a container. */
static struct result child_of(json_t *container, const char *step, json_t **ret) {
    if (json_is_object(container)) {
        *ret = json_object_get(container, step);
        CHECK(*ret, ERR_INVALID, "there is no '%.60s' in the document", step);
        return OK;
    }
    CHECK(json_is_array(container), ERR_INVALID, "'%.60s' stands below a value that is neither object nor array", step);
    size_t count = json_array_size(container), i;
    CHECK(strcmp(step, "-") != 0, ERR_INVALID, "'-' stands for the place behind an array's end: only add may use it");
    TRY(array_index(step, count - 1, &i));
    CHECK(i < count, ERR_INVALID, "index %zu is behind the end of the array", i);
    *ret = json_array_get(container, i);
    return OK;
}

static struct result find_place(json_t *root, const char *path, struct place *ret) {
    struct slice pointer = slice_str(path);
    CHECK(pointer.len <= MAX_POINTER_BYTES, ERR_INVALID, "the path is over %d bytes", MAX_POINTER_BYTES);
    CHECK(pointer.len > 0, ERR_INVALID,
          "the path is empty: the whole document can't be the target; add it anew instead");
    CHECK(pointer.data[0] == '/', ERR_INVALID, "the path must begin with '/'");
    json_t *at = root;
    for (unsigned depth = 0;; depth++) {
        CHECK(depth < PATCH_MAX_DEPTH, ERR_INVALID, "the path is deeper than %d levels", PATCH_MAX_DEPTH);
        AUTO_FREE char *step = NULL;
        TRY(next_step(&pointer, &step));
        if (pointer.len == 0) {
            *ret = (struct place){at, TAKE(step)};
            return OK;
        }
        TRY(child_of(at, step, &at));
    }
}

static struct result value_at(json_t *root, const char *path, json_t **ret) {
    if (*path == 0) {
        *ret = root;
        return OK;
    }
    AUTO(place_done) struct place p = {0};
    TRY(find_place(root, path, &p));
    return child_of(p.container, p.step, ret);
}

/* The reference to `value` is taken over in any case. */
static struct result put_value(json_t *root, const char *path, json_t *value, bool must_exist) {
    JSON_AUTO(owned);
    owned = value;
    AUTO(place_done) struct place p = {0};
    TRY(find_place(root, path, &p));
    if (must_exist) {
        json_t *old;
        TRY(child_of(p.container, p.step, &old));
    }
    if (json_is_object(p.container)) {
        CHECK(json_object_set(p.container, p.step, owned) == 0, ERR_INVALID, "'%.60s' can't be set", p.step);
        return OK;
    }
    CHECK(json_is_array(p.container), ERR_INVALID, "'%.60s' stands below a value that is neither object nor array",
          p.step);
    size_t count = json_array_size(p.container), i = count;
    if (strcmp(p.step, "-") != 0) TRY(array_index(p.step, count, &i));
    int failed = must_exist ? json_array_set(p.container, i, owned) : json_array_insert(p.container, i, owned);
    CHECK(failed == 0, ERR_INVALID, "the array can't take a value at '%.40s'", p.step);
    return OK;
}

static struct result remove_value(json_t *root, const char *path) {
    AUTO(place_done) struct place p = {0};
    TRY(find_place(root, path, &p));
    json_t *old;
    TRY(child_of(p.container, p.step, &old));
    if (json_is_object(p.container)) {
        json_object_del(p.container, p.step);
        return OK;
    }
    size_t i;
    TRY(array_index(p.step, json_array_size(p.container), &i));
    json_array_remove(p.container, i);
    return OK;
}

static struct result increment_value(json_t *root, const char *path, const json_t *by) {
    CHECK(json_is_number(by), ERR_INVALID, "'value' must be a number");
    json_t *old;
    TRY(value_at(root, path, &old));
    CHECK(json_is_number(old), ERR_INVALID, "what is at the path is no number");
    json_t *sum = NULL;
    json_int_t whole;
    if (json_is_integer(old) && json_is_integer(by)) {
        bool overflows = __builtin_add_overflow(json_integer_value(old), json_integer_value(by), &whole);
        CHECK(!overflows, ERR_INVALID, "the sum is beyond 64 bits");
        sum = json_integer(whole);
    } else {
        sum = json_real(json_number_value(old) + json_number_value(by));
    }
    CHECK(sum, ERR_INVALID, "the sum is beyond the range of a 64-bit float");
    return put_value(root, path, sum, true);
}

/* RFC 6902 4.6: numbers are equal if their values are. */
static bool equal_values(const json_t *a, const json_t *b) {
    if (json_is_number(a) && json_is_number(b)) {
        if (json_is_integer(a) && json_is_integer(b)) return json_integer_value(a) == json_integer_value(b);
        return json_number_value(a) == json_number_value(b);
    }
    if (json_typeof(a) != json_typeof(b)) return false;
    if (json_is_array(a)) {
        if (json_array_size(a) != json_array_size(b)) return false;
        for (size_t i = 0; i < json_array_size(a); i++)
            if (!equal_values(json_array_get(a, i), json_array_get(b, i))) return false;
        return true;
    }
    if (json_is_object(a)) {
        if (json_object_size(a) != json_object_size(b)) return false;
        json_t *walked = mem_unconst(a), *member;
        const char *key;
        json_object_foreach(walked, key, member) {
            const json_t *other = json_object_get(b, key);
            if (!other || !equal_values(member, other)) return false;
        }
        return true;
    }
    return json_equal(a, b) != 0;
}

static struct result test_value(json_t *root, const char *path, const json_t *expected) {
    json_t *value;
    TRY(value_at(root, path, &value));
    CHECK(equal_values(value, expected), ERR_INVALID, "the value at the path is another one");
    return OK;
}

static bool is_fixed(const char *path) {
    static const char *const fixed[] = {"/_id", "/_event_time", "/_meta"};
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
        size_t n = strlen(fixed[i]);
        if (strncmp(path, fixed[i], n) == 0 && (path[n] == 0 || path[n] == '/')) return true;
    }
    return false;
}

enum op { OP_ADD, OP_REPLACE, OP_REMOVE, OP_COPY, OP_MOVE, OP_TEST, OP_INCREMENT, OP_MAX };
static const char *const op_names[] = {"add", "replace", "remove", "copy", "move", "test", "increment"};

static struct result parse_op(const json_t *operation, enum op *ret_op, const char **ret_path) {
    static const char *const known[] = {"op", "path", "value", "from", NULL};
    CHECK(json_is_object(operation), ERR_INVALID,
          "must be an object such as {\"op\":\"replace\",\"path\":\"/x\",\"value\":1}");
    TRY(json_only(operation, known));
    const char *name;
    TRY(json_get_str(operation, "op", &name));
    TRY(json_get_str(operation, "path", ret_path));
    for (enum op op = 0; op < OP_MAX; op++) {
        if (strcasecmp(name, op_names[op]) != 0) continue;
        *ret_op = op;
        return OK;
    }
    FAIL(ERR_INVALID, "unknown op '%.40s': there are add, replace, remove, copy, move, test, increment", name);
}

/* Takes the size of a value off what may still be copied: a patch that copies a value into itself again and again would
 * grow without bound. */
static struct result spend(const json_t *value, unsigned depth, size_t *budget) {
    CHECK(depth <= PATCH_MAX_DEPTH, ERR_INVALID, "nested deeper than %d levels", PATCH_MAX_DEPTH);
    size_t own = 16 + (json_is_string(value) ? json_string_length(value) : 0);
    CHECK(own <= *budget, ERR_INVALID, "the patch copies more than %d bytes", MAX_COPIED_BYTES);
    *budget -= own;
    for (size_t i = 0; i < json_array_size(value); i++)
        TRY(spend(json_array_get(value, i), depth + 1, budget));
    const char *key;
    json_t *member;
    json_t *object = mem_unconst(value); /* the macro's iterator wants it so; nothing is changed */
    json_object_foreach(object, key, member) TRY(spend(member, depth + 1, budget));
    return OK;
}

/* move: RFC 6902 4.4 forbids moving a value into itself. */
static struct result copy_value(json_t *root, const char *from, const char *path, bool moves, size_t *budget) {
    size_t n = strlen(from);
    CHECK(!moves || strncmp(path, from, n) != 0 || path[n] != '/', ERR_INVALID, "a value can't move into itself");
    json_t *value;
    TRY(value_at(root, from, &value));
    TRY(spend(value, 1, budget));
    JSON_AUTO(copy);
    copy = json_deep_copy(value);
    if (moves) TRY(remove_value(root, from));
    return put_value(root, path, TAKE(copy), false);
}

static struct result apply_one(json_t *root, const json_t *operation, size_t *budget) {
    enum op op;
    const char *path, *from = NULL;
    TRY(parse_op(operation, &op, &path));
    CHECK(op == OP_TEST || !is_fixed(path), ERR_INVALID, "%.20s can't be changed by a patch", path + 1);
    const json_t *value = json_object_get(operation, "value");
    bool needs_value = op == OP_ADD || op == OP_REPLACE || op == OP_TEST || op == OP_INCREMENT;
    CHECK(!needs_value || value, ERR_INVALID, "'value' is missing");
    if (op == OP_COPY || op == OP_MOVE) {
        TRY(json_get_str(operation, "from", &from));
        CHECK(op == OP_COPY || !is_fixed(from), ERR_INVALID, "%.20s can't be changed by a patch", from + 1);
    }
    switch (op) {
    case OP_ADD:
        return put_value(root, path, json_deep_copy(value), false);
    case OP_REPLACE:
        return put_value(root, path, json_deep_copy(value), true);
    case OP_REMOVE:
        return remove_value(root, path);
    case OP_COPY:
        return copy_value(root, from, path, false, budget);
    case OP_MOVE:
        return copy_value(root, from, path, true, budget);
    case OP_TEST:
        return test_value(root, path, value);
    case OP_INCREMENT:
        return increment_value(root, path, value);
    case OP_MAX:
        break;
    }
    return OK;
}

struct result patch_apply(const json_t *document, const json_t *operations, json_t **ret) {
    CHECK(json_is_array(operations), ERR_INVALID, "'patch' must be an array of operations");
    size_t count = json_array_size(operations);
    CHECK(count <= PATCH_MAX_OPERATIONS, ERR_INVALID, "more than %d operations in one patch", PATCH_MAX_OPERATIONS);
    JSON_AUTO(copy);
    copy = json_deep_copy(document);
    CHECK(copy, ERR_INTERNAL, "the document can't be copied");
    size_t budget = MAX_COPIED_BYTES;
    for (size_t i = 0; i < count; i++) {
        struct result r = apply_one(copy, json_array_get(operations, i), &budget);
        if (is_ok(r)) continue;
        AUTO_FREE char *why = str_dup(err_detail());
        FAIL(r.code, "patch[%zu]: %s", i, why);
    }
    *ret = TAKE(copy);
    return OK;
}
