/* The shim's state and the decisions about one operation: counted? killed? failed? logged? */
#define _GNU_SOURCE
#include "state.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

struct control *control;
char *fd_path[FD_MAX];
static uint64_t fd_inode[FD_MAX];

void *real_function(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL) {
        abort();
    }
    return found;
}

__attribute__((constructor)) static void attach(void) {
    const char *path = getenv("CRASH_SHIM_CONTROL");
    if (path == NULL) {
        return;
    }
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) {
        return;
    }
    void *mapped = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (mapped == MAP_FAILED || ((struct control *)mapped)->magic != CONTROL_MAGIC) {
        return;
    }
    control = mapped;
    control->size = sizeof(struct control);
}

int is_active(void) {
    return control != NULL && control->active_pid != 0 && control->active_pid == (int32_t)syscall(SYS_getpid);
}

int resolve(int folder_fd, const char *name, char out[PATH_SIZE]) {
    if (control == NULL || control->root_length == 0 || name == NULL) {
        return 0;
    }
    char folder[PATH_SIZE] = "";
    if (name[0] != '/') {
        if (folder_fd >= 0 && folder_fd < FD_MAX && fd_path[folder_fd] != NULL) {
            snprintf(folder, sizeof folder, "%s/", fd_path[folder_fd]);
        } else {
            char link[64];
            snprintf(link, sizeof link, folder_fd == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", folder_fd);
            ssize_t length = readlink(link, folder, sizeof folder - 2);
            if (length < 0) {
                return 0;
            }
            folder[length] = '/';
            folder[length + 1] = '\0';
        }
    }
    if (snprintf(out, PATH_SIZE, "%s%s", folder, name) >= PATH_SIZE) {
        return 0;
    }
    size_t length = strlen(out);
    while (length > 1 && out[length - 1] == '/') {
        out[--length] = '\0';
    }
    if (strncmp(out, control->root, control->root_length) != 0) {
        return 0;
    }
    char next = out[control->root_length];
    return next == '\0' || next == '/';
}

static uint64_t inode_of(int fd) {
    struct stat status;
    return syscall(SYS_newfstatat, fd, "", &status, AT_EMPTY_PATH) == 0 ? status.st_ino : 0;
}

const char *path_of(int fd) {
    if (fd < 0 || fd >= FD_MAX || fd_path[fd] == NULL || !is_active()) {
        return NULL;
    }
    int before = errno;
    if (inode_of(fd) != fd_inode[fd]) { /* libc closed it within itself, and the number was given out again */
        track(fd, NULL);
    }
    errno = before;
    return fd_path[fd];
}

void track(int fd, const char *path) {
    if (fd >= 0 && fd < FD_MAX && (path != NULL || fd_path[fd] != NULL)) {
        free(fd_path[fd]);
        fd_path[fd] = path == NULL ? NULL : strdup(path);
        fd_inode[fd] = path == NULL ? 0 : inode_of(fd);
    }
}

void die(void) {
    for (;;) {
        syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    }
}

static void hit(enum kind kind, const char *path) {
    if (control->hit_kind == 0) {
        control->hit_kind = kind;
        snprintf(control->hit_path, PATH_SIZE, "%s", path);
    }
}

enum verdict begin(enum kind kind, const char *path, uint64_t *number) {
    if (kind == KIND_READ) {
        *number = ++control->read_count;
        if (*number != control->fail_read_at) {
            return GO;
        }
        hit(kind, path);
        control->fault_count++;
        errno = (int)control->fail_errno;
        return FAIL;
    }
    *number = ++control->op_count;
    if (*number == control->kill_at) {
        hit(kind, path);
        if (control->kill_mode == KILL_BEFORE || (control->kill_mode == KILL_MID && kind != KIND_WRITE)) {
            die();
        }
        if (control->kill_mode == KILL_MID) {
            return PARTLY;
        }
    }
    if (control->fail_at == 0 || *number < control->fail_at) {
        return GO;
    }
    int is_first = *number == control->fail_at;
    if (!is_first && !(control->fail_for_ever && (control->fail_kinds >> kind & 1))) {
        return GO;
    }
    int is_short = control->fail_errno == 0 || (is_first && control->fail_short);
    if (is_short && kind != KIND_WRITE) {
        return GO;
    }
    hit(kind, path);
    control->fault_count++;
    errno = (int)control->fail_errno;
    return is_short ? PARTLY : FAIL;
}

static void append_log(struct entry *entry, const char *path, const char *path2, const void *data) {
    entry->path_length = (uint32_t)strlen(path);
    entry->path2_length = path2 == NULL ? 0 : (uint32_t)strlen(path2);
    struct iovec parts[4] = {{entry, sizeof *entry},
                             {(void *)path, entry->path_length},
                             {(void *)path2, entry->path2_length},
                             {(void *)data, data == NULL ? 0 : entry->length}};
    size_t left = parts[0].iov_len + parts[1].iov_len + parts[2].iov_len + parts[3].iov_len;
    int first = 0;
    while (left > 0) {
        ssize_t done = syscall(SYS_writev, control->log_fd, parts + first, 4 - first);
        if (done < 0) {
            abort();
        }
        left -= (size_t)done;
        while (first < 4 && (size_t)done >= parts[first].iov_len) {
            done -= (ssize_t)parts[first++].iov_len;
        }
        if (first < 4) {
            parts[first].iov_base = (char *)parts[first].iov_base + done;
            parts[first].iov_len -= (size_t)done;
        }
    }
}

void stat_into(struct entry *entry, int fd, const char *path) {
    struct stat status;
    long failed = fd >= 0 ? syscall(SYS_newfstatat, fd, "", &status, AT_EMPTY_PATH)
                          : syscall(SYS_newfstatat, AT_FDCWD, path, &status, AT_SYMLINK_NOFOLLOW);
    if (failed == 0) {
        entry->inode = status.st_ino;
        entry->mtime_ns = (int64_t)status.st_mtim.tv_sec * 1000000000 + status.st_mtim.tv_nsec;
    }
}

void finish(enum kind kind, uint64_t number, int error, int fd, const char *path, const char *path2,
                   uint64_t offset, uint64_t length, const void *data) {
    int before = errno;
    if (control->log_fd >= 0 && kind != KIND_READ) {
        struct entry entry = {.kind = kind, .error = error, .number = number, .offset = offset, .length = length};
        stat_into(&entry, fd, path);
        append_log(&entry, path, path2, error == 0 ? data : NULL);
    }
    int is_torn = control->kill_mode == KILL_MID && kind == KIND_WRITE;
    if (kind < KIND_READ && number == control->kill_at && (control->kill_mode == KILL_AFTER || is_torn)) {
        die();
    }
    errno = before;
}
