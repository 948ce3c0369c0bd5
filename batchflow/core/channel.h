/* The driver's end of one worker: its rings, and in private memory what the worker was given and has not answered.
 *
 * A worker answers in the order in which it was asked, so the next answer must be for the first flight; anything else
 * is damage.
 */
#ifndef BF_CHANNEL_H
#define BF_CHANNEL_H

#include "gather.h"
#include "ring.h"

typedef struct {
    uint64_t index, start, items, sequence;
    uint32_t attempt;
    int is_part; /* a piece of a mini-batch that is being isolated */
} bf_flight;

typedef struct {
    bf_shared *shared;
    bf_ring request, completion;
    bf_flight *flights; /* circular */
    uint64_t flight_capacity, flight_first, flight_count;
    bf_buffer assembly; /* of a result that travels in several records */
    uint32_t assembly_checksum;
    uint64_t max_result_size;
    uint64_t result_count, result_size, run_ns, arrived_items;
} bf_channel;

static int bf_add_flight(bf_channel *channel, const bf_flight *flight) {
    if (channel->flight_count == channel->flight_capacity) {
        uint64_t capacity = channel->flight_capacity ? channel->flight_capacity * 2 : 64;
        bf_flight *flights = malloc(capacity * sizeof *flights);
        if (flights == NULL)
            return 0;
        for (uint64_t k = 0; k < channel->flight_count; k++)
            flights[k] = channel->flights[(channel->flight_first + k) & (channel->flight_capacity - 1)];
        free(channel->flights);
        channel->flights = flights;
        channel->flight_capacity = capacity;
        channel->flight_first = 0;
    }
    channel->flights[(channel->flight_first + channel->flight_count) & (channel->flight_capacity - 1)] = *flight;
    channel->flight_count += 1;
    return 1;
}

/* Write one RUN request, unpublished.  1 written, 0 no room, BF_NO_MEMORY. */
static int bf_request_run(bf_channel *channel, const bf_flight *asked) {
    bf_record record = {.kind = BF_REQUEST_RUN, .index = asked->index, .attempt = asked->attempt,
                        .count = asked->start, .extra = asked->items};
    bf_flight flight = *asked;
    flight.sequence = channel->request.sequence;
    if (!bf_try_write(&channel->request, &record, ""))
        return 0;
    return bf_add_flight(channel, &flight) ? 1 : BF_NO_MEMORY;
}

/* Book an answer that is complete, all but its bytes, in `note`.  0 if nobody asked for it. */
static int bf_book_answer(bf_channel *channel, const bf_record *record, uint64_t size, bf_note *note) {
    *note = (bf_note){.kind = record->kind, .attempt = record->attempt, .index = record->index,
                      .returned = record->count, .size = size, .columns_size = record->columns_size};
    int is_result = record->kind == BF_RESULT;
    if (record->columns_size > size)
        return 0;
    if (!is_result && record->kind != BF_FAILURE)
        return record->kind == BF_READY || record->kind == BF_INIT_FAILED;
    bf_flight *flight = &channel->flights[channel->flight_first & (channel->flight_capacity - 1)];
    if (channel->flight_count == 0 || flight->index != record->index || flight->attempt != record->attempt)
        return 0;
    note->start = flight->start;
    note->items = flight->items;
    note->kind = is_result && flight->is_part ? BF_NOTE_PART : record->kind;
    channel->flight_first += 1;
    channel->flight_count -= 1;
    channel->arrived_items += is_result ? flight->items : 0;
    channel->result_count += 1;
    channel->result_size += size;
    channel->run_ns += record->extra;
    return 1;
}

/* One complete answer: into the gather if it is the result of a whole mini-batch and there is one, else into the notes.
 * Its bytes are those of `frame`, or (NULL) of the assembly, which may be given away. */
static int bf_answer(bf_channel *channel, bf_gather *gather, bf_buffer *notes, const bf_record *record,
                     const uint8_t *frame) {
    bf_buffer *block = &channel->assembly;
    const uint8_t *bytes = frame ? frame : block->bytes;
    uint64_t size = frame ? record->payload_size : block->used;
    bf_note note;
    if (!bf_book_answer(channel, record, size, &note))
        return BF_DAMAGED;
    if (note.kind != BF_RESULT || gather == NULL)
        return bf_add_note(notes, &note, bytes);
    bf_result result = {.index = record->index, .attempt = record->attempt, .piece_count = 1, .held = size};
    result.piece = (bf_piece){bytes, size, note.start, note.items, record->count, record->columns_size, 0, 0};
    if (frame == NULL) {
        uint32_t columns = bf_crc32c(0, bytes, record->columns_size);
        result.piece.checksum = bf_crc32c_combine(columns, channel->assembly_checksum, size - record->columns_size);
        result.piece.is_checked = 1;
        result.owned = block->bytes;
        result.block = result.held = block->capacity;
        memset(block, 0, sizeof *block);
    }
    int outcome = bf_take(gather, &result, notes);
    return outcome == BF_NOT_EXPECTED ? BF_DAMAGED : outcome;
}

/* Take everything the worker has published, or as much as adds `out_limit` bytes to the output; one answer at a time where
 * five times as many wait to be written, so that many workers do not fill the memory.  `scratch` holds one frame.
 * Returns BF_APPENDED, or BF_NO_MEMORY, or BF_DAMAGED: then nothing more may be read from this worker. */
static int bf_drain(bf_channel *channel, bf_gather *gather, bf_buffer *scratch, bf_buffer *notes, uint64_t out_limit) {
    bf_ring *ring = &channel->completion;
    bf_record record;
    int found, outcome = BF_APPENDED;
    uint64_t given_back = ring->position, out_before = gather ? gather->books.out.used : 0;
    while ((found = bf_peek(ring, &record)) == BF_FOUND) {
        int is_last = !(record.flags & BF_FLAG_MORE), is_long = channel->assembly.used || !is_last;
        bf_buffer *target = is_long ? &channel->assembly : scratch;
        if (is_long && target->bytes == NULL && gather != NULL)
            *target = bf_take_spare(gather);
        uint8_t *room = bf_reserve(target, record.payload_size);
        if (room == NULL)
            return BF_NO_MEMORY;
        if (channel->assembly.used + record.payload_size > channel->max_result_size ||
            bf_read(ring, &record, room) != BF_FOUND) {
            found = BF_DAMAGED;
            break;
        }
        if (is_long) {
            uint32_t before = target->used ? channel->assembly_checksum : 0;
            channel->assembly_checksum =
                bf_crc32c_combine(before, bf_payload_checksum(&record), record.payload_size);
            target->used += record.payload_size;
        }
        if (is_last)
            outcome = bf_answer(channel, gather, notes, &record, is_long ? NULL : room);
        if (is_last && is_long)
            bf_buffer_free(target);
        if (outcome < 0)
            break;
        if (ring->position - given_back > ring->size / 4) {
            given_back = ring->position;
            bf_give_back(ring);
            bf_wake_worker(channel->shared);
        }
        if (gather != NULL && (gather->books.out.used - out_before >= out_limit ||
                               gather->books.out.used >= 5 * out_limit))
            break;
    }
    if (ring->position != given_back) {
        bf_give_back(ring);
        bf_wake_worker(channel->shared);
    }
    return found == BF_DAMAGED ? BF_DAMAGED : outcome < 0 ? outcome : BF_APPENDED;
}

/* Has the worker begun the first flight?  (Called after a drain: then it has begun it and not answered.) */
static int bf_first_flight_started(const bf_channel *channel) {
    if (channel->flight_count == 0)
        return 0;
    const bf_flight *flight = &channel->flights[channel->flight_first & (channel->flight_capacity - 1)];
    return bf_load_acquire(&channel->shared->started_sequence) == flight->sequence + 1;
}

/* Say that the driver is about to sleep.  0: this worker needs it, do not sleep.  `is_sending`: the rest of a payload
 * waits for room. */
static int bf_go_to_sleep(bf_channel *channel, int is_sending) {
    bf_shared *shared = channel->shared;
    bf_store32(&shared->driver_sleeping, 1);
    /* Full fence: the worker sees that we sleep, or we see what it has done. */
    bf_full_fence();
    uint64_t waiting = bf_load_acquire(&shared->completion_tail) - channel->completion.position;
    uint64_t head = bf_load_acquire(&shared->request_head);
    if ((is_sending && head != channel->request.peer) ||
        (waiting && bf_needs_driver(shared, channel->request.position - head, waiting))) {
        bf_store32(&shared->driver_sleeping, 0);
        return 0;
    }
    return 1;
}

/* Say that the driver is awake, and will drain now. */
static void bf_get_up(bf_channel *channel) {
    bf_take32(&channel->shared->urgent);
    bf_store32(&channel->shared->driver_sleeping, 0);
}

#endif
