/* Bodies in RowBinary: the columns' types, a line each, an empty line, then the rows. Whole bodies one behind the other
 * have the sum of their rows; one that is cut short is noticed; an exception's text gives a code. */
#include "fuzz.h"

#include "engine/exception.h"
#include "engine/rowbinary.h"

enum { MAX_COLUMNS = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 8192) return 0;
    struct slice rest = slice_make(data, size), line;
    PROMISE(exception_code(rest) > 0);
    struct rowbinary_column columns[MAX_COLUMNS];
    size_t count = 0;
    while (rest.len > 0 && slice_cut(rest, '\n', &line, &rest) && line.len > 0 && count < MAX_COLUMNS) {
        if (!rowbinary_column_of(line, &columns[count])) return 0;
        count++;
    }
    uint64_t rows = 0, twice = 0;
    if (count == 0 || is_err(rowbinary_count(rest, columns, count, &rows))) return 0;
    PROMISE(rows <= rest.len && (rows > 0) == (rest.len > 0));
    BUF_AUTO(two, 2 * rest.len + 1);
    buf_append_slice(&two, rest);
    buf_append_slice(&two, rest);
    PROMISE(is_ok(rowbinary_count(buf_slice(&two), columns, count, &twice)) && twice == 2 * rows);
    if (rest.len == 0) return 0;
    uint64_t fewer = 0;
    struct result cut = rowbinary_count(slice_make(rest.data, rest.len - 1), columns, count, &fewer);
    PROMISE(is_err(cut) || fewer < rows);
    return 0;
}
