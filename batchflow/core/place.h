/* Where a walk stands: its stack of folders, their descriptors, the path of the last one, and what went wrong.
 *
 * - frame k's folder is below frame k - 1's; the last frame and the first are open, between them a range that ends
 *   at the last (lowest_open ... depth - 1), the others are given up and known by device and inode
 * - path holds the last frame's path, which begins with every other frame's
 */
#ifndef BF_PLACE_H
#define BF_PLACE_H

#include "column.h"
#include "folder.h"
#include "glob.h"
#include "listing.h"
#include "stat.h"

#include <limits.h>
#include <stdio.h>

#define BF_WALK_OPEN_MAX 32
#define BF_WALK_NAMED_MAX 8 /* how many skipped or refused paths are kept to be named */

typedef struct {
    int fd; /* -1: given up for now; never for the last frame and never for the first */
    bool is_read;
    uint64_t device, inode;
    size_t entry_first, entry_next, text_first;
    size_t path_length; /* of the folder, with its "/" */
    uint64_t folder_offset; /* in the listing; UINT64_MAX: not there yet */
} bf_frame;

typedef struct {
    char *bytes;
    size_t length;
} bf_path;

typedef struct {
    int code; /* errno */
    const char *what;
    bf_path path;
} bf_walk_error;

typedef struct {
    bf_listing *listing;
    bf_stat_pool *stat_pool;
    const bf_glob *globs; /* the pattern, then those before it, whose files are in the listing already */
    int glob_count;
    const bf_path *taken; /* sorted absolute paths that are in the listing already */
    size_t taken_count;
    bf_frame *frames;
    size_t depth, frame_capacity;
    size_t lowest_open; /* frames 1 ... lowest_open - 1 are given up */
    uint64_t *masks; /* glob_count for each frame */
    size_t mask_capacity;
    bf_entry_stack stack;
    char *path; /* of the last frame, then scratch behind it */
    size_t path_capacity;
    char *root_real; /* where links must stay; NULL if the kernel cannot tell */
    size_t root_real_length;
    uint8_t *buffer;
    uint64_t matched, skipped_hidden, skipped_special, refused;
    bf_path special_paths[BF_WALK_NAMED_MAX], refused_paths[BF_WALK_NAMED_MAX];
    bf_walk_error error;
} bf_walk;

/* --- paths and errors ------------------------------------------------------------------------------------- */

static bf_path bf_walk_path(const bf_walk *walk, const void *name, size_t length)
{
    size_t folder = walk->depth ? walk->frames[walk->depth - 1].path_length : 0;
    bf_path path = {malloc(folder + length + 1), folder + length};
    if (!path.bytes) {
        path.length = 0;
        return path;
    }
    memcpy(path.bytes, walk->path, folder);
    memcpy(path.bytes + folder, name, length);
    path.bytes[path.length] = 0;
    return path;
}

static int bf_walk_fail(bf_walk *walk, int code, const char *what, const void *name, size_t length)
{
    if (!walk->error.code) {
        walk->error.code = code;
        walk->error.what = what;
        walk->error.path = bf_walk_path(walk, name, length);
    }
    return -1;
}

static void bf_walk_remember(bf_walk *walk, uint64_t *count, bf_path *paths, const uint8_t *name, size_t length)
{
    if (*count < BF_WALK_NAMED_MAX)
        paths[*count] = bf_walk_path(walk, name, length);
    ++*count;
}

static int bf_walk_put_path(bf_walk *walk, size_t at, const void *bytes, size_t size)
{
    if (bf_grow((void **)&walk->path, &walk->path_capacity, at + size + 1, 1))
        return -1;
    memcpy(walk->path + at, bytes, size);
    return 0;
}

/* --- opening folders -------------------------------------------------------------------------------------- */

/* An absolute folder, also one whose path is longer than the kernel takes at once.  -1 and errno, or a descriptor. */
static int bf_open_folder(const char *path, size_t length, int flags)
{
    int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    char piece[PATH_MAX];
    size_t at = 0;
    while (fd >= 0) {
        while (at < length && path[at] == '/')
            at++;
        size_t end = length;
        if (length - at >= sizeof piece) {
            for (end = at + sizeof piece - 1; end > at && path[end] != '/'; end--)
                ;
            if (end == at) {
                close(fd);
                errno = ENAMETOOLONG;
                return -1;
            }
        }
        memcpy(piece, path + at, end - at);
        piece[end - at] = 0;
        at = end;
        int below = openat(fd, *piece ? piece : ".", (at == length ? flags : O_PATH) | O_DIRECTORY | O_CLOEXEC);
        int error = errno;
        close(fd);
        fd = below;
        errno = error;
        if (at == length)
            break;
    }
    return fd;
}

static bool bf_walk_give_up_one(bf_walk *walk)
{
    if (walk->lowest_open + 1 >= walk->depth)
        return false;
    bf_frame *frame = &walk->frames[walk->lowest_open++];
    close(frame->fd);
    frame->fd = -1;
    return true;
}

static int bf_walk_openat(bf_walk *walk, int folder, const char *name, int flags)
{
    for (;;) {
        int fd = openat(folder, name, flags | O_CLOEXEC);
        if (fd >= 0 || (errno != EINTR && !((errno == EMFILE || errno == ENFILE) && bf_walk_give_up_one(walk))))
            return fd;
    }
}

static bool bf_is_folder(int fd, const bf_frame *frame)
{
    struct stat status;
    return !fstat(fd, &status) && status.st_dev == frame->device && status.st_ino == frame->inode;
}

/* Open frame `index` again from the root down, for a folder that was entered by a link. */
static int bf_walk_descend(bf_walk *walk, size_t index)
{
    int fd = walk->frames[0].fd;
    for (size_t i = 1; i <= index; i++) {
        char *name = walk->path + walk->frames[i - 1].path_length;
        char *slash = walk->path + walk->frames[i].path_length - 1;
        *slash = 0;
        int below = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        *slash = '/';
        if (i > 1)
            close(fd);
        if (below < 0)
            return -1;
        fd = below;
    }
    return fd;
}

static int bf_walk_pop(bf_walk *walk)
{
    bf_frame *frame = &walk->frames[walk->depth - 1];
    if (walk->depth > 2 && frame[-1].fd < 0) {
        int fd = openat(frame->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || !bf_is_folder(fd, frame - 1)) {
            if (fd >= 0)
                close(fd);
            fd = bf_walk_descend(walk, walk->depth - 2);
            if (fd < 0 || !bf_is_folder(fd, frame - 1)) {
                if (fd >= 0)
                    close(fd);
                return bf_walk_fail(walk, ESTALE, "moved while it was listed", "", 0);
            }
        }
        frame[-1].fd = fd;
        walk->lowest_open = walk->depth - 2;
    }
    close(frame->fd);
    walk->stack.entry_count = frame->entry_first;
    walk->stack.text_size = frame->text_first;
    walk->depth--;
    if (walk->lowest_open > walk->depth)
        walk->lowest_open = walk->depth ? walk->depth : 1;
    return 0;
}

/* --- links ------------------------------------------------------------------------------------------------ */

/* The path that the kernel knows an open file by; NULL where it cannot tell. */
static char *bf_real_path(int fd, size_t *length)
{
    char link[64], target[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, target, sizeof target);
    if (size <= 0 || (size_t)size == sizeof target || target[0] != '/')
        return NULL;
    char *path = malloc((size_t)size + 1);
    if (path) {
        memcpy(path, target, (size_t)size);
        path[size] = 0;
        *length = (size_t)size;
    }
    return path;
}

static bool bf_walk_is_within(const bf_walk *walk, int fd)
{
    size_t length, root = walk->root_real_length;
    char *path = walk->root_real ? bf_real_path(fd, &length) : NULL;
    bool within = path && length >= root && !memcmp(path, walk->root_real, root)
        && (root == 1 || path[root] == '/' || path[root] == 0);
    free(path);
    return within;
}

/* What a link leads to: its mode (S_IFMT), 0 if to nothing, -1 after a failure. */
static int bf_walk_follow(bf_walk *walk, int folder, const char *name, size_t length, bool *within)
{
    int fd = bf_walk_openat(walk, folder, name, O_PATH);
    if (fd < 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return 0;
        return bf_walk_fail(walk, errno, errno == ELOOP ? "a link that leads back to itself" : "cannot follow the link",
                            name, length);
    }
    struct stat status;
    int failed = fstat(fd, &status) ? errno : 0;
    *within = !failed && bf_walk_is_within(walk, fd);
    close(fd);
    return failed ? bf_walk_fail(walk, failed, "cannot follow the link", name, length) : (int)(status.st_mode & S_IFMT);
}

/* --- the end ----------------------------------------------------------------------------------------------- */

static void bf_walk_end(bf_walk *walk)
{
    for (size_t i = 0; i < walk->depth; i++)
        if (walk->frames[i].fd >= 0)
            close(walk->frames[i].fd);
    for (int i = 0; i < BF_WALK_NAMED_MAX; i++) {
        free(walk->special_paths[i].bytes);
        free(walk->refused_paths[i].bytes);
    }
    free(walk->error.path.bytes);
    free(walk->frames);
    free(walk->masks);
    free(walk->path);
    free(walk->root_real);
    free(walk->buffer);
    bf_entry_stack_free(&walk->stack);
    memset(walk, 0, sizeof *walk);
}

#endif
