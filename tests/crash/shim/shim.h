/* What the shim and the harness share, and what the shim knows: the control block, the log, the table of descriptors.
 *
 * The control block is a file that the harness maps and the shim maps too (its path is in CRASH_SHIM_CONTROL).  Only
 * the process named by `active_pid` is counted, killed, failed and logged, and only below `root`.
 *
 * Not for threads: of the files below the root only one thread of the program under test may work at a time.
 */
#ifndef CRASH_SHIM_H
#define CRASH_SHIM_H

#include <stdint.h>

#define CONTROL_MAGIC 0x6d696873u
#define PATH_SIZE 1024
#define INODE_MAX 512
#define FD_MAX 65536

/* Operations.  Those up to KIND_CLOSE have numbers of their own (`op_count`); reads are counted apart. */
enum kind {
    KIND_OPEN = 1, /* of what exists; changes nothing */
    KIND_CREATE,
    KIND_WRITE, /* write, pwrite, writev, pwritev, copy_file_range, sendfile */
    KIND_TRUNCATE,
    KIND_ALLOCATE,
    KIND_SYNC,
    KIND_SYNC_ALL,
    KIND_RENAME,
    KIND_EXCHANGE,
    KIND_LINK,
    KIND_UNLINK,
    KIND_MKDIR,
    KIND_RMDIR,
    KIND_CLOSE,
    KIND_READ,
    KIND_MAP,       /* a shared writable mapping: its bytes are in no log */
    KIND_UNMODELLED /* something that the replay of the log would not understand */
};

enum kill_mode { KILL_NEVER = 0, KILL_BEFORE, KILL_AFTER, KILL_MID };

struct control {
    uint32_t magic;
    uint32_t size; /* of this structure, so that both sides agree */
    int32_t active_pid;
    int32_t log_fd; /* -1: no log */
    uint32_t root_length;
    uint32_t kill_mode;
    uint64_t op_count;
    uint64_t read_count;
    uint64_t kill_at;      /* number of the operation, from 1; 0: none */
    uint32_t kill_permille; /* of the bytes of a write that are written before a kill in its middle */
    uint32_t fail_kinds;   /* bit k: operations of kind k after `fail_at` fail too, if `fail_for_ever` */
    uint64_t fail_at;      /* 0: none */
    uint64_t fail_read_at; /* the same for reads, once */
    uint32_t fail_errno;   /* 0: writes are short */
    uint32_t fail_short;   /* the first one is short, whatever the later ones are */
    uint32_t fail_for_ever;
    uint32_t fault_count; /* how many have failed or fallen short */
    uint32_t hit_kind;    /* of the operation that was killed or failed first */
    uint32_t inode_count;
    char hit_path[PATH_SIZE];
    char root[PATH_SIZE];
    char boot_path[PATH_SIZE]; /* opened in place of the kernel's boot id, if not empty: after a power loss it differs */
    uint64_t inode_real[INODE_MAX]; /* what the file system says, and what the program is told instead: */
    uint64_t inode_shown[INODE_MAX]; /* a file that was put back after a power loss is still the same file */
};

/* One entry of the log: this header, the path, the second path, and for a write that succeeded its bytes. */
struct entry {
    uint32_t kind;
    int32_t error; /* 0: it succeeded */
    uint64_t number;
    uint64_t inode;
    uint64_t offset; /* of a write; the mode of what is created */
    uint64_t length; /* of a write; the size after a truncation or allocation */
    int64_t mtime_ns; /* of the file afterwards */
    uint32_t path_length;
    uint32_t path2_length;
};

#endif
