/* Stands between a program and libc's file operations: counts them, kills the process at one of them, lets them fail,
 * logs them.  Loaded with LD_PRELOAD; without a control block every call goes straight through.
 */
#define _GNU_SOURCE
#include "state.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

/* Opening and closing */

static int open_below(int folder_fd, const char *name, int flags, mode_t mode) {
    static int (*real)(int, const char *, int, ...);
    if (real == NULL) {
        real = (int (*)(int, const char *, int, ...))real_function("openat64");
    }
    char path[PATH_SIZE];
    if (is_active() && control->boot_path[0] != '\0' && strcmp(name, "/proc/sys/kernel/random/boot_id") == 0) {
        name = control->boot_path;
    }
    if (!resolve(folder_fd, name, path)) {
        int fd = real(folder_fd, name, flags, mode);
        track(fd, NULL);
        return fd;
    }
    if (!is_active()) {
        int fd = real(folder_fd, name, flags, mode);
        track(fd, path);
        return fd;
    }
    struct stat status;
    int exists = syscall(SYS_newfstatat, AT_FDCWD, path, &status, AT_SYMLINK_NOFOLLOW) == 0;
    enum kind kind = KIND_OPEN;
    if ((flags & O_TMPFILE) == O_TMPFILE) {
        kind = KIND_UNMODELLED;
    } else if (!exists && (flags & O_CREAT)) {
        kind = KIND_CREATE;
    } else if (exists && (flags & O_TRUNC) && S_ISREG(status.st_mode)) {
        kind = KIND_TRUNCATE;
    }
    uint64_t number;
    if (begin(kind, path, &number) == FAIL) {
        finish(kind, number, errno, -1, path, NULL, 0, 0, NULL);
        return -1;
    }
    int fd = real(folder_fd, name, flags, mode);
    track(fd, path);
    if (fd < 0 && kind == KIND_CREATE) {
        kind = KIND_OPEN;
    }
    finish(kind, number, fd < 0 ? errno : 0, fd, path, NULL, kind == KIND_CREATE ? mode : 0, 0, NULL);
    return fd;
}

static mode_t mode_from(int flags, va_list rest) {
    return flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY)) ? va_arg(rest, mode_t) : 0;
}

#define OPEN(function)                                            \
    PUBLIC int function(const char *path, int flags, ...) {       \
        va_list rest;                                             \
        va_start(rest, flags);                                    \
        mode_t mode = mode_from(flags, rest);                     \
        va_end(rest);                                             \
        return open_below(AT_FDCWD, path, flags, mode);           \
    }
#define OPEN_AT(function)                                         \
    PUBLIC int function(int fd, const char *path, int flags, ...) { \
        va_list rest;                                             \
        va_start(rest, flags);                                    \
        mode_t mode = mode_from(flags, rest);                     \
        va_end(rest);                                             \
        return open_below(fd, path, flags, mode);                 \
    }
OPEN(open)
OPEN(open64)
OPEN_AT(openat)
OPEN_AT(openat64)

PUBLIC int creat(const char *path, mode_t mode) {
    return open_below(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

PUBLIC int creat64(const char *path, mode_t mode) {
    return open_below(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

PUBLIC int close(int fd) {
    static __typeof__(&close) real;
    if (real == NULL) {
        real = REAL(close);
    }
    const char *path = path_of(fd);
    if (path == NULL) {
        track(fd, NULL);
        return real(fd);
    }
    uint64_t number;
    enum verdict verdict = begin(KIND_CLOSE, path, &number);
    int error = errno;
    int result = real(fd); /* also when it fails: the descriptor is gone then */
    if (verdict == FAIL) {
        errno = error;
        result = -1;
    }
    finish(KIND_CLOSE, number, result < 0 ? errno : 0, -1, path, NULL, 0, 0, NULL);
    track(fd, NULL);
    return result;
}

static int copy_of(int fd, int copy) {
    if (copy >= 0 && copy != fd) {
        track(copy, fd >= 0 && fd < FD_MAX ? fd_path[fd] : NULL);
    }
    return copy;
}

PUBLIC int dup(int fd) {
    return copy_of(fd, REAL(dup)(fd));
}

PUBLIC int dup2(int fd, int target) {
    return copy_of(fd, REAL(dup2)(fd, target));
}

PUBLIC int dup3(int fd, int target, int flags) {
    return copy_of(fd, REAL(dup3)(fd, target, flags));
}

#define FCNTL(function)                                                                          \
    PUBLIC int function(int fd, int command, ...) {                                              \
        static int (*real)(int, int, ...);                                                       \
        if (real == NULL) {                                                                      \
            real = (int (*)(int, int, ...))real_function(#function);                             \
        }                                                                                        \
        va_list rest;                                                                            \
        va_start(rest, command);                                                                 \
        void *argument = va_arg(rest, void *);                                                   \
        va_end(rest);                                                                            \
        int result = real(fd, command, argument);                                                \
        return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? copy_of(fd, result) : result; \
    }
FCNTL(fcntl)
FCNTL(fcntl64)

/* Writing */

static ssize_t raw_write(int fd, const void *data, size_t length, off_t offset) {
    return offset < 0 ? syscall(SYS_write, fd, data, length) : syscall(SYS_pwrite64, fd, data, length, offset);
}

/* How much of a write to do: all, or the part that its verdict leaves. */
static size_t part_of(size_t length, enum verdict verdict, uint64_t number) {
    if (verdict == GO || length < 2) {
        return length;
    }
    if (control->kill_mode == KILL_MID && number == control->kill_at) {
        size_t part = length * control->kill_permille / 1000;
        return part == 0 ? 1 : part;
    }
    return length / 2;
}


/* `offset` -1: at the descriptor's position, or at the end. */
static ssize_t write_at(int fd, const void *data, size_t length, off_t offset) {
    const char *path = path_of(fd);
    if (path == NULL || length == 0) {
        return raw_write(fd, data, length, offset);
    }
    uint64_t number;
    enum verdict verdict = begin(KIND_WRITE, path, &number);
    if (verdict == FAIL) {
        finish(KIND_WRITE, number, errno, fd, path, NULL, 0, length, NULL);
        return -1;
    }
    ssize_t done = raw_write(fd, data, part_of(length, verdict, number), offset);
    if (done >= 0 && offset < 0) {
        offset = lseek(fd, 0, SEEK_CUR) - done;
    }
    finish(KIND_WRITE, number, done < 0 ? errno : 0, fd, path, NULL, (uint64_t)offset, done < 0 ? 0 : (uint64_t)done,
           data);
    return done;
}

PUBLIC ssize_t write(int fd, const void *data, size_t length) {
    return write_at(fd, data, length, -1);
}

PUBLIC ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
    return write_at(fd, data, length, offset);
}

PUBLIC ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    return write_at(fd, data, length, offset);
}

static ssize_t write_parts(int fd, const struct iovec *parts, int count, off_t offset) {
    size_t length = 0, at = 0;
    for (int index = 0; index < count; index++) {
        length += parts[index].iov_len;
    }
    char *data = malloc(length + 1);
    if (data == NULL) {
        errno = ENOMEM;
        return -1;
    }
    for (int index = 0; index < count; index++) {
        memcpy(data + at, parts[index].iov_base, parts[index].iov_len);
        at += parts[index].iov_len;
    }
    ssize_t done = write_at(fd, data, length, offset);
    int error = errno;
    free(data);
    errno = error;
    return done;
}

PUBLIC ssize_t writev(int fd, const struct iovec *parts, int count) {
    return path_of(fd) == NULL ? syscall(SYS_writev, fd, parts, count) : write_parts(fd, parts, count, -1);
}

PUBLIC ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    return write_parts(fd, parts, count, offset);
}

PUBLIC ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
    return write_parts(fd, parts, count, offset);
}

PUBLIC ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int flags) {
    return path_of(fd) == NULL ? REAL(pwritev2)(fd, parts, count, offset, flags)
                               : write_parts(fd, parts, count, offset);
}

PUBLIC ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off64_t offset, int flags) {
    return pwritev2(fd, parts, count, offset, flags);
}

/* The kernel copies: `way` does it for a given length, and the bytes for the log are read from the source. */
struct copy {
    int from, to;
    off64_t from_offset, to_offset; /* -1: at the descriptor's position */
    unsigned flags;
    int is_sendfile;
};

static ssize_t raw_copy(struct copy *copy, size_t length) {
    off64_t *from = copy->from_offset < 0 ? NULL : &copy->from_offset;
    off64_t *to = copy->to_offset < 0 ? NULL : &copy->to_offset;
    return copy->is_sendfile ? syscall(SYS_sendfile, copy->to, copy->from, from, length)
                             : syscall(SYS_copy_file_range, copy->from, from, copy->to, to, length, copy->flags);
}

static ssize_t copy_below(struct copy *copy, size_t length) {
    const char *path = path_of(copy->to);
    if (path == NULL || length == 0) {
        return raw_copy(copy, length);
    }
    uint64_t number;
    enum verdict verdict = begin(KIND_WRITE, path, &number);
    if (verdict == FAIL) {
        finish(KIND_WRITE, number, errno, copy->to, path, NULL, 0, length, NULL);
        return -1;
    }
    off64_t from = copy->from_offset < 0 ? lseek(copy->from, 0, SEEK_CUR) : copy->from_offset;
    off64_t to = copy->to_offset < 0 ? lseek(copy->to, 0, SEEK_CUR) : copy->to_offset;
    ssize_t done = raw_copy(copy, part_of(length, verdict, number));
    char *data = done > 0 ? malloc((size_t)done) : NULL;
    if (done > 0 && (data == NULL || syscall(SYS_pread64, copy->from, data, done, from) != done)) {
        abort();
    }
    finish(KIND_WRITE, number, done < 0 ? errno : 0, copy->to, path, NULL, (uint64_t)to, done < 0 ? 0 : (uint64_t)done,
           data);
    free(data);
    return done;
}

PUBLIC ssize_t copy_file_range(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t length,
                               unsigned flags) {
    struct copy copy = {from, to, from_offset ? *from_offset : -1, to_offset ? *to_offset : -1, flags, 0};
    ssize_t done = copy_below(&copy, length);
    if (done > 0) {
        *(from_offset ? from_offset : &copy.from_offset) = copy.from_offset;
        *(to_offset ? to_offset : &copy.to_offset) = copy.to_offset;
    }
    return done;
}

PUBLIC ssize_t sendfile(int to, int from, off_t *from_offset, size_t length) {
    struct copy copy = {from, to, from_offset ? *from_offset : -1, -1, 0, 1};
    ssize_t done = copy_below(&copy, length);
    if (done > 0 && from_offset != NULL) {
        *from_offset = copy.from_offset;
    }
    return done;
}

PUBLIC ssize_t sendfile64(int to, int from, off64_t *from_offset, size_t length) {
    return sendfile(to, from, from_offset, length);
}

/* Sizes, and making durable */

static int change(enum kind kind, int fd, long (*way)(int, off64_t, off64_t), off64_t offset, off64_t length) {
    const char *path = path_of(fd);
    if (path == NULL) {
        return (int)way(fd, offset, length);
    }
    uint64_t number;
    if (begin(kind, path, &number) == FAIL) {
        finish(kind, number, errno, fd, path, NULL, 0, 0, NULL);
        return -1;
    }
    int result = (int)way(fd, offset, length);
    finish(kind, number, result < 0 ? errno : 0, fd, path, NULL, (uint64_t)offset, (uint64_t)(offset + length), NULL);
    return result;
}

static long raw_truncate(int fd, off64_t offset, off64_t length) {
    return syscall(SYS_ftruncate, fd, offset + length);
}

static long raw_allocate(int fd, off64_t offset, off64_t length) {
    return syscall(SYS_fallocate, fd, 0, offset, length);
}

static long raw_fsync(int fd, off64_t offset, off64_t length) {
    (void)offset, (void)length;
    return syscall(SYS_fsync, fd);
}

static long raw_syncfs(int fd, off64_t offset, off64_t length) {
    (void)offset, (void)length;
    return syscall(SYS_syncfs, fd);
}

PUBLIC int ftruncate(int fd, off_t length) {
    return change(KIND_TRUNCATE, fd, raw_truncate, 0, length);
}

PUBLIC int ftruncate64(int fd, off64_t length) {
    return change(KIND_TRUNCATE, fd, raw_truncate, 0, length);
}

static int allocate(int fd, off64_t offset, off64_t length) {
    int before = errno;
    int error = change(KIND_ALLOCATE, fd, raw_allocate, offset, length) < 0 ? errno : 0;
    errno = before; /* it gives the error back, and does not set errno */
    return error;
}

PUBLIC int posix_fallocate(int fd, off_t offset, off_t length) {
    return allocate(fd, offset, length);
}

PUBLIC int posix_fallocate64(int fd, off64_t offset, off64_t length) {
    return allocate(fd, offset, length);
}

PUBLIC int fallocate(int fd, int mode, off_t offset, off_t length) {
    if (path_of(fd) == NULL) {
        return (int)syscall(SYS_fallocate, fd, mode, offset, length);
    }
    return change(mode == 0 ? KIND_ALLOCATE : KIND_UNMODELLED, fd, raw_allocate, offset, length);
}

PUBLIC int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
    return fallocate(fd, mode, offset, length);
}

PUBLIC int fsync(int fd) {
    return change(KIND_SYNC, fd, raw_fsync, 0, 0);
}

PUBLIC int fdatasync(int fd) {
    return change(KIND_SYNC, fd, raw_fsync, 0, 0);
}

PUBLIC int syncfs(int fd) {
    return change(KIND_SYNC_ALL, fd, raw_syncfs, 0, 0);
}
