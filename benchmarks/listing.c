/* The limit of a listing: getdents64 in a bare loop, names packed into one growing array, nothing else.
 *
 *     listing FOLDER MODE SHARES       MODE: plain | sorted | stat (sorted, with statx of every file)
 *
 * "sorted" orders the entries of each folder by name.  Each of SHARES processes takes its share of the folders that lie
 * in FOLDER itself.  Prints the number of files, the bytes of all paths, a checksum of what was listed, the peak memory
 * of the processes in bytes and the seconds that it took.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct entry { uint64_t inode; int64_t offset; unsigned short length; unsigned char type; char name[]; };
struct bytes { char *data; size_t size, room; };

static void fail(const char *what) { perror(what); exit(1); }

static char *add(struct bytes *to, const char *data, size_t size) {
    if (to->size + size > to->room) {
        to->room = 2 * (to->size + size) + 4096;
        to->data = realloc(to->data, to->room);
        if (!to->data) fail("realloc");
    }
    memcpy(to->data + to->size, data, size);
    to->size += size;
    return to->data + to->size - size;
}

static const char *base;
static int share_count, share_number;
static int by_name(const void *a, const void *b) {
    return strcmp(base + *(const uint32_t *)a + 1, base + *(const uint32_t *)b + 1);
}

static uint64_t list(const char *root, int sorted, int with_stat, uint64_t *count, uint64_t *path_bytes) {
    static char buffer[1 << 18];
    struct bytes folders = {0}, found = {0}, places = {0}, packed = {0};
    uint64_t sum = 0;
    *count = *path_bytes = 0;
    add(&folders, root, strlen(root) + 1);
    while (folders.size) {
        size_t start = folders.size - 1;
        while (start && folders.data[start - 1]) start--;
        char folder[4096];
        size_t folder_length = strlen(folders.data + start);
        memcpy(folder, folders.data + start, folder_length + 1);
        folders.size = start;
        int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) fail(folder);
        found.size = places.size = 0;
        long got;
        while ((got = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0)
            for (long at = 0; at < got;) {
                struct entry *one = (struct entry *)(buffer + at);
                at += one->length;
                if (one->name[0] == '.' && (!one->name[1] || (one->name[1] == '.' && !one->name[2]))) continue;
                uint32_t place = (uint32_t)found.size;
                add(&places, (char *)&place, sizeof place);
                add(&found, (char *)&one->type, 1);
                add(&found, one->name, strlen(one->name) + 1);
            }
        if (got < 0) fail("getdents64");
        size_t entries = places.size / sizeof(uint32_t);
        uint32_t *order = (uint32_t *)places.data;
        base = found.data;
        if (sorted) qsort(order, entries, sizeof *order, by_name);
        for (size_t k = 0; k < entries; k++) {
            const char *name = found.data + order[k] + 1;
            size_t length = strlen(name) + 1;
            if (name[-1] == DT_REG) {
                add(&packed, name, length);
                sum = sum * 31 + (unsigned char)name[length - 2];
                if (with_stat) {
                    struct statx info;
                    if (statx(fd, name, AT_SYMLINK_NOFOLLOW, STATX_SIZE | STATX_MTIME, &info)) fail(name);
                    int64_t pair[2] = {(int64_t)info.stx_size,
                                       info.stx_mtime.tv_sec * 1000000000LL + info.stx_mtime.tv_nsec};
                    add(&packed, (char *)pair, sizeof pair);
                }
                ++*count;
                *path_bytes += folder_length + 1 + length - 1;
            }
        }
        for (size_t k = entries; k-- > 0;) {
            const char *name = found.data + order[k] + 1;
            if (name[-1] == DT_DIR && (strcmp(folder, root) || (int)(k % share_count) == share_number)) {
                add(&folders, folder, folder_length);
                add(&folders, "/", 1);
                add(&folders, name, strlen(name) + 1);
            }
        }
        close(fd);
    }
    free(folders.data); free(found.data); free(places.data); free(packed.data);
    return sum;
}

struct share { uint64_t count, path_bytes, sum, peak_bytes; };

static uint64_t peak_bytes(void) {
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    unsigned long kib = 0;
    while (file && fgets(line, sizeof line, file)) sscanf(line, "VmHWM: %lu", &kib);
    if (file) fclose(file);
    return kib * 1024;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    int with_stat = !strcmp(argv[2], "stat"), sorted = with_stat || !strcmp(argv[2], "sorted");
    share_count = atoi(argv[3]);
    struct share *shares =
        mmap(NULL, share_count * sizeof *shares, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shares == MAP_FAILED) fail("mmap");
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (share_number = 0; share_number < share_count; share_number++)
        if (share_number == share_count - 1 || fork() == 0) {
            struct share *mine = shares + share_number;
            mine->sum = list(argv[1], sorted, with_stat, &mine->count, &mine->path_bytes);
            mine->peak_bytes = peak_bytes();
            if (share_number < share_count - 1) _exit(0);
        }
    while (wait(NULL) > 0) {}
    clock_gettime(CLOCK_MONOTONIC, &end);
    struct share all = {0};
    for (int k = 0; k < share_count; k++) {
        all.count += shares[k].count;
        all.path_bytes += shares[k].path_bytes;
        all.sum += shares[k].sum;
        all.peak_bytes += shares[k].peak_bytes;
    }
    double seconds = (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec);
    printf("%lu %lu %lu %lu %.9f\n", (unsigned long)all.count, (unsigned long)all.path_bytes, (unsigned long)all.sum,
           (unsigned long)all.peak_bytes, seconds);
    return 0;
}
