/* From many completions to bytes in input order.
 *
 * Results arrive in any order; the one whose turn it is is appended at once and takes its waiting successors along, any
 * other waits in a window.  To spill is to give the order up once: all that waits is appended, the turn moves behind it,
 * and whatever was left behind is appended as it comes.  What is in `out` counts as done; nothing else does.
 *
 *        done      done or left behind        waiting or not there yet
 *     ──────────┬──────────────────────────┬────────────────────────────
 *              next                       turn
 *
 * Always: next <= turn; a mini-batch is appended or put at most once; without a spill next == turn.
 */
#ifndef BF_GATHER_H
#define BF_GATHER_H

#include "append.h"

/* Bytes accounted for a mini-batch that waits, over and above its own. */
#define BF_RESULT_OVERHEAD 128u
/* Fresh memory costs more than all the rest of a long result: each of its pages is a fault.  So some of it is kept. */
#define BF_SPARES_MAX 32
#define BF_SPARES_SIZE (16u << 20)

typedef struct {
    bf_books books;
    bf_result *window; /* at or beyond `turn`, indexed by mini-batch & (window_size - 1) */
    uint64_t window_size, turn, next, waiting, held_bytes;
    uint64_t *done; /* a bit for each mini-batch between `next` and `turn`, at mini-batch & (done_size - 1) */
    uint64_t done_size; /* in bits */
    bf_buffer spares[BF_SPARES_MAX]; /* blocks of long results, to be used again */
    uint64_t spare_count, spare_size;
    int in_order;
} bf_gather;

enum { BF_NOTE_COLUMNS = 5, BF_NOTE_DAMAGED = 6, BF_NOTE_PART = 7 };

/* Something the driver's Python must look at; `bytes` is owned by the note. */
typedef struct {
    uint32_t kind, attempt;
    uint64_t index, returned, start, items, size, columns_size;
    uint8_t *bytes;
} bf_note;

static int bf_add_note(bf_buffer *notes, const bf_note *note, const uint8_t *bytes) {
    bf_note *room = (bf_note *)bf_reserve(notes, sizeof *note);
    uint8_t *copy = malloc(note->size ? note->size : 1);
    if (room == NULL || copy == NULL) {
        free(copy);
        return BF_NO_MEMORY;
    }
    memcpy(copy, bytes, note->size);
    *room = *note;
    room->bytes = copy;
    notes->used += sizeof *note;
    return BF_APPENDED;
}

/* Blocks for long results */

/* A block that is empty, but may have memory. */
static bf_buffer bf_take_spare(bf_gather *gather) {
    if (gather->spare_count == 0)
        return (bf_buffer){0};
    bf_buffer block = gather->spares[--gather->spare_count];
    gather->spare_size -= block.capacity;
    return block;
}

/* The memory of a result is no longer needed. */
static void bf_release(bf_gather *gather, const bf_result *result) {
    if (result->block && gather->spare_size + result->block <= BF_SPARES_SIZE && gather->spare_count < BF_SPARES_MAX) {
        gather->spares[gather->spare_count++] = (bf_buffer){.bytes = result->owned, .capacity = result->block};
        gather->spare_size += result->block;
    } else {
        free(result->owned);
    }
}

/* The mini-batches below `turn` that are done */

static inline int bf_bit(const bf_gather *gather, uint64_t index) {
    uint64_t place = index & (gather->done_size - 1);
    return gather->done[place / 64] >> place % 64 & 1;
}

static inline void bf_flip(bf_gather *gather, uint64_t index) {
    uint64_t place = index & (gather->done_size - 1);
    gather->done[place / 64] ^= (uint64_t)1 << place % 64;
}

static int bf_is_done(const bf_gather *gather, uint64_t index) {
    return index < gather->next || (index < gather->turn && bf_bit(gather, index));
}

/* Move the turn behind mini-batch `index`, which leaves those before it behind. */
static int bf_pass_turn(bf_gather *gather, uint64_t index) {
    if (index + 1 - gather->next > gather->done_size) {
        uint64_t size = gather->done_size ? gather->done_size : 1024;
        while (index + 1 - gather->next > size)
            size *= 2;
        bf_gather wider = *gather;
        wider.done = calloc(size / 64, sizeof *wider.done);
        wider.done_size = size;
        if (wider.done == NULL)
            return BF_NO_MEMORY;
        for (uint64_t k = gather->next; k < gather->turn; k++)
            if (bf_bit(gather, k))
                bf_flip(&wider, k);
        free(gather->done);
        *gather = wider;
    }
    gather->turn = index + 1;
    return BF_APPENDED;
}

static int bf_mark_done(bf_gather *gather, uint64_t index) {
    if (index == gather->turn && index == gather->next) { /* the usual case */
        gather->next = gather->turn = index + 1;
        return BF_APPENDED;
    }
    if (index >= gather->turn && bf_pass_turn(gather, index) != BF_APPENDED)
        return BF_NO_MEMORY;
    bf_flip(gather, index);
    for (; gather->next < gather->turn && bf_bit(gather, gather->next); gather->next++)
        bf_flip(gather, gather->next);
    return BF_APPENDED;
}

/* The window */

/* The cell for a mini-batch at or beyond `turn`, growing the window as needed; NULL without memory. */
static bf_result *bf_cell(bf_gather *gather, uint64_t index) {
    if (index - gather->turn >= gather->window_size) {
        uint64_t size = gather->window_size ? gather->window_size : 64;
        while (index - gather->turn >= size)
            size *= 2;
        bf_result *window = calloc(size, sizeof *window);
        if (window == NULL)
            return NULL;
        for (uint64_t k = 0; k < gather->window_size; k++) {
            uint64_t held = gather->turn + k;
            window[held & (size - 1)] = gather->window[held & (gather->window_size - 1)];
        }
        free(gather->window);
        gather->window = window;
        gather->window_size = size;
    }
    return &gather->window[index & (gather->window_size - 1)];
}

static void bf_empty_cell(bf_gather *gather, bf_result *cell) {
    gather->waiting -= 1;
    gather->held_bytes -= cell->held;
    bf_release(gather, cell);
    memset(cell, 0, sizeof *cell);
}

/* Append a mini-batch, or make a note that its columns differ: then it is not done and may come again. */
static int bf_append_or_note(bf_gather *gather, const bf_result *result, bf_buffer *notes) {
    const bf_piece *odd = bf_odd_piece(&gather->books, result);
    if (odd == NULL) {
        int outcome = bf_append(&gather->books, result);
        return outcome == BF_APPENDED ? bf_mark_done(gather, result->index) : outcome;
    }
    const bf_piece *first = bf_pieces(result), *last = first + result->piece_count - 1;
    bf_note note = {.kind = BF_NOTE_COLUMNS, .attempt = result->attempt, .index = result->index,
                    .start = first->start, .items = last->start + last->items - first->start,
                    .size = odd->columns_size, .columns_size = odd->columns_size};
    for (uint64_t k = 0; k < result->piece_count; k++)
        note.returned += first[k].returned;
    int outcome = bf_add_note(notes, &note, odd->bytes);
    return outcome == BF_APPENDED ? BF_COLUMNS_DIFFER : outcome;
}

/* Append what waits for its turn, as far as it goes; stops at a gap or at columns that differ. */
static int bf_settle(bf_gather *gather, bf_buffer *notes) {
    int outcome = BF_APPENDED;
    while (gather->waiting && outcome == BF_APPENDED) {
        bf_result *cell = &gather->window[gather->turn & (gather->window_size - 1)];
        if (!cell->waits)
            break;
        outcome = bf_append_or_note(gather, cell, notes);
        if (outcome >= 0)
            bf_empty_cell(gather, cell);
    }
    return outcome < 0 ? outcome : BF_APPENDED;
}

/* Put a mini-batch into the window; its bytes are copied unless it owns them. */
static int bf_wait(bf_gather *gather, const bf_result *result) {
    bf_result *cell = bf_cell(gather, result->index), waiting = *result;
    if (cell == NULL || cell->waits) {
        bf_release(gather, result);
        return cell == NULL ? BF_NO_MEMORY : BF_NOT_EXPECTED;
    }
    if (waiting.owned == NULL && waiting.piece_count) {
        uint8_t *copy = malloc(waiting.piece.size ? waiting.piece.size : 1);
        if (copy == NULL)
            return BF_NO_MEMORY;
        memcpy(copy, waiting.piece.bytes, waiting.piece.size);
        waiting.owned = copy;
        waiting.piece.bytes = copy;
    }
    waiting.held += BF_RESULT_OVERHEAD;
    waiting.waits = 1;
    *cell = waiting;
    gather->waiting += 1;
    gather->held_bytes += waiting.held;
    return BF_APPENDED;
}

/* Take one mini-batch in; what it owns is the gather's from here on, whatever comes of it. */
static int bf_take(bf_gather *gather, const bf_result *result, bf_buffer *notes) {
    int outcome = BF_NOT_EXPECTED;
    if (!bf_is_done(gather, result->index)) {
        if (gather->in_order && result->index > gather->turn)
            return bf_wait(gather, result);
        outcome = bf_append_or_note(gather, result, notes);
    }
    bf_release(gather, result);
    return outcome == BF_APPENDED ? bf_settle(gather, notes) : outcome < 0 ? outcome : BF_APPENDED;
}

/* Append all that waits, in the order of its mini-batches.  As long as no columns are known, nothing is spilled that
 * would name them: that is for the first of the input to do. */
static int bf_spill(bf_gather *gather, bf_buffer *notes) {
    if (gather->books.columns.used == 0)
        for (uint64_t k = 0; k < gather->window_size; k++)
            for (uint64_t piece = 0; piece < gather->window[k].piece_count; piece++)
                if (bf_names_columns(bf_pieces(&gather->window[k]) + piece))
                    return BF_APPENDED;
    for (uint64_t index = gather->turn; gather->waiting; index++) {
        bf_result *cell = &gather->window[index & (gather->window_size - 1)];
        if (!cell->waits)
            continue;
        int outcome = bf_append_or_note(gather, cell, notes);
        if (outcome < 0)
            return outcome;
        bf_empty_cell(gather, cell);
    }
    return BF_APPENDED;
}

static void bf_gather_free(bf_gather *gather) {
    for (uint64_t k = 0; k < gather->window_size; k++)
        free(gather->window[k].owned);
    for (uint64_t k = 0; k < gather->spare_count; k++)
        free(gather->spares[k].bytes);
    free(gather->window);
    free(gather->done);
    bf_books_free(&gather->books);
    memset(gather, 0, sizeof *gather);
}

#endif
