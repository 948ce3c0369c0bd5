/* The operations on names, reads, mappings, and the inode numbers that the program is told. */
#define _GNU_SOURCE
#include "state.h"

#include <stdio.h>
#include <sys/mman.h>

/* Two names of one operation; the second may be missing. */
struct names {
    int fd, fd2;
    const char *name, *name2;
    unsigned flags;
    mode_t mode;
};

static int rename_way(const struct names *names) {
    return (int)syscall(SYS_renameat2, names->fd, names->name, names->fd2, names->name2, names->flags);
}

static int link_way(const struct names *names) {
    return (int)syscall(SYS_linkat, names->fd, names->name, names->fd2, names->name2, names->flags);
}

static int unlink_way(const struct names *names) {
    return (int)syscall(SYS_unlinkat, names->fd, names->name, names->flags);
}

static int mkdir_way(const struct names *names) {
    return (int)syscall(SYS_mkdirat, names->fd, names->name, names->mode);
}

static int symlink_way(const struct names *names) {
    return (int)syscall(SYS_symlinkat, names->name2, names->fd, names->name);
}

static int truncate_way(const struct names *names) {
    return (int)syscall(SYS_truncate, names->name, (long)names->mode);
}

static int on_names(enum kind kind, int (*way)(const struct names *), struct names names) {
    char path[PATH_SIZE], path2[PATH_SIZE] = "";
    int is_below = resolve(names.fd, names.name, path);
    if (names.name2 != NULL && kind != KIND_UNMODELLED) {
        is_below |= resolve(names.fd2, names.name2, path2);
    }
    if (!is_below || !is_active()) {
        return way(&names);
    }
    uint64_t number;
    if (begin(kind, path, &number) == FAIL) {
        finish(kind, number, errno, -1, path, path2, 0, 0, NULL);
        return -1;
    }
    int result = way(&names);
    const char *stands = kind == KIND_RENAME || kind == KIND_LINK ? path2 : path;
    struct entry seen = {0};
    stat_into(&seen, -1, stands);
    finish(kind, number, result < 0 ? errno : 0, -1, path, path2, names.mode, seen.inode, NULL);
    return result;
}

PUBLIC int rename(const char *from, const char *to) {
    return on_names(KIND_RENAME, rename_way, (struct names){AT_FDCWD, AT_FDCWD, from, to, 0, 0});
}

PUBLIC int renameat(int fd, const char *from, int fd2, const char *to) {
    return on_names(KIND_RENAME, rename_way, (struct names){fd, fd2, from, to, 0, 0});
}

PUBLIC int renameat2(int fd, const char *from, int fd2, const char *to, unsigned flags) {
    enum kind kind = flags == 2 ? KIND_EXCHANGE : flags <= 1 ? KIND_RENAME : KIND_UNMODELLED;
    return on_names(kind, rename_way, (struct names){fd, fd2, from, to, flags, 0});
}

PUBLIC int link(const char *from, const char *to) {
    return on_names(KIND_LINK, link_way, (struct names){AT_FDCWD, AT_FDCWD, from, to, 0, 0});
}

PUBLIC int linkat(int fd, const char *from, int fd2, const char *to, int flags) {
    return on_names(KIND_LINK, link_way, (struct names){fd, fd2, from, to, (unsigned)flags, 0});
}

PUBLIC int unlink(const char *path) {
    return on_names(KIND_UNLINK, unlink_way, (struct names){AT_FDCWD, 0, path, NULL, 0, 0});
}

PUBLIC int unlinkat(int fd, const char *path, int flags) {
    return on_names(flags & AT_REMOVEDIR ? KIND_RMDIR : KIND_UNLINK, unlink_way,
                    (struct names){fd, 0, path, NULL, (unsigned)flags, 0});
}

PUBLIC int rmdir(const char *path) {
    return on_names(KIND_RMDIR, unlink_way, (struct names){AT_FDCWD, 0, path, NULL, AT_REMOVEDIR, 0});
}

PUBLIC int mkdir(const char *path, mode_t mode) {
    return on_names(KIND_MKDIR, mkdir_way, (struct names){AT_FDCWD, 0, path, NULL, 0, mode});
}

PUBLIC int mkdirat(int fd, const char *path, mode_t mode) {
    return on_names(KIND_MKDIR, mkdir_way, (struct names){fd, 0, path, NULL, 0, mode});
}

PUBLIC int symlink(const char *target, const char *path) {
    return on_names(KIND_UNMODELLED, symlink_way, (struct names){AT_FDCWD, 0, path, target, 0, 0});
}

PUBLIC int symlinkat(const char *target, int fd, const char *path) {
    return on_names(KIND_UNMODELLED, symlink_way, (struct names){fd, 0, path, target, 0, 0});
}

PUBLIC int truncate(const char *path, off_t length) {
    return on_names(KIND_UNMODELLED, truncate_way, (struct names){AT_FDCWD, 0, path, NULL, 0, (mode_t)length});
}

PUBLIC int truncate64(const char *path, off64_t length) {
    return truncate(path, length);
}

/* Reading */

static ssize_t read_at(int fd, void *data, size_t length, off64_t offset) {
    const char *path = path_of(fd);
    uint64_t number;
    if (path != NULL && begin(KIND_READ, path, &number) == FAIL) {
        return -1;
    }
    return offset < 0 ? syscall(SYS_read, fd, data, length) : syscall(SYS_pread64, fd, data, length, offset);
}

PUBLIC ssize_t read(int fd, void *data, size_t length) {
    return read_at(fd, data, length, -1);
}

PUBLIC ssize_t pread(int fd, void *data, size_t length, off_t offset) {
    return read_at(fd, data, length, offset);
}

PUBLIC ssize_t pread64(int fd, void *data, size_t length, off64_t offset) {
    return read_at(fd, data, length, offset);
}

/* A mapping that is written to goes round every log: the replay must know that there is one. */
static void *map(void *address, size_t length, int protection, int flags, int fd, off64_t offset) {
    const char *path = path_of(fd);
    if (path != NULL && (flags & MAP_SHARED) && (protection & PROT_WRITE) && control->log_fd >= 0) {
        finish(KIND_MAP, control->op_count, 0, fd, path, NULL, (uint64_t)offset, length, NULL);
    }
    return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}

PUBLIC void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    return map(address, length, protection, flags, fd, offset);
}

PUBLIC void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t offset) {
    return map(address, length, protection, flags, fd, offset);
}

/* Inode numbers */

static int shown(int result, struct stat *status) {
    if (result == 0 && control != NULL) {
        for (uint32_t index = 0; index < control->inode_count; index++) {
            if (control->inode_real[index] == status->st_ino) {
                status->st_ino = control->inode_shown[index];
                break;
            }
        }
    }
    return result;
}

#define STAT(name, type, parameters, arguments)                            \
    PUBLIC int name parameters {                                           \
        static int(*real) parameters;                                      \
        if (real == NULL) {                                                \
            real = (int(*) parameters)real_function(#name);                \
        }                                                                  \
        return shown(real arguments, (struct stat *)status);               \
    }
STAT(stat, stat, (const char *path, struct stat *status), (path, status))
STAT(stat64, stat64, (const char *path, struct stat64 *status), (path, status))
STAT(lstat, stat, (const char *path, struct stat *status), (path, status))
STAT(lstat64, stat64, (const char *path, struct stat64 *status), (path, status))
STAT(fstat, stat, (int fd, struct stat *status), (fd, status))
STAT(fstat64, stat64, (int fd, struct stat64 *status), (fd, status))
STAT(fstatat, stat, (int fd, const char *path, struct stat *status, int flags), (fd, path, status, flags))
STAT(fstatat64, stat64, (int fd, const char *path, struct stat64 *status, int flags), (fd, path, status, flags))
