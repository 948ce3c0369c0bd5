/* The entries of one folder: collected from getdents64, then put into the byte order of their paths.
 *
 * All folders that the walk stands in share two stacks, entries and text; a folder owns a range of each.  A
 * subfolder's name is kept with "/" behind it, which is how its paths compare with the files beside it.
 */
#ifndef BF_FOLDER_H
#define BF_FOLDER_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef enum { BF_ENTRY_FILE, BF_ENTRY_FILE_LINK, BF_ENTRY_FOLDER, BF_ENTRY_FOLDER_LINK } bf_entry_kind;

typedef struct {
    uint64_t prefix; /* the 8 bytes behind what all names of the folder have in common, big-endian */
    uint32_t offset; /* into the folder's text */
    uint16_t length;
    uint8_t kind;
} bf_entry;

typedef struct {
    bf_entry *entries;
    size_t entry_count, entry_capacity;
    bf_entry *scratch;
    size_t scratch_capacity;
    uint8_t *text;
    size_t text_size, text_capacity;
} bf_entry_stack;

static int bf_grow(void **base, size_t *capacity, size_t needed, size_t element_size)
{
    if (needed <= *capacity)
        return 0;
    size_t larger = *capacity * 2 < 1024 ? 1024 : *capacity * 2;
    if (larger < needed)
        larger = needed;
    void *moved = realloc(*base, larger * element_size);
    if (!moved)
        return ENOMEM;
    *base = moved;
    *capacity = larger;
    return 0;
}

static void bf_entry_stack_free(bf_entry_stack *stack)
{
    free(stack->entries);
    free(stack->scratch);
    free(stack->text);
    memset(stack, 0, sizeof *stack);
}

static int bf_entry_push(bf_entry_stack *stack, size_t text_first, const uint8_t *name, size_t length,
                         bf_entry_kind kind)
{
    bool folder = kind == BF_ENTRY_FOLDER || kind == BF_ENTRY_FOLDER_LINK;
    size_t offset = stack->text_size - text_first;
    if (offset > UINT32_MAX || length + 1 > UINT16_MAX)
        return EOVERFLOW;
    int error = bf_grow((void **)&stack->entries, &stack->entry_capacity, stack->entry_count + 1, sizeof(bf_entry));
    if (!error)
        error = bf_grow((void **)&stack->text, &stack->text_capacity, stack->text_size + length + 1, 1);
    if (error)
        return error;
    memcpy(stack->text + stack->text_size, name, length);
    stack->text[stack->text_size + length] = '/';
    stack->text_size += length + folder;
    bf_entry entry = {0, (uint32_t)offset, (uint16_t)(length + folder), (uint8_t)kind};
    stack->entries[stack->entry_count++] = entry;
    return 0;
}

static inline bool bf_entry_less(const bf_entry *a, const bf_entry *b, const uint8_t *text)
{
    if (a->prefix != b->prefix)
        return a->prefix < b->prefix;
    size_t shorter = a->length < b->length ? a->length : b->length;
    int order = memcmp(text + a->offset, text + b->offset, shorter);
    return order < 0 || (order == 0 && a->length < b->length);
}

static void bf_entry_prefixes(bf_entry *entries, size_t count, const uint8_t *text)
{
    const uint8_t *first = text + entries[0].offset;
    size_t common = entries[0].length;
    for (size_t i = 1; i < count; i++) {
        const uint8_t *name = text + entries[i].offset;
        size_t limit = common < entries[i].length ? common : entries[i].length, same = 0;
        while (same < limit && name[same] == first[same])
            same++;
        common = same;
    }
    for (size_t i = 0; i < count; i++) {
        size_t length = entries[i].length - common;
        uint64_t prefix = 0;
        memcpy(&prefix, text + entries[i].offset + common, length < 8 ? length : 8);
        entries[i].prefix = __builtin_bswap64(prefix);
    }
}

static void bf_entry_merge(const bf_entry *from, bf_entry *to, size_t low, size_t middle, size_t high,
                           const uint8_t *text)
{
    size_t a = low, b = middle;
    for (size_t i = low; i < high; i++)
        to[i] = b >= high || (a < middle && !bf_entry_less(&from[b], &from[a], text)) ? from[a++] : from[b++];
}

/* Merge sort from below: never more than count * log2(count) comparisons, whatever the names. */
static int bf_entry_sort(bf_entry_stack *stack, size_t entry_first, size_t text_first)
{
    bf_entry *entries = stack->entries + entry_first;
    const uint8_t *text = stack->text + text_first;
    size_t count = stack->entry_count - entry_first, block = 8;
    if (count < 2)
        return 0;
    int error = bf_grow((void **)&stack->scratch, &stack->scratch_capacity, count, sizeof(bf_entry));
    if (error)
        return error;
    bf_entry_prefixes(entries, count, text);
    for (size_t low = 0; low < count; low += block)
        for (size_t i = low + 1; i < count && i < low + block; i++) {
            bf_entry entry = entries[i];
            size_t j = i;
            for (; j > low && bf_entry_less(&entry, &entries[j - 1], text); j--)
                entries[j] = entries[j - 1];
            entries[j] = entry;
        }
    bf_entry *from = entries, *to = stack->scratch;
    for (; block < count; block *= 2) {
        for (size_t low = 0; low < count; low += 2 * block) {
            size_t middle = low + block < count ? low + block : count;
            size_t high = low + 2 * block < count ? low + 2 * block : count;
            bf_entry_merge(from, to, low, middle, high, text);
        }
        bf_entry *swap = from;
        from = to;
        to = swap;
    }
    if (from != entries)
        memcpy(entries, from, count * sizeof(bf_entry));
    return 0;
}

#endif
