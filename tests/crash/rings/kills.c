/* SIGKILL at random instants of a process that publishes answers; the driver's side drains them, before and after.
 *
 *     kills SEED FIRST COUNT AGAIN      one line of JSON; exit 1 if anything was violated
 *
 * A witness in memory of its own is told by the worker what it is about to do and what it has done, so that after its
 * death it is known what must be found: every answer whose bf_send returned, none that was not begun, and the one to blame.
 */
#define _GNU_SOURCE
#include "common.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

typedef struct {
    uint64_t taking, taken, sending, sent; /* counts */
} witness;

static cpu_set_t everywhere;
static uint64_t records, kills_in_run, kills_while_sending, kills_unpublished, kills_asleep, multi_frame;

static void note_down(uint64_t *word, uint64_t value) {
    __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
}

/* The worker, as loop.py goes: take, run, publish. */
static void work(bf_shared *shared, const script *told, witness *seen) {
    bf_port port;
    bf_record request;
    uint8_t *bytes = malloc(told->frame * 4 + 4096);
    bf_port_open(&port, shared, -1);
    for (uint64_t k = 0;; k++) {
        int kind;
        note_down(&seen->taking, k + 1);
        port.inbox.used = 0;
        while ((kind = bf_take_request(&port, &request)) == BF_EMPTY)
            bf_port_sleep(&port, NULL);
        if (kind != BF_REQUEST_RUN || request.index != k)
            _exit(7);
        note_down(&seen->taken, k + 1);
        for (volatile uint64_t effort = mix(told->seed ^ k * 11) % told->effort; effort; effort--) {
        }
        fill(told, k, bytes);
        bf_outgoing answer = {.bytes = bytes, .left = size_of(told, k)};
        answer.record.kind = fails(told, k) ? BF_FAILURE : BF_RESULT;
        answer.record.index = k;
        answer.record.attempt = request.attempt;
        answer.record.count = request.extra;
        answer.record.columns_size = (uint32_t)columns_of(told, k);
        note_down(&seen->sending, k + 1);
        while (!bf_send(&port, &answer))
            bf_port_sleep(&port, &answer);
        note_down(&seen->sent, k + 1);
    }
}

typedef struct {
    bf_channel channel;
    bf_gather gather;
    bf_buffer scratch, notes;
    script told;
    uint8_t *expected;
    uint64_t asked, start, noted; /* requests written; the next one's first item; notes looked at */
    int gathers, is_damaged;
} desk;

static void ask(desk *one) {
    uint64_t written = 0;
    while (one->channel.flight_count < 1000) {
        bf_flight flight = {.index = one->asked, .start = one->start, .items = items_of(&one->told, one->asked),
                            .attempt = attempt_of(&one->told, one->asked),
                            .is_part = is_part(&one->told, one->asked)};
        if (bf_request_run(&one->channel, &flight) != 1)
            break;
        one->asked += 1;
        one->start += flight.items;
        written += 1;
    }
    if (written) {
        bf_publish(&one->channel.request);
        bf_wake_worker(one->channel.shared);
    }
}

/* Is this note the answer to the request that was next, byte for byte? */
static void look(desk *one, const bf_note *note) {
    const script *told = &one->told;
    if (note->kind == BF_NOTE_DAMAGED || note->index >= one->asked || note->index < one->noted) {
        violated("an alien note, kind=%u, index=%llu", note->kind, (unsigned long long)note->index);
        return;
    }
    for (; one->noted < note->index; one->noted++)
        if (!one->gathers || fails(told, one->noted) || is_part(told, one->noted))
            violated("an answer is missing, index=%llu", (unsigned long long)one->noted);
    one->noted = note->index + 1;
    uint32_t kind = fails(told, note->index)     ? BF_FAILURE
                    : is_part(told, note->index) ? (uint32_t)BF_NOTE_PART
                                                 : (uint32_t)BF_RESULT;
    fill(told, note->index, one->expected);
    if (note->kind != kind || note->attempt != attempt_of(told, note->index) ||
        note->items != items_of(told, note->index) || note->size != size_of(told, note->index) ||
        note->columns_size != columns_of(told, note->index) ||
        memcmp(note->bytes, one->expected, note->size) != 0)
        violated("an answer is not what was sent, index=%llu", (unsigned long long)note->index);
}

/* Drain, and look at every note; what failed or is a part is put, so that the order goes on. */
static void drain(desk *one) {
    if (one->is_damaged)
        return;
    uint64_t limit = one->gathers ? one->gather.books.out.used + 1 + below(1 << 14) : 0;
    int outcome = bf_drain(&one->channel, one->gathers ? &one->gather : NULL, &one->scratch, &one->notes, limit);
    if (outcome != BF_APPENDED) {
        violated("the rings are damaged, outcome=%d", outcome);
        one->is_damaged = 1;
    }
    for (uint64_t k = 0; k < one->notes.used / sizeof(bf_note); k++) {
        bf_note note = ((bf_note *)one->notes.bytes)[k];
        look(one, &note);
        bf_result lost = {.index = note.index, .attempt = note.attempt};
        if (one->gathers && bf_take(&one->gather, &lost, &one->notes) != BF_APPENDED)
            violated("a mini-batch cannot be put, index=%llu", (unsigned long long)note.index);
    }
    clear_notes(&one->notes);
}

/* The output must be what was answered, and its extents must tile the items that succeeded. */
static void audit(desk *one, uint64_t answered) {
    const bf_buffer *out = &one->gather.books.out;
    const bf_extent *extent = (bf_extent *)one->gather.books.extents.bytes;
    const bf_extent *end = extent + one->gather.books.extents.used / sizeof *extent;
    uint64_t offset = 0, start = 0, in_extent = 0, items = 0;
    bf_checksum_extents(&one->gather.books);
    if (one->gather.next != answered || one->gather.waiting || one->gather.held_bytes)
        violated("not all that was answered is in the output, next=%llu, answered=%llu",
                 (unsigned long long)one->gather.next, (unsigned long long)answered);
    for (uint64_t index = 0; index < answered; start += items_of(&one->told, index), index++) {
        uint64_t columns = columns_of(&one->told, index), size = size_of(&one->told, index) - columns;
        if (fails(&one->told, index) || is_part(&one->told, index))
            continue;
        fill(&one->told, index, one->expected);
        if (offset == 0 && size && columns) {
            offset = columns; /* the header */
            if (memcmp(out->bytes, one->expected, columns) != 0)
                violated("the header is wrong");
        }
        if (offset + size > out->used || memcmp(out->bytes + offset, one->expected + columns, size) != 0)
            violated("rows are not those of mini-batch %llu", (unsigned long long)index);
        if (extent == end || extent->first_item + in_extent != start || extent->offset > offset) {
            violated("no extent for mini-batch %llu", (unsigned long long)index);
            return;
        }
        offset += size;
        items += items_of(&one->told, index);
        in_extent += items_of(&one->told, index);
        if (in_extent == extent->item_count) {
            if (extent->offset + extent->size != offset ||
                extent->checksum != bf_crc32c(0, out->bytes + extent->offset, extent->size))
                violated("an extent is wrong, first_item=%llu", (unsigned long long)extent->first_item);
            extent += 1;
            in_extent = 0;
        }
    }
    if (extent != end || in_extent || offset != out->used)
        violated("the extents do not end where the output does");
    if (one->gather.books.counts.succeeded != items)
        violated("counted %llu items, there are %llu", (unsigned long long)one->gather.books.counts.succeeded,
                 (unsigned long long)items);
}

static void rest(uint64_t ns) {
    struct timespec time = {.tv_nsec = (long)ns};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
}

/* Let the worker live until the instant of its death.  It has the driver's processor, so a timer stops it anywhere;
 * in the last manner it has one of its own, and both are at the rings at once. */
static void let_live(desk *one, int manner) {
    bf_shared *shared = one->channel.shared;
    uint64_t ring_size = one->channel.completion.size;
    if (manner == 0) {
        rest(below(150000));
        return;
    }
    for (int k = 0; k < 200 && bf_load_acquire(&shared->completion_tail) == shared->start; k++)
        rest(10000 + below(5000));
    uint64_t until = bf_now_ns() + below(5000ull << below(6));
    if (manner == 1)
        rest(below(ring_size * 2));
    while (manner == 2 && bf_now_ns() < until) {
        drain(one);
        ask(one);
        rest(below(ring_size)); /* about as long as it takes to fill it */
    }
    while (manner == 3 && bf_now_ns() < until) {
        drain(one);
        ask(one);
    }
}

/* After the death: all that was sent is there, nothing that was not begun, and the right one is to blame. */
static void judge(desk *one, const witness *seen) {
    bf_shared *shared = one->channel.shared;
    bf_ring *ring = &one->channel.completion;
    uint64_t tail = shared->completion_tail, end = tail & (ring->size - 1);
    uint32_t beyond;
    memcpy(&beyond, ring->data + end, sizeof beyond);
    kills_unpublished += tail - shared->start < ring->size && beyond != 0;
    kills_in_run += seen->taken > seen->sending;
    kills_while_sending += seen->sending > seen->sent;
    kills_asleep += shared->worker_sleeping;
    for (uint64_t before = ~0ull; before != ring->position && !one->is_damaged;) {
        before = ring->position;
        drain(one);
    }
    uint64_t answered = one->asked - one->channel.flight_count;
    records += answered;
    for (uint64_t k = 0; k < answered; k++)
        multi_frame += size_of(&one->told, k) > one->told.frame;
    if (one->is_damaged)
        return;
    if (answered < seen->sent || answered > seen->sending)
        violated("%llu answers were found, %llu were sent, %llu begun", (unsigned long long)answered,
                 (unsigned long long)seen->sent, (unsigned long long)seen->sending);
    if (one->channel.result_count != answered || ring->position != tail)
        violated("not all was drained, result_count=%llu", (unsigned long long)one->channel.result_count);
    if (!one->gathers && one->noted != answered)
        violated("%llu answers were told, %llu are counted", (unsigned long long)one->noted,
                 (unsigned long long)answered);
    for (uint64_t k = 0; k < one->channel.flight_count; k++) {
        bf_flight *flight =
            &one->channel.flights[(one->channel.flight_first + k) & (one->channel.flight_capacity - 1)];
        if (flight->index != answered + k)
            violated("the flights are not what was not answered, index=%llu", (unsigned long long)flight->index);
    }
    int started = bf_first_flight_started(&one->channel);
    if (seen->taken > answered && !started)
        violated("a request was begun and nobody is to blame, index=%llu", (unsigned long long)answered);
    if (seen->taking <= answered && started)
        violated("a request that nobody took is to blame, index=%llu", (unsigned long long)answered);
    if (seen->taken > seen->sending && shared->state != BF_STATE_RUNNING)
        violated("a worker in run() is in state %u", shared->state);
    if (one->gathers)
        audit(one, answered);
}

static void live_and_die(uint64_t seed) {
    static const uint64_t starts[] = {0, 8, (1ull << 32) - 64, (1ull << 63) - 64, 0ull - 4096};
    random_state = mix(seed) ^ mix(life);
    int manner = "0111222223"[below(10)] - '0';
    uint64_t request_size = PAGE << 2 * below(3), completion_size = PAGE << 2 * below(4);
    uint64_t size = bf_rings_size(request_size, completion_size);
    desk one = {.gathers = (int)below(2)};
    bf_shared *shared = share(size + PAGE);
    witness *seen = (witness *)((uint8_t *)shared + size);
    bf_shared_init(shared, request_size, completion_size, 1 + (uint32_t)life, starts[below(5)]);
    one.channel.shared = shared;
    one.channel.max_result_size = 1 << 20;
    bf_ring_open(&one.channel.request, shared, 0);
    bf_ring_open(&one.channel.completion, shared, 1);
    one.told = (script){.seed = draw(), .frame = bf_frame_size(&one.channel.completion), .effort = 1ull << below(3) * 6,
                        .shape = (int)below(4), .has_columns = (int)below(2), .has_parts = (int)below(2)};
    one.expected = malloc(one.told.frame * 4 + 4096);
    one.gather.in_order = one.gather.books.write_header = 1;
    ask(&one);
    fflush(stderr);
    pid_t pid = fork();
    if (pid < 0) {
        perror("fork");
        exit(3);
    }
    if (pid == 0) {
        if (manner == 3)
            sched_setaffinity(0, sizeof everywhere, &everywhere);
        work(shared, &one.told, seen);
    }
    let_live(&one, manner);
    kill(pid, SIGKILL);
    int status;
    while (waitpid(pid, &status, 0) != pid) {
    }
    if (!WIFSIGNALED(status))
        violated("the worker saw a damaged request, status=%d", status);
    judge(&one, seen);
    bf_gather_free(&one.gather);
    bf_buffer_free(&one.scratch);
    bf_buffer_free(&one.notes);
    bf_buffer_free(&one.channel.assembly);
    free(one.channel.flights);
    free(one.expected);
    munmap(shared, size + PAGE);
}

/* Stay on one of the processors that are ours, with timers that are not rounded. */
static void settle_down(void) {
    cpu_set_t here;
    sched_getaffinity(0, sizeof everywhere, &everywhere);
    int number = getpid() % CPU_COUNT(&everywhere);
    CPU_ZERO(&here);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &everywhere) && number-- == 0)
            CPU_SET(cpu, &here);
    sched_setaffinity(0, sizeof here, &here);
    prctl(PR_SET_TIMERSLACK, 1ul, 0ul, 0ul, 0ul);
}

int main(int count, char **words) {
    if (count != 5)
        return 2;
    uint64_t seed = strtoull(words[1], NULL, 10), first = strtoull(words[2], NULL, 10);
    uint64_t lives = strtoull(words[3], NULL, 10), again = strtoull(words[4], NULL, 10), began = bf_now_ns();
    bf_crc32c_prepare();
    settle_down();
    for (life = first; life < first + lives; life++) {
        snprintf(replay, sizeof replay, "--seed %llu --first %llu --kills 1 --again 1000", (unsigned long long)seed,
                 (unsigned long long)life);
        for (uint64_t k = 0; k < again; k++)
            live_and_die(seed);
    }
    printf("{\"ring_kills\": %llu, \"records\": %llu, \"multi_frame\": %llu, \"in_run\": %llu, "
           "\"while_sending\": %llu, \"unpublished\": %llu, \"asleep\": %llu, \"violations\": %llu, "
           "\"elapsed_s\": %.2f}\n",
           (unsigned long long)(lives * again), (unsigned long long)records, (unsigned long long)multi_frame,
           (unsigned long long)kills_in_run, (unsigned long long)kills_while_sending,
           (unsigned long long)kills_unpublished, (unsigned long long)kills_asleep, (unsigned long long)violations,
           (double)(bf_now_ns() - began) / 1e9);
    return violations != 0;
}
