/* A machine without memory: every allocation of a drain, a put and a spill fails once, and everything after it works.
 *
 *     memory      one line of JSON; exit 1 if anything was violated
 *
 * After a failure the gather's user ends the run, so all that is asked of it is to say so and to leak nothing.
 */
#define _GNU_SOURCE
#include <stdlib.h>

static long left = -1; /* allocations until one fails; below zero none does */
static unsigned long failed;

static int is_out_of_memory(void) {
    if (left < 0 || left-- > 0)
        return 0;
    failed += 1;
    return 1;
}

static void *scarce_malloc(size_t size) {
    return is_out_of_memory() ? NULL : malloc(size);
}

static void *scarce_calloc(size_t count, size_t size) {
    return is_out_of_memory() ? NULL : calloc(count, size);
}

static void *scarce_realloc(void *old, size_t size) {
    return is_out_of_memory() ? NULL : realloc(old, size);
}

#define malloc scarce_malloc
#define calloc scarce_calloc
#define realloc scarce_realloc
#include "common.h"

static bf_shared *shared;

static int answer(bf_channel *channel, bf_port *port, uint64_t index, const char *rows, uint64_t returned) {
    bf_flight flight = {.index = index, .start = 4 * index, .items = 4, .attempt = 1};
    bf_record request;
    if (bf_request_run(channel, &flight) != 1)
        return BF_NO_MEMORY;
    bf_publish(&channel->request);
    port->inbox.used = 0;
    int kind = bf_take_request(port, &request);
    if (kind != BF_REQUEST_RUN)
        return kind;
    bf_outgoing sent = {.bytes = (const uint8_t *)rows, .left = strlen(rows)};
    sent.record.kind = BF_RESULT;
    sent.record.index = index;
    sent.record.attempt = 1;
    sent.record.count = returned;
    sent.record.columns_size = 2;
    return bf_send(port, &sent) ? BF_APPENDED : BF_DAMAGED;
}

static int put(bf_gather *gather, uint64_t index, const char *rows, bf_buffer *notes) {
    bf_result result = {.index = index, .attempt = 2, .piece_count = 1, .held = 10};
    result.owned = malloc(strlen(rows) + 1);
    if (result.owned == NULL)
        return BF_NO_MEMORY;
    memcpy(result.owned, rows, strlen(rows));
    result.piece = (bf_piece){result.owned, strlen(rows), 4 * index, 4, 4, 2, 0, 0};
    return bf_take(gather, &result, notes);
}

/* Everything that allocates, once; the first outcome that is not good. */
static int scenario(bf_channel *channel, bf_port *port, bf_gather *gather, bf_buffer *scratch, bf_buffer *notes) {
    static const struct {
        uint64_t index, returned;
        const char *rows;
    } told[] = {{1, 4, "a\n1\n"}, {0, 4, "a\n0\n"}, {2, 3, "a\n2\n"}, {3, 4, "b\n3\n"}, {90, 4, "a\n90\n"},
                {300, 4, "a\n300\n"}, {200, 4, "b\n200\n"}};
    int outcome = BF_APPENDED;
    for (size_t k = 0; k < sizeof told / sizeof *told && outcome >= 0; k++) {
        outcome = answer(channel, port, told[k].index, told[k].rows, told[k].returned);
        if (outcome == BF_APPENDED)
            outcome = bf_drain(channel, gather, scratch, notes, 1 << 20);
    }
    for (uint64_t k = 0; k < 70 && outcome >= 0; k++) { /* more flights than the books had room for */
        bf_flight flight = {.index = 1000 + k, .items = 1, .attempt = 1};
        outcome = bf_request_run(channel, &flight) == 1 ? BF_APPENDED : BF_NO_MEMORY;
    }
    char large[6000];
    memset(large, 'x', sizeof large);
    memcpy(large, "a\n", 2);
    large[sizeof large - 1] = 0;
    if (outcome >= 0)
        outcome = put(gather, 3, large, notes);
    if (outcome >= 0)
        outcome = put(gather, 2000, "a\n2000\n", notes);
    if (outcome >= 0)
        outcome = bf_spill(gather, notes);
    if (outcome >= 0)
        outcome = put(gather, 7000, "a\n7000\n", notes);
    if (outcome >= 0)
        outcome = bf_spill(gather, notes);
    return outcome;
}

static int attempt(long allowed) {
    memset(shared, 0, bf_rings_size(4 * PAGE, 4 * PAGE));
    bf_shared_init(shared, 4 * PAGE, 4 * PAGE, 1, 0);
    bf_channel channel = {.shared = shared, .max_result_size = 1 << 20};
    bf_port port;
    bf_gather gather = {.in_order = 1, .books = {.write_header = 1}};
    bf_buffer scratch = {0}, notes = {0};
    bf_ring_open(&channel.request, shared, 0);
    bf_ring_open(&channel.completion, shared, 1);
    bf_port_open(&port, shared, -1);
    left = allowed;
    int outcome = scenario(&channel, &port, &gather, &scratch, &notes);
    left = -1;
    if (outcome >= 0 && (gather.books.counts.done != 8 || notes.used != 2 * sizeof(bf_note) || gather.waiting))
        violated("done=%llu, notes=%llu", (unsigned long long)gather.books.counts.done,
                 (unsigned long long)(notes.used / sizeof(bf_note)));
    clear_notes(&notes);
    bf_buffer_free(&notes);
    bf_buffer_free(&scratch);
    bf_buffer_free(&channel.assembly);
    bf_buffer_free(&port.inbox);
    free(channel.flights);
    bf_gather_free(&gather);
    return outcome;
}

int main(void) {
    long allowed = 0;
    bf_crc32c_prepare();
    shared = share(bf_rings_size(4 * PAGE, 4 * PAGE));
    int outcome;
    while ((outcome = attempt(allowed)) != BF_APPENDED) {
        if (outcome != BF_NO_MEMORY)
            violated("allocation %ld fails and the outcome is %d", allowed, outcome);
        allowed += 1;
    }
    if (failed != (unsigned long)allowed)
        violated("%lu allocations failed, %ld were to", failed, allowed);
    printf("{\"allocations_failed\": %lu, \"violations\": %llu}\n", failed, (unsigned long long)violations);
    return violations != 0;
}
