/* Numbers in columns of CSV that are not written in their shortest form: with zeros, blanks or 0x in front, with blanks
 * behind, -0 for an integer.
 *
 * Readers take them.  Who inferred a column's type from numbers without such must not, and looks at the texts once more
 * where this says that there may be one.
 *
 * Invariant: never no where there is one.  What is harder to tell than a field in quotes or without is maybe one.
 */
#ifndef BF_NUMBERS_H
#define BF_NUMBERS_H

#include "records_scan.h"

typedef enum { BF_NO_NUMBERS, BF_INTEGERS, BF_DOUBLES } bf_column_kind;

/* Where the walk over fields is. */
typedef struct {
    const uint8_t *bytes;
    const uint8_t *kinds; /* bf_column_kind of each column */
    size_t column_count, column;
    size_t field_begin;
    size_t skipped; /* a quote that is the second of two */
    uint8_t quote;
    bool is_inside; /* quotes */
    bool is_unclear; /* a quote is elsewhere than around the field */
} bf_field_walk;

static inline bool bf_is_blank(uint8_t byte) {
    return byte == ' ' || byte == '\t';
}

static inline bool bf_is_odd_number(const uint8_t *text, size_t size, bool is_integer) {
    if (size == 0)
        return false;
    if (bf_is_blank(text[0]) || bf_is_blank(text[size - 1]))
        return true;
    bool is_negative = text[0] == '-';
    text += is_negative;
    size -= is_negative;
    if (size == 0 || text[0] != '0')
        return false;
    if (size == 1)
        return is_negative && is_integer;
    return (uint8_t)(text[1] - '0') < 10 || (text[1] | 0x20) == 'x';
}

static inline bool bf_field_is_odd(const bf_field_walk *walk, const uint8_t *text, size_t size, bool is_integer) {
    if (walk->is_unclear)
        return true;
    if (text[0] == walk->quote) {
        if (size < 2 || text[size - 1] != walk->quote)
            return true;
        text++;
        size -= 2;
    }
    return bf_is_odd_number(text, size, is_integer);
}

/* A field ends before `end`: whether it is an odd number.  The first byte and the last tell most fields. */
static inline bool bf_end_field(const bf_field_walk *walk, size_t end) {
    uint8_t kind = walk->column < walk->column_count ? walk->kinds[walk->column] : BF_NO_NUMBERS;
    const uint8_t *text = walk->bytes + walk->field_begin;
    size_t size = end - walk->field_begin;
    if (kind == BF_NO_NUMBERS || size == 0)
        return false;
    if ((text[0] >= '1') & (text[0] != walk->quote) & (text[size - 1] > ' ') & !walk->is_unclear)
        return false;
    return bf_field_is_odd(walk, text, size, kind == BF_INTEGERS);
}

static inline void bf_meet_quote(bf_field_walk *walk, size_t place, size_t size) {
    if (place == walk->skipped)
        return;
    if (!walk->is_inside) {
        walk->is_inside = place == walk->field_begin;
        walk->is_unclear |= !walk->is_inside;
    } else if (place + 1 < size && walk->bytes[place + 1] == walk->quote) {
        walk->skipped = place + 1;
    } else {
        walk->is_inside = false;
    }
}

/* Whether there may be such a number in a column of `kinds`, in bytes that begin with a record and end with one. */
static bool bf_has_odd_numbers(const uint8_t *bytes, size_t size, uint8_t delimiter, uint8_t quote,
                               const uint8_t *kinds, size_t column_count) {
    bf_dialect dialect = {.delimiter = delimiter, .quote = quote};
    bf_field_walk walk = {.bytes = bytes, .kinds = kinds, .column_count = column_count, .skipped = SIZE_MAX,
                          .quote = quote};
    uint8_t rest[64];
    bf_dialect_begin(&dialect);
    const bf_word_marks marks = bf_word_marks_of(&dialect);
    for (size_t begin = 0; begin < size; begin += 64) {
        const uint8_t *block = bytes + begin;
        bf_masks masks;
        if (size - begin < 64) {
            memset(rest, bf_neutral(&dialect), sizeof rest);
            block = memcpy(rest, block, size - begin);
        }
        bf_find_in_word(block, &marks, &masks);
        uint64_t found = masks.line_break | masks.delimiter | (quote ? masks.quote : 0);
        for (; found; found &= found - 1) {
            size_t place = begin + (size_t)__builtin_ctzll(found);
            uint8_t byte = bytes[place];
            if (byte == quote) {
                bf_meet_quote(&walk, place, size);
            } else if (!walk.is_inside) {
                if (bf_end_field(&walk, place))
                    return true;
                walk.column = byte == delimiter ? walk.column + 1 : 0;
                walk.field_begin = place + 1;
                walk.is_unclear = false;
            }
        }
    }
    return !walk.is_inside && bf_end_field(&walk, size);
}

#endif
