/* What the wrappers share: the control block, the table of descriptors, and the two halves of an operation. */
#ifndef CRASH_STATE_H
#define CRASH_STATE_H

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shim.h"

#define REAL(name) ((__typeof__(&name))real_function(#name))
#define PUBLIC __attribute__((visibility("default")))

enum verdict { GO, PARTLY, FAIL };

extern struct control *control;
extern char *fd_path[FD_MAX]; /* of descriptors that are open below the root */

void *real_function(const char *name);
int is_active(void);

/* The path of `name` below the descriptor `folder_fd`, in `out`; whether it lies below the root. */
int resolve(int folder_fd, const char *name, char out[PATH_SIZE]);

/* The path of a descriptor that is open below the root, NULL for others and in processes that are not watched. */
const char *path_of(int fd);
void track(int fd, const char *path);

_Noreturn void die(void);

/* An operation is about to begin: its number, and what shall become of it (errno is set for FAIL). */
enum verdict begin(enum kind kind, const char *path, uint64_t *number);

void stat_into(struct entry *entry, int fd, const char *path);

/* An operation has ended: log it, die after it.  Leaves errno alone. */
void finish(enum kind kind, uint64_t number, int error, int fd, const char *path, const char *path2, uint64_t offset,
            uint64_t length, const void *data);

#endif
