/* The bytes to be written next, and the books about them.
 *
 * A result is appended whole or not at all; with it go its extent, its shortfall and its place in the counts.
 *
 * Always: every byte of `out` is of the header or of exactly one extent, as long as no extents were taken.
 */
#ifndef BF_APPEND_H
#define BF_APPEND_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "crc32c.h"

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

/* What one run() gave for items start … start + items: `size` bytes, of which the first `columns_size` name the columns. */
typedef struct {
    const uint8_t *bytes;
    uint64_t size, start, items, returned;
    uint32_t columns_size;
    uint32_t checksum; /* of the bytes behind the columns, if `is_checked` */
    int is_checked;
} bf_piece;

/* What there is of one mini-batch: one piece, or after isolation any number of them, none if all was lost. */
typedef struct {
    uint64_t index, piece_count;
    bf_piece piece;   /* if there is exactly one, and `pieces` is NULL */
    bf_piece *pieces; /* else; lies in `owned` */
    void *owned;      /* NULL while the bytes are somebody else's */
    uint64_t block;   /* the size of `owned` if it is a block that may be used again, else 0 */
    uint64_t held;    /* bytes that it is accounted for while it waits */
    uint32_t attempt;
    uint8_t waits;
} bf_result;

typedef struct {
    uint64_t done, succeeded, missing, rows, surplus;
} bf_counts;

/* A piece with fewer elements than items. */
typedef struct {
    uint64_t index, returned, missing, start, items;
    uint32_t attempt;
} bf_shortfall;

/* Consecutive items whose rows are consecutive bytes of `out`. */
typedef struct {
    uint64_t first_item, item_count, offset, size, returned, missing, mini_batch_count;
    uint64_t checked; /* so many of its bytes are in `checksum` already */
    uint32_t checksum, attempt;
} bf_extent;

typedef struct {
    bf_buffer out;
    bf_buffer extents;    /* bf_extent[], for the driver to take */
    bf_buffer shortfalls; /* bf_shortfall[], for the driver to take */
    bf_buffer columns;    /* of the first mini-batch, in the order of appending, that has rows */
    bf_counts counts;
    int any_items, write_header;
} bf_books;

enum { BF_APPENDED = 0, BF_COLUMNS_DIFFER = 2, BF_NOT_EXPECTED = -2, BF_NO_MEMORY = -3 };

static inline const bf_piece *bf_pieces(const bf_result *result) {
    return result->pieces ? result->pieces : &result->piece;
}

/* Are there rows whose columns have names? */
static inline int bf_names_columns(const bf_piece *piece) {
    return piece->columns_size && piece->size > piece->columns_size;
}

/* The piece whose columns are not those of the rows before it; NULL if all agree. */
static const bf_piece *bf_odd_piece(const bf_books *books, const bf_result *result) {
    const bf_piece *pieces = bf_pieces(result);
    const uint8_t *columns = books->columns.bytes;
    uint64_t size = books->columns.used;
    for (uint64_t k = 0; k < result->piece_count; k++) {
        if (!bf_names_columns(&pieces[k]))
            continue;
        if (size == 0) {
            columns = pieces[k].bytes;
            size = pieces[k].columns_size;
        } else if (size != pieces[k].columns_size || memcmp(columns, pieces[k].bytes, size) != 0) {
            return &pieces[k];
        }
    }
    return NULL;
}

/* From now on these are the columns; the header goes into `out`. */
static int bf_set_columns(bf_books *books, const bf_piece *piece) {
    uint8_t *room = bf_reserve(&books->columns, piece->columns_size);
    uint8_t *out = books->write_header ? bf_reserve(&books->out, piece->columns_size) : room;
    if (room == NULL || out == NULL)
        return BF_NO_MEMORY;
    memcpy(room, piece->bytes, piece->columns_size);
    books->columns.used = piece->columns_size;
    if (books->write_header) {
        memcpy(out, piece->bytes, piece->columns_size);
        books->out.used += piece->columns_size;
    }
    return BF_APPENDED;
}

static void bf_checksum_extent(const bf_books *books, bf_extent *extent) {
    const uint8_t *rest = books->out.bytes + extent->offset + extent->checked;
    extent->checksum = bf_crc32c(extent->checksum, rest, extent->size - extent->checked);
    extent->checked = extent->size;
}

/* Book bytes of `out`: more of the last extent where items and bytes go on, else a new one.  A shortfall is an extent of
 * its own.  Checksums come later, for all of an extent at once, but for those of long results, which are known. */
static int bf_add_extent(bf_books *books, const bf_extent *new) {
    bf_extent *last = NULL;
    if (books->extents.used)
        last = (bf_extent *)(books->extents.bytes + books->extents.used) - 1;
    if (last && last->first_item + last->item_count == new->first_item &&
        last->offset + last->size == new->offset && !last->missing && !new->missing) {
        if (new->checked) {
            bf_checksum_extent(books, last);
            last->checksum = bf_crc32c_combine(last->checksum, new->checksum, new->size);
            last->checked += new->size;
        }
        last->item_count += new->item_count;
        last->size += new->size;
        last->returned += new->returned;
        last->mini_batch_count += new->mini_batch_count;
        last->attempt = new->attempt > last->attempt ? new->attempt : last->attempt;
        return BF_APPENDED;
    }
    last = (bf_extent *)bf_reserve(&books->extents, sizeof *last);
    if (last == NULL)
        return BF_NO_MEMORY;
    *last = *new;
    books->extents.used += sizeof *last;
    return BF_APPENDED;
}

static int bf_append_piece(bf_books *books, const bf_result *result, const bf_piece *piece, int is_first) {
    if (books->columns.used == 0 && bf_names_columns(piece) && bf_set_columns(books, piece) != BF_APPENDED)
        return BF_NO_MEMORY;
    uint64_t rows_size = piece->size - piece->columns_size, offset = books->out.used;
    uint64_t succeeded = books->any_items || piece->returned > piece->items ? piece->items : piece->returned;
    uint64_t missing = piece->items - succeeded;
    if (missing) {
        bf_shortfall *room = (bf_shortfall *)bf_reserve(&books->shortfalls, sizeof *room);
        if (room == NULL)
            return BF_NO_MEMORY;
        *room = (bf_shortfall){result->index, piece->returned, missing, piece->start, piece->items, result->attempt};
        books->shortfalls.used += sizeof *room;
    }
    uint8_t *out = bf_reserve(&books->out, rows_size);
    if (out == NULL)
        return BF_NO_MEMORY;
    memcpy(out, piece->bytes + piece->columns_size, rows_size);
    books->out.used += rows_size;
    books->counts.succeeded += succeeded;
    books->counts.missing += missing;
    books->counts.rows += piece->returned;
    books->counts.surplus += piece->returned > piece->items ? piece->returned - piece->items : 0;
    bf_extent extent = {.first_item = piece->start, .item_count = piece->items, .offset = offset, .size = rows_size,
                        .returned = piece->returned, .missing = missing, .mini_batch_count = is_first,
                        .attempt = result->attempt};
    if (piece->is_checked) {
        extent.checksum = piece->checksum;
        extent.checked = rows_size;
    }
    return bf_add_extent(books, &extent);
}

/* Append all there is of one mini-batch, whose columns agree. */
static int bf_append(bf_books *books, const bf_result *result) {
    const bf_piece *pieces = bf_pieces(result);
    int outcome = BF_APPENDED;
    for (uint64_t k = 0; k < result->piece_count && outcome == BF_APPENDED; k++)
        outcome = bf_append_piece(books, result, &pieces[k], k == 0);
    books->counts.done += result->piece_count > 0;
    return outcome;
}

static void bf_checksum_extents(bf_books *books) {
    bf_extent *extents = (bf_extent *)books->extents.bytes;
    for (uint64_t k = 0; k < books->extents.used / sizeof *extents; k++)
        bf_checksum_extent(books, &extents[k]);
}

static void bf_books_free(bf_books *books) {
    bf_buffer_free(&books->out);
    bf_buffer_free(&books->extents);
    bf_buffer_free(&books->shortfalls);
    bf_buffer_free(&books->columns);
}

#endif
