/* Size and time of consecutive items of one folder, by all cores when there are enough of them.
 *
 * Helper threads start with the first large run, take pieces of it by one counter, and sleep between runs.  They
 * call nothing but statx and touch nothing but the items' own stat records and the run, which outlives them: a run
 * ends only when no helper is in it.  They take no signals.
 */
#ifndef BF_STAT_H
#define BF_STAT_H

#include "folder.h"
#include "listing.h"

#include <pthread.h>
#include <signal.h>

#define BF_STAT_HELPERS_MAX 15
#define BF_STAT_PIECE 64
#define BF_STAT_SHARED_MIN 256 /* below it, waking a helper costs more than it saves */

typedef struct {
    int fd; /* of the folder */
    bf_listing *listing; /* holds the names; takes the answers; does not grow meanwhile */
    uint64_t segment, first_item;
    const bf_entry *entries; /* of the same files */
    size_t count;
} bf_stat_run;

typedef struct {
    pthread_t helpers[BF_STAT_HELPERS_MAX];
    int helper_count, helpers_wanted;
    pthread_mutex_t lock;
    pthread_cond_t work, idle;
    const bf_stat_run *run; /* NULL: nothing to join */
    uint64_t run_number;
    int joined_count;
    bool ending;
    size_t next;
    int error;
    size_t failed;
} bf_stat_pool;

/* Fill in items [from, to) of the run.  0, or an errno and which. */
static int bf_stat_some(const bf_stat_run *run, size_t from, size_t to, size_t *failed)
{
    bf_listing *listing = run->listing;
    const bf_segment *segments = bf_listing_segments(listing);
    bf_item_stat *stats = bf_listing_stats(listing) + run->first_item;
    uint64_t segment = run->segment;
    for (size_t i = from; i < to; i++) {
        uint64_t item = run->first_item + i;
        while (segment + 1 < listing->segment_count && segments[segment + 1].first_item <= item)
            segment++;
        bool link = run->entries[i].kind == BF_ENTRY_FILE_LINK;
        struct statx status;
        if (!statx(run->fd, bf_listing_name(listing, segment, item), link ? 0 : AT_SYMLINK_NOFOLLOW,
                   STATX_SIZE | STATX_MTIME, &status)) {
            stats[i].size = (int64_t)status.stx_size;
            stats[i].mtime_ns = (int64_t)status.stx_mtime.tv_sec * 1000000000 + status.stx_mtime.tv_nsec;
        } else if (errno != ENOENT && !(link && errno == ENOTDIR)) {
            *failed = i;
            return errno;
        }
    }
    return 0;
}

static void bf_stat_take_pieces(bf_stat_pool *pool, const bf_stat_run *run)
{
    for (;;) {
        size_t from = __atomic_fetch_add(&pool->next, BF_STAT_PIECE, __ATOMIC_RELAXED), failed;
        if (from >= run->count)
            return;
        int error = bf_stat_some(run, from, from + BF_STAT_PIECE < run->count ? from + BF_STAT_PIECE : run->count, &failed);
        if (error) {
            pthread_mutex_lock(&pool->lock);
            if (!pool->error || failed < pool->failed) {
                pool->error = error;
                pool->failed = failed;
            }
            pthread_mutex_unlock(&pool->lock);
            return;
        }
    }
}

static void *bf_stat_helper(void *argument)
{
    bf_stat_pool *pool = argument;
    uint64_t seen = 0;
    pthread_mutex_lock(&pool->lock);
    while (!pool->ending) {
        const bf_stat_run *run = pool->run;
        if (!run || pool->run_number == seen) {
            pthread_cond_wait(&pool->work, &pool->lock);
            continue;
        }
        seen = pool->run_number;
        pool->joined_count++;
        pthread_mutex_unlock(&pool->lock);
        bf_stat_take_pieces(pool, run);
        pthread_mutex_lock(&pool->lock);
        if (--pool->joined_count == 0)
            pthread_cond_signal(&pool->idle);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static void bf_stat_pool_start(bf_stat_pool *pool, int core_count)
{
    memset(pool, 0, sizeof *pool);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->idle, NULL);
    pool->helpers_wanted = core_count - 1 < BF_STAT_HELPERS_MAX ? core_count - 1 : BF_STAT_HELPERS_MAX;
}

/* As many helpers as the system grants; none is no error. */
static void bf_stat_pool_hire(bf_stat_pool *pool)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool->helper_count < pool->helpers_wanted
           && !pthread_create(&pool->helpers[pool->helper_count], NULL, bf_stat_helper, pool))
        pool->helper_count++;
    pool->helpers_wanted = pool->helper_count;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void bf_stat_pool_end(bf_stat_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->ending = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->helper_count; i++)
        pthread_join(pool->helpers[i], NULL);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->idle);
    pthread_mutex_destroy(&pool->lock);
}

static int bf_stat_run_all(bf_stat_pool *pool, const bf_stat_run *run, size_t *failed)
{
    if (run->count < BF_STAT_SHARED_MIN || pool->helpers_wanted < 1)
        return bf_stat_some(run, 0, run->count, failed);
    bf_stat_pool_hire(pool);
    pthread_mutex_lock(&pool->lock);
    pool->run = run;
    pool->run_number++;
    pool->next = 0;
    pool->error = 0;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    bf_stat_take_pieces(pool, run);
    pthread_mutex_lock(&pool->lock);
    pool->run = NULL;
    while (pool->joined_count)
        pthread_cond_wait(&pool->idle, &pool->lock);
    int error = pool->error;
    *failed = pool->failed;
    pthread_mutex_unlock(&pool->lock);
    return error;
}

#endif
