/* Walk one pattern's root folder and append every file that matches to a listing, in byte order of the paths.
 *
 * Every folder is opened relative to the one above it, so no path is ever too long for the kernel; the number of
 * open folders is bounded, the others are opened again (as "..", or down from the root) and recognised by device
 * and inode.  A folder that cannot be read to its end is an error: a listing is complete or it is not made.
 *
 * Links are followed as long as they stay inside the root folder.  Nothing but folders is ever opened, except by
 * O_PATH: no FIFO is waited for, no device touched.
 *
 * bf_walk_step does a bounded piece of work without the GIL and returns: 1 more to do, 0 done, -1 failed (`error`).
 */
#ifndef BF_WALK_H
#define BF_WALK_H

#include "place.h"

#include <dirent.h>
#include <sys/syscall.h>

#define BF_WALK_BUFFER_SIZE ((size_t)1 << 18)
#define BF_WALK_RUN_MAX 65536 /* files put into the listing between two looks for a signal */

/* --- reading one folder ----------------------------------------------------------------------------------- */

static int bf_path_compare(const void *a, const void *b)
{
    const bf_path *left = a, *right = b;
    size_t shorter = left->length < right->length ? left->length : right->length;
    int order = memcmp(left->bytes, right->bytes, shorter);
    return order ? order : (left->length > right->length) - (left->length < right->length);
}

/* Whether an earlier pattern has put this file into the listing. */
static bool bf_walk_is_taken(bf_walk *walk, const uint8_t *name, size_t length)
{
    const uint64_t *masks = walk->masks + (walk->depth - 1) * (size_t)walk->glob_count;
    for (int i = 1; i < walk->glob_count; i++)
        if (masks[i] && bf_glob_step(&walk->globs[i], masks[i], name, length).accept)
            return true;
    if (!walk->taken_count)
        return false;
    size_t folder = walk->frames[walk->depth - 1].path_length;
    if (bf_walk_put_path(walk, folder, name, length))
        return false;
    bf_path path = {walk->path, folder + length};
    return bsearch(&path, walk->taken, walk->taken_count, sizeof path, bf_path_compare) != NULL;
}

static int bf_walk_take(bf_walk *walk, const uint8_t *name, size_t length, bf_entry_kind kind)
{
    bool folder = kind == BF_ENTRY_FOLDER || kind == BF_ENTRY_FOLDER_LINK;
    walk->matched += !folder;
    if (!folder && bf_walk_is_taken(walk, name, length))
        return 0;
    int error = bf_entry_push(&walk->stack, walk->frames[walk->depth - 1].text_first, name, length, kind);
    return error ? bf_walk_fail(walk, error, "cannot hold the names", "", 0) : 0;
}

/* One name of the folder: take it, count it, or pass over it. */
static int bf_walk_entry(bf_walk *walk, int folder, const char *name, int type)
{
    size_t length = strlen(name);
    const uint8_t *bytes = (const uint8_t *)name;
    uint64_t mask = walk->masks[(walk->depth - 1) * (size_t)walk->glob_count];
    bf_glob_step_result step = bf_glob_step(walk->globs, mask, bytes, length);
    if (!step.accept && !step.next && !step.hidden && !step.hidden_folder)
        return 0;
    if (type == DT_UNKNOWN) {
        struct stat status;
        if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW))
            return errno == ENOENT ? 0 : bf_walk_fail(walk, errno, "cannot look at the file", name, length);
        type = IFTODT(status.st_mode);
    }
    if (!step.accept && !step.next) {
        walk->skipped_hidden += type == DT_DIR ? step.hidden_folder : step.hidden;
        return 0;
    }
    bool link = type == DT_LNK, within = true;
    if (link) {
        int mode = bf_walk_follow(walk, folder, name, length, &within);
        if (mode < 0)
            return -1;
        /* One that leads nowhere stays an item: opening it fails, by name, when its turn comes. */
        type = mode ? IFTODT(mode) : DT_REG;
    }
    if (type == DT_DIR ? !step.next : !step.accept)
        return 0;
    if (!within) {
        bf_walk_remember(walk, &walk->refused, walk->refused_paths, bytes, length);
        return 0;
    }
    if (type == DT_DIR)
        return bf_walk_take(walk, bytes, length, link ? BF_ENTRY_FOLDER_LINK : BF_ENTRY_FOLDER);
    if (type == DT_REG)
        return bf_walk_take(walk, bytes, length, link ? BF_ENTRY_FILE_LINK : BF_ENTRY_FILE);
    bf_walk_remember(walk, &walk->skipped_special, walk->special_paths, bytes, length);
    return 0;
}

typedef struct {
    uint64_t inode;
    int64_t next;
    unsigned short size;
    unsigned char type;
    char name[];
} bf_dirent;

/* One buffer of names; after the last one the folder is put in order. */
static int bf_walk_read(bf_walk *walk)
{
    size_t index = walk->depth - 1;
    int fd = walk->frames[index].fd;
    long size;
    do
        size = syscall(SYS_getdents64, fd, walk->buffer, BF_WALK_BUFFER_SIZE);
    while (size < 0 && errno == EINTR);
    if (size < 0)
        return bf_walk_fail(walk, errno, "cannot read the folder", "", 0);
    for (long at = 0; at < size;) {
        const bf_dirent *entry = (const bf_dirent *)(walk->buffer + at);
        const char *name = entry->name;
        at += entry->size;
        if (name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0)))
            continue;
        if (bf_walk_entry(walk, fd, name, entry->type))
            return -1;
    }
    if (size == 0) {
        bf_frame *frame = &walk->frames[index];
        frame->is_read = true;
        if (bf_entry_sort(&walk->stack, frame->entry_first, frame->text_first))
            return bf_walk_fail(walk, ENOMEM, "cannot sort the names", "", 0);
    }
    return 0;
}

/* --- moving through the tree ------------------------------------------------------------------------------ */

static int bf_walk_push(bf_walk *walk, int fd, const uint64_t *masks)
{
    struct stat status;
    if (fstat(fd, &status)) {
        int error = errno;
        close(fd);
        return bf_walk_fail(walk, error, "cannot look at the folder", "", 0);
    }
    if (bf_grow((void **)&walk->frames, &walk->frame_capacity, walk->depth + 1, sizeof(bf_frame))
        || bf_grow((void **)&walk->masks, &walk->mask_capacity, (walk->depth + 1) * (size_t)walk->glob_count,
                   sizeof(uint64_t))) {
        close(fd);
        return bf_walk_fail(walk, ENOMEM, "cannot go deeper", "", 0);
    }
    memcpy(walk->masks + walk->depth * (size_t)walk->glob_count, masks, (size_t)walk->glob_count * sizeof *masks);
    bf_frame frame = {
        .fd = fd, .device = status.st_dev, .inode = status.st_ino, .entry_first = walk->stack.entry_count,
        .entry_next = walk->stack.entry_count, .text_first = walk->stack.text_size, .folder_offset = UINT64_MAX,
    };
    walk->frames[walk->depth++] = frame;
    return 0;
}

/* Go into the folder that the entry names. */
static int bf_walk_enter(bf_walk *walk, bf_entry entry)
{
    bf_frame *parent = &walk->frames[walk->depth - 1];
    size_t path_length = parent->path_length, length = entry.length;
    bool link = entry.kind == BF_ENTRY_FOLDER_LINK;
    if (bf_walk_put_path(walk, path_length, walk->stack.text + parent->text_first + entry.offset, length))
        return bf_walk_fail(walk, ENOMEM, "cannot go deeper", "", 0);
    char *name = walk->path + path_length;
    name[length - 1] = 0;
    int fd = bf_walk_openat(walk, parent->fd, name, O_RDONLY | O_DIRECTORY | (link ? 0 : O_NOFOLLOW));
    if (fd < 0 && errno == ENOENT)
        return 0; /* gone since it was read, with all that was in it */
    if (fd < 0)
        return bf_walk_fail(walk, errno, "cannot open the folder", name, length - 1);
    if (link && !bf_walk_is_within(walk, fd)) {
        close(fd);
        bf_walk_remember(walk, &walk->refused, walk->refused_paths, (uint8_t *)name, length - 1);
        return 0;
    }
    uint64_t masks[walk->glob_count];
    for (int i = 0; i < walk->glob_count; i++) {
        uint64_t mask = walk->masks[(walk->depth - 1) * (size_t)walk->glob_count + (size_t)i];
        masks[i] = bf_glob_step(&walk->globs[i], mask, (uint8_t *)name, length - 1).next;
    }
    name[length - 1] = '/';
    if (bf_walk_push(walk, fd, masks))
        return -1;
    bf_frame *frame = &walk->frames[walk->depth - 1];
    frame->path_length = path_length + length;
    for (size_t i = 0; i + 1 < walk->depth; i++)
        if (walk->frames[i].device == frame->device && walk->frames[i].inode == frame->inode)
            return bf_walk_fail(walk, ELOOP, "a link leads back to a folder above it", "", 0);
    if (walk->depth - walk->lowest_open > BF_WALK_OPEN_MAX)
        bf_walk_give_up_one(walk);
    return 0;
}

/* Append the files that stand side by side at the front of what is left of the folder. */
static int bf_walk_emit(bf_walk *walk)
{
    bf_frame *frame = &walk->frames[walk->depth - 1];
    const uint8_t *text = walk->stack.text + frame->text_first;
    const bf_entry *first = walk->stack.entries + frame->entry_next;
    size_t left = walk->stack.entry_count - frame->entry_next, count = 0;
    uint64_t first_item = walk->listing->item_count;
    for (; count < left && count < BF_WALK_RUN_MAX && first[count].kind <= BF_ENTRY_FILE_LINK; count++) {
        int error = bf_listing_put(walk->listing, walk->path, frame->path_length, &frame->folder_offset,
                                   text + first[count].offset, first[count].length);
        if (error)
            return bf_walk_fail(walk, error, "cannot hold the listing", "", 0);
    }
    frame->entry_next += count;
    if (!walk->listing->has_stat)
        return 0;
    bf_stat_run run = {frame->fd, walk->listing, bf_listing_find_segment(walk->listing, first_item), first_item, first, count};
    uint64_t failed;
    int error = bf_stat_run_all(walk->stat_pool, &run, &failed);
    if (error)
        return bf_walk_fail(walk, error, "cannot look at the file", text + first[failed].offset, first[failed].length);
    return 0;
}

static int bf_walk_step(bf_walk *walk, size_t budget)
{
    for (size_t done = 0; walk->depth; done++) {
        if (done >= budget)
            return 1;
        bf_frame *frame = &walk->frames[walk->depth - 1];
        int failed;
        if (!frame->is_read)
            failed = bf_walk_read(walk);
        else if (frame->entry_next == walk->stack.entry_count)
            failed = bf_walk_pop(walk);
        else if (walk->stack.entries[frame->entry_next].kind <= BF_ENTRY_FILE_LINK)
            failed = bf_walk_emit(walk);
        else
            failed = bf_walk_enter(walk, walk->stack.entries[frame->entry_next++]);
        if (failed)
            return -1;
    }
    return 0;
}

/* Stand at the root, an absolute path with "/" at its end.  1: it is there, 0: it is not, -1: failed. */
static int bf_walk_begin(bf_walk *walk, const char *root, size_t length, const uint64_t *masks)
{
    walk->lowest_open = 1;
    walk->buffer = malloc(BF_WALK_BUFFER_SIZE);
    if (!walk->buffer || bf_walk_put_path(walk, 0, root, length))
        return bf_walk_fail(walk, ENOMEM, "cannot start", root, length);
    int fd = bf_open_folder(root, length, O_RDONLY);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    if (fd < 0)
        return bf_walk_fail(walk, errno, "cannot open the folder", root, length);
    walk->root_real = bf_real_path(fd, &walk->root_real_length);
    if (bf_walk_push(walk, fd, masks))
        return -1;
    walk->frames[0].path_length = length;
    return 1;
}

#endif
