/* The packed listing: which files a dataset has, at 20 bytes and the name for each.
 *
 *   segment[segment_count]   { first_item, names_offset, folder_offset }, uint64 each
 *   offset[item_count]       uint32: where the item's name starts, counted from its segment's names_offset
 *   stat[item_count]         { size, mtime_ns }, int64 each; absent where nobody asked for it; size -1: vanished
 *   names[names_size]        folder and file names, each ending in NUL; a folder is absolute and ends in "/"
 *
 * - a segment is a longest run of consecutive items in one folder (cut where 2^32 bytes of names are reached), so
 *   the segments follow from the items alone; its names lie side by side, in item order
 * - the last byte of names is NUL, so that no name, wherever it is said to start, runs out of the column
 *
 * Readers trust only these sizes, checked once against the mapping; every offset is checked where it is used.
 */
#ifndef BF_LISTING_H
#define BF_LISTING_H

#include "column.h"

typedef struct {
    uint64_t first_item;
    uint64_t names_offset;
    uint64_t folder_offset;
} bf_segment;

typedef struct {
    int64_t size;
    int64_t mtime_ns;
} bf_item_stat;

enum { BF_SEGMENTS, BF_OFFSETS, BF_STATS, BF_NAMES, BF_COLUMN_COUNT };

typedef struct {
    bf_column column[BF_COLUMN_COUNT];
    uint64_t item_count;
    uint64_t segment_count;
    bool has_stat;
} bf_listing;

static inline const bf_segment *bf_listing_segments(const bf_listing *listing)
{
    return (const bf_segment *)listing->column[BF_SEGMENTS].base;
}

static inline bf_item_stat *bf_listing_stats(const bf_listing *listing)
{
    return (bf_item_stat *)listing->column[BF_STATS].base;
}

static void bf_listing_clear(bf_listing *listing)
{
    for (int i = 0; i < BF_COLUMN_COUNT; i++)
        bf_column_clear(&listing->column[i]);
    listing->item_count = listing->segment_count = 0;
    listing->has_stat = false;
}

static void bf_listing_close(bf_listing *listing)
{
    for (int i = 0; i < BF_COLUMN_COUNT; i++)
        bf_column_close(&listing->column[i]);
    bf_listing_clear(listing);
}

static int bf_listing_open(bf_listing *listing, bool has_stat)
{
    bf_listing_clear(listing);
    listing->has_stat = has_stat;
    int error = 0;
    for (int i = 0; i < BF_COLUMN_COUNT && !error; i++)
        error = bf_column_open(&listing->column[i]);
    return error;
}

static int bf_listing_seal(bf_listing *listing)
{
    int error = 0;
    for (int i = 0; i < BF_COLUMN_COUNT && !error; i++)
        error = bf_column_seal(&listing->column[i]);
    return error;
}

static int bf_listing_put_folder(bf_listing *listing, const char *folder, size_t length, uint64_t *folder_offset)
{
    bf_column *names = &listing->column[BF_NAMES];
    int error = bf_column_reserve(names, length + 1);
    if (error)
        return error;
    *folder_offset = names->used;
    bf_column_put(names, folder, length);
    bf_column_put(names, "", 1);
    return 0;
}

/* Make the last segment one of this folder.  *folder_offset says where the folder's name is, UINT64_MAX if it has
 * none yet; `fresh` forces a new segment. */
static int bf_listing_open_segment(bf_listing *listing, const char *folder, size_t length, uint64_t *folder_offset,
                                   bool fresh)
{
    bf_column *segments = &listing->column[BF_SEGMENTS], *names = &listing->column[BF_NAMES];
    int error;
    if (listing->segment_count) {
        uint64_t last = bf_listing_segments(listing)[listing->segment_count - 1].folder_offset;
        const char *last_folder = (const char *)names->base + last;
        if (*folder_offset == UINT64_MAX && strlen(last_folder) == length && !memcmp(last_folder, folder, length))
            *folder_offset = last;
        if (*folder_offset == last && !fresh)
            return 0;
    }
    if (*folder_offset == UINT64_MAX
        && (error = bf_listing_put_folder(listing, folder, length, folder_offset)) != 0)
        return error;
    if ((error = bf_column_reserve(segments, sizeof(bf_segment))) != 0)
        return error;
    bf_segment segment = {listing->item_count, names->used, *folder_offset};
    bf_column_put(segments, &segment, sizeof segment);
    listing->segment_count++;
    return 0;
}

/* Append one item to the folder's segment; its stat, if there is one, is put at `vanished` until it is known. */
static inline int bf_listing_put(bf_listing *listing, const char *folder, size_t folder_length, uint64_t *folder_offset,
                                 const uint8_t *name, size_t length)
{
    static const bf_item_stat vanished = {-1, 0};
    bf_column *offsets = &listing->column[BF_OFFSETS], *names = &listing->column[BF_NAMES],
              *stats = &listing->column[BF_STATS];
    int error;
    if ((error = bf_listing_open_segment(listing, folder, folder_length, folder_offset, false)) != 0)
        return error;
    uint64_t start = bf_listing_segments(listing)[listing->segment_count - 1].names_offset;
    if (names->used - start > UINT32_MAX) {
        if ((error = bf_listing_open_segment(listing, folder, folder_length, folder_offset, true)) != 0)
            return error;
        start = names->used;
    }
    if ((error = bf_column_reserve(offsets, sizeof(uint32_t))) != 0
        || (error = bf_column_reserve(names, length + 1)) != 0
        || (listing->has_stat && (error = bf_column_reserve(stats, sizeof vanished)) != 0))
        return error;
    uint32_t offset = (uint32_t)(names->used - start);
    bf_column_put(offsets, &offset, sizeof offset);
    bf_column_put(names, name, length);
    bf_column_put(names, "", 1);
    if (listing->has_stat)
        bf_column_put(stats, &vanished, sizeof vanished);
    listing->item_count++;
    return 0;
}

/* The segment that holds the item: the last one that starts at or before it. */
static uint64_t bf_listing_find_segment(const bf_listing *listing, uint64_t item)
{
    const bf_segment *segments = bf_listing_segments(listing);
    uint64_t low = 0, high = listing->segment_count;
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (segments[middle].first_item <= item)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* NULL if the listing is damaged; otherwise a string that ends inside the column. */
static inline const char *bf_listing_folder(const bf_listing *listing, uint64_t segment)
{
    uint64_t offset = bf_listing_segments(listing)[segment].folder_offset;
    return offset < listing->column[BF_NAMES].used ? (const char *)listing->column[BF_NAMES].base + offset : NULL;
}

static inline const char *bf_listing_name(const bf_listing *listing, uint64_t segment, uint64_t item)
{
    uint64_t start = bf_listing_segments(listing)[segment].names_offset, used = listing->column[BF_NAMES].used;
    uint64_t offset = ((const uint32_t *)listing->column[BF_OFFSETS].base)[item];
    return start < used && offset < used - start ? (const char *)listing->column[BF_NAMES].base + start + offset : NULL;
}

/* The bytes of the segment's names, NULs included, for the digest; NULL if the listing is damaged. */
static const char *bf_listing_names(const bf_listing *listing, uint64_t segment, uint64_t *item_count, uint64_t *size)
{
    const bf_segment *at = bf_listing_segments(listing) + segment;
    uint64_t end = segment + 1 < listing->segment_count ? at[1].first_item : listing->item_count;
    if (at->first_item >= end || end > listing->item_count)
        return NULL;
    const char *first = bf_listing_name(listing, segment, at->first_item);
    const char *last = bf_listing_name(listing, segment, end - 1);
    if (!first || !last || last < first)
        return NULL;
    *item_count = end - at->first_item;
    *size = (uint64_t)(last - first) + strlen(last) + 1;
    return first;
}

/* Take over the columns of another process's listing; `sizes` as bf_listing_sizes gives them. */
static int bf_listing_attach(bf_listing *listing, const int *fds, uint64_t item_count, uint64_t segment_count,
                             uint64_t names_size, bool has_stat)
{
    bf_listing_clear(listing);
    if (item_count > BF_COLUMN_MAX / sizeof(bf_item_stat) || segment_count > item_count || names_size > BF_COLUMN_MAX
        || (item_count != 0) != (segment_count != 0) || (item_count && names_size < 2))
        return ERANGE;
    uint64_t sizes[BF_COLUMN_COUNT] = {
        [BF_SEGMENTS] = segment_count * sizeof(bf_segment),
        [BF_OFFSETS] = item_count * sizeof(uint32_t),
        [BF_STATS] = has_stat ? item_count * sizeof(bf_item_stat) : 0,
        [BF_NAMES] = names_size,
    };
    listing->item_count = item_count;
    listing->segment_count = segment_count;
    listing->has_stat = has_stat;
    int error = 0;
    for (int i = 0; i < BF_COLUMN_COUNT && !error; i++)
        error = bf_column_attach(&listing->column[i], fds[i], sizes[i]);
    bf_column *names = &listing->column[BF_NAMES];
    if (!error && names->used && names->base[names->used - 1] != 0)
        error = ERANGE;
    if (error)
        bf_listing_close(listing);
    return error;
}

#endif
