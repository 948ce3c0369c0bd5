/* Two processes that sleep whenever they may: nobody may sleep although there is something to do.
 *
 *     wakes SEED ROUNDS      one line of JSON; exit 1 if anything was violated
 *
 * With -DTHREADS the two are threads, for ThreadSanitizer.
 *
 * The driver asks in bursts through rings that are nearly always full or empty, and sleeps as WorkerPool.wait does, or
 * looks for answers although it is down as asleep, as a caller does beside it.  The worker may look, too, and may be told
 * to leave the driver alone for a moment.  A wake-up that is lost shows as a sleep that nothing ends.
 */
#define _GNU_SOURCE
#include "common.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#define PATIENCE_MS 5000

typedef struct {
    bf_shared *shared;
    script told;
    int event_fd;
} post;

static void *work(void *words) {
    const post *own = words;
    const script *told = &own->told;
    bf_port port;
    bf_record request;
    uint8_t *bytes = malloc(told->frame * 4 + 4096);
    bf_port_open(&port, own->shared, own->event_fd);
    for (int kind = BF_REQUEST_RUN; kind == BF_REQUEST_RUN;) {
        port.inbox.used = 0;
        while ((kind = bf_take_request(&port, &request)) == BF_EMPTY)
            bf_port_sleep(&port, NULL);
        if (kind != BF_REQUEST_RUN)
            break;
        fill(told, request.index, bytes);
        bf_outgoing answer = {.bytes = bytes, .left = size_of(told, request.index)};
        answer.record.kind = fails(told, request.index) ? BF_FAILURE : BF_RESULT;
        answer.record.index = request.index;
        answer.record.attempt = request.attempt;
        while (!bf_send(&port, &answer))
            bf_port_sleep(&port, &answer);
    }
    free(bytes);
    bf_buffer_free(&port.inbox);
    return NULL;
}

/* Ask `count` times, then see all of it answered, asleep as often as the worker allows. */
static int burst(bf_channel *channel, const script *told, uint64_t *index, uint64_t count, int event_fd) {
    bf_buffer scratch = {0}, notes = {0};
    uint64_t asked = 0, answered = 0;
    bf_patience patience = {0};
    while (answered < count) {
        while (asked < count) {
            bf_flight flight = {.index = *index, .items = 1, .attempt = 1};
            if (bf_request_run(channel, &flight) != 1)
                break;
            *index += 1;
            asked += 1;
        }
        bf_publish(&channel->request);
        bf_wake_worker(channel->shared);
        bf_store_release(&channel->shared->low_water, asked == count ? 0 : below(8) * sizeof(bf_record));
        bf_store32(&channel->shared->spin_ns, below(2) ? (uint32_t)below(20000) : 0);
        bf_store32(&channel->shared->grace_ns, below(2) ? (uint32_t)below(20000) : 0);
        bf_store32(&channel->shared->driver_cpu, below(2) ? 1 + (uint32_t)sched_getcpu() : 0);
        struct pollfd news = {event_fd, POLLIN, 0};
        uint64_t number;
        int sleeps = bf_go_to_sleep(channel, 0);
        if (sleeps && below(2))
            sleeps = !bf_spin(&patience, channel->completion.tail, channel->completion.position, below(20000));
        if (poll(&news, 1, sleeps ? PATIENCE_MS : 0) == 0 && sleeps && bf_load32(&channel->shared->driver_sleeping)) {
            violated("nobody woke the driver, answered %llu of %llu", (unsigned long long)answered,
                     (unsigned long long)count);
            return 0;
        }
        bf_get_up(channel);
        if (read(event_fd, &number, sizeof number) < 0 && errno != EAGAIN)
            perror("eventfd");
        if (bf_drain(channel, NULL, &scratch, &notes, 0) != BF_APPENDED)
            violated("the rings are damaged");
        for (uint64_t k = 0; k < notes.used / sizeof(bf_note); k++, answered++) {
            bf_note *note = (bf_note *)notes.bytes + k;
            if (note->size != size_of(told, note->index))
                violated("an answer is not what was sent, index=%llu", (unsigned long long)note->index);
        }
        clear_notes(&notes);
        if (violations)
            return 0;
    }
    bf_buffer_free(&scratch);
    bf_buffer_free(&notes);
    return 1;
}

int main(int count, char **words) {
    if (count != 3)
        return 2;
    uint64_t seed = strtoull(words[1], NULL, 10), rounds = strtoull(words[2], NULL, 10), began = bf_now_ns();
    uint64_t index = 0, round;
    bf_crc32c_prepare();
    random_state = mix(seed);
    snprintf(replay, sizeof replay, "--seed %llu --wakes %llu", (unsigned long long)seed, (unsigned long long)rounds);
    bf_shared *shared = share(bf_rings_size(PAGE, PAGE));
    bf_shared_init(shared, PAGE, PAGE, 1, 0);
    bf_channel channel = {.shared = shared, .max_result_size = 1 << 20};
    bf_ring_open(&channel.request, shared, 0);
    bf_ring_open(&channel.completion, shared, 1);
    post own = {shared, {.seed = draw(), .frame = bf_frame_size(&channel.completion), .shape = 2},
                eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
#ifdef THREADS
    pthread_t worker;
    if (pthread_create(&worker, NULL, work, &own) != 0)
        return 3;
#else
    pid_t worker = fork();
    if (worker == 0) {
        work(&own);
        _exit(0);
    }
#endif
    for (round = 0; round < rounds && burst(&channel, &own.told, &index, 1 + below(120), own.event_fd); round++) {
    }
#ifdef THREADS
    bf_record stop = {.kind = BF_REQUEST_STOP};
    bf_try_write(&channel.request, &stop, "");
    bf_publish(&channel.request);
    bf_wake_worker(shared);
    if (!violations)
        pthread_join(worker, NULL);
#else
    kill(worker, SIGKILL);
    waitpid(worker, NULL, 0);
#endif
    printf("{\"bursts\": %llu, \"answers\": %llu, \"violations\": %llu, \"elapsed_s\": %.2f}\n",
           (unsigned long long)round, (unsigned long long)index, (unsigned long long)violations,
           (double)(bf_now_ns() - began) / 1e9);
    return violations != 0;
}
