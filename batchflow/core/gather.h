/* From many completions to bytes in input order.
 *
 * Results arrive in any order; a result that is not next waits in a window, the next one is appended to `out` at once
 * and takes its waiting successors along.  What is in `out` counts as done; nothing else does.
 *
 * Always: every mini-batch below `next` is in `out` or was skipped, exactly once, in order.
 */
#ifndef BF_GATHER_H
#define BF_GATHER_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint8_t *bytes;
    uint64_t used, capacity;
} bf_buffer;

/* Room for `size` more bytes; NULL without memory. */
static uint8_t *bf_reserve(bf_buffer *buffer, uint64_t size) {
    if (buffer->bytes == NULL || buffer->capacity - buffer->used < size) {
        uint64_t capacity = buffer->capacity ? buffer->capacity : 4096;
        while (capacity - buffer->used < size)
            capacity *= 2;
        uint8_t *bytes = realloc(buffer->bytes, capacity);
        if (bytes == NULL)
            return NULL;
        buffer->bytes = bytes;
        buffer->capacity = capacity;
    }
    return buffer->bytes + buffer->used;
}

static void bf_buffer_free(bf_buffer *buffer) {
    free(buffer->bytes);
    memset(buffer, 0, sizeof *buffer);
}

/* What run() gave for one mini-batch: `size` bytes at `bytes`, of which the first `columns_size` name the columns. */
typedef struct {
    uint8_t *bytes;
    uint64_t size, index, returned, items;
    uint32_t columns_size, attempt;
    uint8_t occupied, skipped;
} bf_result;

typedef struct {
    uint64_t done, succeeded, missing, rows, surplus;
} bf_counts;

/* A mini-batch that gave fewer elements than it has items. */
typedef struct {
    uint64_t index, returned, missing;
    uint32_t attempt;
} bf_shortfall;

typedef struct {
    bf_buffer out;
    bf_buffer shortfalls; /* bf_shortfall[], for the driver to take */
    bf_buffer columns;    /* of the first mini-batch, in the order of appending, that has rows */
    bf_result *window; /* indexed by mini-batch & (window_size - 1) */
    uint64_t window_size, next, held_bytes;
    bf_counts counts;
    int in_order, any_items, write_header;
} bf_gather;

enum { BF_APPENDED = 0, BF_WAITING = 1, BF_COLUMNS_DIFFER = 2, BF_NOT_EXPECTED = -2, BF_NO_MEMORY = -3 };

/* Bytes accounted for a result that waits, over and above its own. */
#define BF_RESULT_OVERHEAD 96u

/* Append one result to `out` and count it. */
static int bf_append(bf_gather *gather, const bf_result *result) {
    uint64_t rows_size = result->size - result->columns_size;
    const uint8_t *rows = result->bytes + result->columns_size;
    if (result->columns_size && rows_size) {
        if (gather->columns.used == 0) {
            uint8_t *room = bf_reserve(&gather->columns, result->columns_size);
            uint8_t *out = gather->write_header ? bf_reserve(&gather->out, result->columns_size) : room;
            if (room == NULL || out == NULL)
                return BF_NO_MEMORY;
            memcpy(room, result->bytes, result->columns_size);
            gather->columns.used = result->columns_size;
            if (gather->write_header) {
                memcpy(out, result->bytes, result->columns_size);
                gather->out.used += result->columns_size;
            }
        } else if (gather->columns.used != result->columns_size ||
                   memcmp(gather->columns.bytes, result->bytes, result->columns_size) != 0) {
            return BF_COLUMNS_DIFFER;
        }
    }
    uint64_t succeeded = gather->any_items || result->returned > result->items ? result->items : result->returned;
    if (succeeded < result->items) {
        bf_shortfall shortfall = {result->index, result->returned, result->items - succeeded, result->attempt};
        uint8_t *room = bf_reserve(&gather->shortfalls, sizeof shortfall);
        if (room == NULL)
            return BF_NO_MEMORY;
        memcpy(room, &shortfall, sizeof shortfall);
        gather->shortfalls.used += sizeof shortfall;
    }
    if (rows_size) {
        uint8_t *out = bf_reserve(&gather->out, rows_size);
        if (out == NULL)
            return BF_NO_MEMORY;
        memcpy(out, rows, rows_size);
        gather->out.used += rows_size;
    }
    gather->counts.done += 1;
    gather->counts.succeeded += succeeded;
    gather->counts.missing += result->items - succeeded;
    gather->counts.rows += result->returned;
    gather->counts.surplus += result->returned > result->items ? result->returned - result->items : 0;
    return BF_APPENDED;
}

/* The window's cell for a mini-batch at or beyond `next`, growing the window as needed; NULL without memory. */
static bf_result *bf_cell(bf_gather *gather, uint64_t index) {
    if (index - gather->next >= gather->window_size) {
        uint64_t size = gather->window_size ? gather->window_size : 64;
        while (index - gather->next >= size)
            size *= 2;
        bf_result *window = calloc(size, sizeof *window);
        if (window == NULL)
            return NULL;
        for (uint64_t k = 0; k < gather->window_size; k++) {
            uint64_t held = gather->next + k;
            window[held & (size - 1)] = gather->window[held & (gather->window_size - 1)];
        }
        free(gather->window);
        gather->window = window;
        gather->window_size = size;
    }
    return &gather->window[index & (gather->window_size - 1)];
}

/* Append what waits at `next`, as far as it goes; stops at a gap or at columns that differ (then *stopped is that
 * result, taken out of the window, its bytes owned by the caller). */
static int bf_advance(bf_gather *gather, bf_result *stopped) {
    while (gather->window_size) {
        bf_result *cell = &gather->window[gather->next & (gather->window_size - 1)];
        if (!cell->occupied)
            break;
        if (!cell->skipped) {
            int outcome = bf_append(gather, cell);
            if (outcome == BF_NO_MEMORY)
                return outcome;
            gather->held_bytes -= cell->size + BF_RESULT_OVERHEAD;
            if (outcome == BF_COLUMNS_DIFFER) {
                *stopped = *cell;
                memset(cell, 0, sizeof *cell);
                return outcome;
            }
        }
        free(cell->bytes);
        memset(cell, 0, sizeof *cell);
        gather->next += 1;
    }
    return BF_APPENDED;
}

/* Take one result in.  Its bytes are copied.  BF_COLUMNS_DIFFER: this one was not taken. */
static int bf_take(bf_gather *gather, const bf_result *result) {
    if (!gather->in_order)
        return bf_append(gather, result);
    if (result->index == gather->next) {
        int outcome = bf_append(gather, result);
        if (outcome == BF_APPENDED)
            gather->next += 1;
        return outcome;
    }
    if (result->index < gather->next)
        return BF_NOT_EXPECTED;
    bf_result *cell = bf_cell(gather, result->index);
    if (cell == NULL)
        return BF_NO_MEMORY;
    if (cell->occupied)
        return BF_NOT_EXPECTED;
    *cell = *result;
    cell->bytes = malloc(result->size ? result->size : 1);
    if (cell->bytes == NULL)
        return BF_NO_MEMORY;
    memcpy(cell->bytes, result->bytes, result->size);
    cell->occupied = 1;
    cell->skipped = 0;
    gather->held_bytes += result->size + BF_RESULT_OVERHEAD;
    return BF_WAITING;
}

/* The mini-batch has failed for good: the order goes on without it. */
static int bf_skip(bf_gather *gather, uint64_t index) {
    if (!gather->in_order)
        return BF_APPENDED;
    if (index < gather->next)
        return BF_NOT_EXPECTED;
    bf_result *cell = bf_cell(gather, index);
    if (cell == NULL)
        return BF_NO_MEMORY;
    if (cell->occupied)
        return BF_NOT_EXPECTED;
    cell->occupied = cell->skipped = 1;
    return BF_APPENDED;
}

static void bf_gather_free(bf_gather *gather) {
    for (uint64_t k = 0; k < gather->window_size; k++)
        free(gather->window[k].bytes);
    free(gather->window);
    bf_buffer_free(&gather->out);
    bf_buffer_free(&gather->columns);
    bf_buffer_free(&gather->shortfalls);
    memset(gather, 0, sizeof *gather);
}

#endif
