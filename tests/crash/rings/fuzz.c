/* Wild and forged bytes in the rings: the driver and the worker must survive any of them, and believe nothing false.
 *
 *     fuzz SEED FIRST COUNT      one line of JSON; exit 1 if anything was violated
 *
 * Wild: random bytes anywhere in the mapping, or in a position.  Then what is taken must be a prefix of what was sent,
 * byte for byte.  Forged: one field of one record is changed and the checksum made right again.  Then it is known what
 * must come of it.
 */
#define _GNU_SOURCE
#include "common.h"

#define ANSWERS 5
#define REQUESTS 8

static const uint64_t ring_size = 4 * PAGE;
static bf_shared *shared;
static bf_channel channel;
static bf_port port;
static script told;
static uint64_t places[16]; /* of the records in the completion ring */
static int place_count;
static uint64_t begun; /* requests taken */
static uint64_t wild, forged, damaged, taken;

/* A desk with some answers published and some requests waiting. */
static void set_up(int shapes) {
    uint8_t bytes[4 * PAGE];
    memset(shared, 0, bf_rings_size(ring_size, ring_size));
    bf_shared_init(shared, ring_size, ring_size, 7, below(3) ? 8 * below(2 * PAGE) : 0ull - 8 * below(PAGE));
    channel.shared = shared;
    channel.max_result_size = 8 * PAGE;
    channel.flight_first = channel.flight_count = channel.result_count = 0;
    bf_ring_open(&channel.request, shared, 0);
    bf_ring_open(&channel.completion, shared, 1);
    uint8_t *inbox = port.inbox.bytes;
    uint64_t capacity = port.inbox.capacity;
    bf_port_open(&port, shared, -1);
    port.inbox = (bf_buffer){inbox, 0, capacity};
    told = (script){.seed = draw(), .frame = bf_frame_size(&channel.completion), .shape = (int)below((uint64_t)shapes),
                    .has_columns = 1};
    for (uint64_t k = 0; k < REQUESTS; k++) {
        bf_flight flight = {.index = k, .start = 10 * k, .items = 10, .attempt = attempt_of(&told, k)};
        if (bf_request_run(&channel, &flight) != 1)
            violated("no room for a request");
    }
    bf_publish(&channel.request);
    place_count = 0;
    for (uint64_t k = 0; k < ANSWERS; k++) {
        bf_record request;
        port.inbox.used = 0;
        if (bf_take_request(&port, &request) != BF_REQUEST_RUN)
            violated("no request");
        begun = k + 1;
        fill(&told, k, bytes);
        bf_outgoing answer = {.bytes = bytes, .left = size_of(&told, k)};
        answer.record.kind = fails(&told, k) ? BF_FAILURE : BF_RESULT;
        answer.record.index = k;
        answer.record.attempt = request.attempt;
        answer.record.count = request.extra;
        answer.record.columns_size = (uint32_t)columns_of(&told, k);
        uint64_t used = port.completion.position - shared->start;
        if (used + answer.left + 5 * (sizeof(bf_record) + 8) > ring_size)
            break; /* not begun: it stays taken */
        places[place_count++] = port.completion.position;
        bf_send(&port, &answer);
    }
}

/* Drain everything; how many answers were taken, all of which must be what was sent, except for the fields that a
 * forger may choose. */
static int drain_all(int *is_damaged, uint64_t free_count) {
    bf_buffer scratch = {0}, notes = {0};
    int count = 0;
    *is_damaged = bf_drain(&channel, NULL, &scratch, &notes, 0) == BF_DAMAGED;
    uint8_t bytes[4 * PAGE];
    for (uint64_t k = 0; k < notes.used / sizeof(bf_note); k++) {
        bf_note *note = (bf_note *)notes.bytes + k;
        if (note->kind != BF_RESULT && note->kind != BF_FAILURE)
            continue;
        uint64_t index = (uint64_t)count++;
        fill(&told, index, bytes);
        if (note->index != index || note->attempt != attempt_of(&told, index) || note->start != 10 * index ||
            note->items != 10 || (note->returned != 10 && index != free_count) ||
            note->kind != (fails(&told, index) ? (uint32_t)BF_FAILURE : (uint32_t)BF_RESULT) ||
            note->size != size_of(&told, index) || note->columns_size != columns_of(&told, index) ||
            memcmp(note->bytes, bytes, note->size) != 0)
            violated("an answer is not what was sent, index=%llu", (unsigned long long)index);
    }
    clear_notes(&notes);
    bf_buffer_free(&notes);
    bf_buffer_free(&scratch);
    bf_buffer_free(&channel.assembly);
    taken += (uint64_t)count;
    damaged += (uint64_t)*is_damaged;
    return count;
}

/* The worker takes what is left of the requests: a prefix, then nothing or damage. */
static void take_all(void) {
    bf_record request;
    uint64_t index = begun;
    int kind;
    for (port.inbox.used = 0; (kind = bf_take_request(&port, &request)) > 0; index++, port.inbox.used = 0)
        if (kind != BF_REQUEST_RUN || request.index != index || request.count != 10 * index || request.extra != 10 ||
            request.attempt != attempt_of(&told, index))
            violated("a request is not what was asked, index=%llu", (unsigned long long)index);
}

static void go_wild(void) {
    uint8_t *memory = (uint8_t *)shared;
    uint64_t size = bf_rings_size(ring_size, ring_size);
    for (uint64_t round = 1 + below(5); round; round--) {
        uint64_t junk = below(2) ? draw() : below(3) - 1, length = 1 + below(8), place;
        switch (below(4)) {
        case 0:
            place = below(size - 8);
            break;
        case 1: /* a position of one of the rings, near or far */
            place = 128 * (1 + below(4));
            junk = below(2) ? draw() : *(uint64_t *)(memory + place) + 8 * below(2 * PAGE) - 8 * PAGE;
            length = 8;
            break;
        case 2: /* a header that will be read */
            place = PAGE + ring_size + ((places[below((uint64_t)place_count)] + below(64)) & (ring_size - 1));
            break;
        default:
            place = PAGE + ring_size + below(ring_size - 8);
        }
        memcpy(memory + (place > size - 8 ? size - 8 : place), &junk, length);
    }
    int is_damaged;
    drain_all(&is_damaged, ~0ull);
    take_all();
    wild += 1;
}

/* A worker whose head is junk may not write where it must not, either: the pages around the mapping say so. */
static void answer_wildly(void) {
    uint8_t bytes[PAGE] = {0};
    bf_outgoing answer = {.bytes = bytes, .left = below(PAGE), .record = {.kind = BF_RESULT}};
    bf_send(&port, &answer);
    bf_flight flight = {.index = 99, .items = 1, .attempt = 1};
    bf_request_run(&channel, &flight);
}

enum { MAGIC, GENERATION, SEQUENCE, INDEX, ATTEMPT, KIND, COLUMNS, LENGTH, MORE, COUNT, SPENT, REPLAY, FIELDS };

static void forge(void) {
    uint64_t victim = below((uint64_t)place_count), field = below(FIELDS), noise = draw();
    uint8_t payload[PAGE];
    bf_ring view = port.completion;
    bf_record record, first;
    bf_copy_out(&view, places[victim], &record, sizeof record);
    bf_copy_out(&view, places[0], &first, sizeof first);
    uint32_t length = record.payload_size;
    uint64_t change = 1 + noise % (noise % 3 ? 4 : 1u << 31), free_count = ~0ull;
    int believed = 0;
    memset(payload, 0, sizeof payload);
    bf_copy_out(&view, places[victim] + sizeof record, payload, length);
    switch (field) {
    case MAGIC:
        record.magic += (uint32_t)change;
        break;
    case GENERATION:
        record.generation -= (uint32_t)change;
        break;
    case SEQUENCE:
        record.sequence += noise % 2 ? change : 0 - change;
        break;
    case INDEX:
        record.index += noise % 2 ? change : 0 - change;
        break;
    case ATTEMPT:
        record.attempt += (uint32_t)change;
        break;
    case KIND:
        record.kind = (uint16_t)(5 + noise % 60000);
        break;
    case COLUMNS:
        record.columns_size = length + (uint32_t)change;
        break;
    case LENGTH: /* beyond what is published, up to beyond what any record may be */
        record.payload_size = (uint32_t)(port.completion.position - places[victim]) - 63 + (uint32_t)(change % (1u << 20));
        length = record.payload_size < PAGE ? record.payload_size : length;
        bf_copy_out(&view, places[victim] + sizeof record, payload, length < PAGE ? length : 0);
        break;
    case MORE: /* the answer goes on in the next record: then it is not an answer to the flight that is next */
        record.flags ^= BF_FLAG_MORE;
        break;
    case COUNT: /* only the worker knows this */
        record.count += change;
        believed = 1;
        free_count = victim;
        break;
    case SPENT:
        record.extra += change;
        believed = 1;
        break;
    default: /* an old record once more */
        if (victim == 0 || first.payload_size != record.payload_size)
            return;
        record = first;
        bf_copy_out(&view, places[0] + sizeof record, payload, length);
    }
    uint64_t hashed = record.payload_size < PAGE ? record.payload_size : 0;
    record.crc = 0;
    record.crc = bf_crc32c(bf_crc32c(0, &record, sizeof record), payload, hashed);
    bf_copy_in(&view, places[victim], &record, sizeof record);
    forged += 1;
    bf_crc32c_hardware = 0;
    int is_damaged, count = drain_all(&is_damaged, free_count);
    int last_goes_on = field == MORE && victim == (uint64_t)place_count - 1; /* and nobody can know */
    int expected = believed ? place_count : (int)victim;
    if (is_damaged != !(believed || last_goes_on) || count != expected)
        violated("a forged record, field=%llu, victim=%llu of %d: %d answers were taken, damaged=%d",
                 (unsigned long long)field, (unsigned long long)victim, place_count, count, is_damaged);
    take_all();
}

int main(int count, char **words) {
    if (count != 4)
        return 2;
    uint64_t seed = strtoull(words[1], NULL, 10), first = strtoull(words[2], NULL, 10);
    uint64_t rounds = strtoull(words[3], NULL, 10), began = bf_now_ns();
    uint64_t size = bf_rings_size(ring_size, ring_size);
    bf_crc32c_prepare();
    int can_hardware = bf_crc32c_hardware;
    uint8_t *memory = share(size + 2 * PAGE);
    mprotect(memory, PAGE, PROT_NONE);
    mprotect(memory + PAGE + size, PAGE, PROT_NONE);
    shared = (bf_shared *)(memory + PAGE);
    for (life = first; life < first + rounds; life++) {
        snprintf(replay, sizeof replay, "--seed %llu --first %llu --fuzz 1", (unsigned long long)seed,
                 (unsigned long long)life);
        random_state = mix(seed) ^ mix(life);
        int forges = (int)below(2);
        bf_crc32c_hardware = can_hardware && below(2); /* both ways make the same checksums */
        set_up(forges ? 2 : 4);
        if (forges)
            forge();
        else
            go_wild();
        bf_crc32c_hardware = can_hardware;
        answer_wildly();
    }
    printf("{\"fuzzed\": %llu, \"wild\": %llu, \"forged\": %llu, \"answers_taken\": %llu, \"damaged\": %llu, "
           "\"violations\": %llu, \"elapsed_s\": %.2f}\n",
           (unsigned long long)rounds, (unsigned long long)wild, (unsigned long long)forged,
           (unsigned long long)taken, (unsigned long long)damaged, (unsigned long long)violations,
           (double)(bf_now_ns() - began) / 1e9);
    return violations != 0;
}
