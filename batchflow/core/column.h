/* One growing column of bytes in shared memory: written once, sealed, then only read.
 *
 * A column is a memfd (where the kernel refuses one, an unlinked file of mode 0600), mapped whole.  It grows by
 * ftruncate and mremap, so a pointer into it is valid only until the next reserve.  After bf_column_seal nobody can
 * write, shrink or grow it, in this process or another: what was checked once stays true.
 *
 * - used <= capacity; base is NULL exactly while capacity is 0
 * - every function returns 0, or an errno
 */
#ifndef BF_COLUMN_H
#define BF_COLUMN_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BF_COLUMN_MAX ((uint64_t)1 << 46)
#define BF_COLUMN_FIRST ((uint64_t)1 << 16)
#define BF_COLUMN_STEP ((uint64_t)1 << 25)

typedef struct {
    int fd;
    uint8_t *base;
    uint64_t used;
    uint64_t capacity;
} bf_column;

static void bf_column_clear(bf_column *column)
{
    column->fd = -1;
    column->base = NULL;
    column->used = column->capacity = 0;
}

static void bf_column_close(bf_column *column)
{
    if (column->base)
        munmap(column->base, column->capacity);
    if (column->fd >= 0)
        close(column->fd);
    bf_column_clear(column);
}

static int bf_column_open(bf_column *column)
{
    bf_column_clear(column);
    column->fd = memfd_create("batchflow-listing", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (column->fd < 0 && (errno == ENOSYS || errno == EPERM || errno == EINVAL))
        column->fd = open("/tmp", O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);
    return column->fd < 0 ? errno : 0;
}

/* Room for `more` bytes behind `used`.  The pages are allocated here, so that a lack of memory is an errno and not
 * a SIGBUS at the first touch. */
static int bf_column_reserve(bf_column *column, uint64_t more)
{
    if (more <= column->capacity - column->used)
        return 0;
    if (more > BF_COLUMN_MAX || column->used + more > BF_COLUMN_MAX)
        return EOVERFLOW;
    uint64_t needed = column->used + more;
    uint64_t step = column->capacity < BF_COLUMN_STEP ? column->capacity : BF_COLUMN_STEP;
    uint64_t capacity = column->capacity + (step < BF_COLUMN_FIRST ? BF_COLUMN_FIRST : step);
    if (capacity < needed)
        capacity = (needed + BF_COLUMN_FIRST - 1) / BF_COLUMN_FIRST * BF_COLUMN_FIRST;
    int failed;
    do
        failed = fallocate(column->fd, 0, (off_t)column->capacity, (off_t)(capacity - column->capacity));
    while (failed && errno == EINTR);
    if (failed && errno == EOPNOTSUPP)
        failed = ftruncate(column->fd, (off_t)capacity);
    if (failed)
        return errno;
    void *base = column->base
        ? mremap(column->base, column->capacity, capacity, MREMAP_MAYMOVE)
        : mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_SHARED, column->fd, 0);
    if (base == MAP_FAILED)
        return errno;
    column->base = base;
    column->capacity = capacity;
    return 0;
}

/* The caller has reserved the room. */
static inline void bf_column_put(bf_column *column, const void *bytes, uint64_t size)
{
    memcpy(column->base + column->used, bytes, size);
    column->used += size;
}

static int bf_column_map_readonly(bf_column *column)
{
    if (column->used == 0)
        return 0;
    void *base = mmap(NULL, column->used, PROT_READ, MAP_SHARED, column->fd, 0);
    if (base == MAP_FAILED)
        return errno;
    column->base = base;
    column->capacity = column->used;
    return 0;
}

/* Cut to what is used, forbid every later change, map again for reading only. */
static int bf_column_seal(bf_column *column)
{
    if (column->base)
        munmap(column->base, column->capacity);
    column->base = NULL;
    column->capacity = 0;
    if (ftruncate(column->fd, (off_t)column->used))
        return errno;
    /* Refused only for the file that stands in for a memfd: it is private to us all the same. */
    (void)fcntl(column->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
    return bf_column_map_readonly(column);
}

/* Map `used` bytes of another process's column; `fd` stays the caller's.  ERANGE: it does not hold so many. */
static int bf_column_attach(bf_column *column, int fd, uint64_t used)
{
    bf_column_clear(column);
    struct stat status;
    if (fstat(fd, &status))
        return errno;
    if (!S_ISREG(status.st_mode) || used > BF_COLUMN_MAX || (uint64_t)status.st_size < used)
        return ERANGE;
    column->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (column->fd < 0)
        return errno;
    column->used = used;
    int error = bf_column_map_readonly(column);
    if (error)
        bf_column_close(column);
    return error;
}

#endif
