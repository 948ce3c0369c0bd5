/* Columns → the rows of a csv file, as Python's csv module writes them with minimal quoting.
 *
 * A field is quoted if the delimiter, a quote or a line break is in it, quotes are doubled; nothing stands for a missing
 * value, and a row that is one empty field is written as "".
 *
 * Rows are written one behind the other, each only if there is room for the longest that it may become.
 */
#ifndef BF_FORMAT_H
#define BF_FORMAT_H

#include "decimal.h"
#include "rows.h"

enum { BF_SIGNED, BF_UNSIGNED, BF_DOUBLE, BF_FLOAT, BF_BOOL, BF_DATE, BF_TEXT32, BF_TEXT64, BF_OBJECTS };

typedef struct {
    const char *bytes; /* NULL: missing */
    size_t size;
} bf_text;

typedef struct {
    const void *values;   /* numbers; of texts the offsets; bf_text[] of objects */
    const char *text;     /* what the offsets are of */
    const uint8_t *valid; /* a bit for each value, from the lowest on, 0 if it is missing; NULL: none is, but NaN and NaT */
    uint64_t first;       /* of the column's values in `values` and `valid` */
    int64_t scale;        /* ticks of a date in a second; of singles, what is not below it is written with an exponent */
    int kind, digits;     /* of a date's seconds, behind the point; -1: the time is not written */
} bf_field;

/* The longest field but a text: a date with quotes and delimiter. */
#define BF_FIELD_SIZE_MAX 40

static inline int bf_is_valid(const bf_field *field, uint64_t row) {
    uint64_t bit = field->first + row;
    return field->valid == NULL || field->valid[bit >> 3] >> (bit & 7) & 1;
}

/* The row's text; NULL if it is missing. */
static inline bf_text bf_text_of(const bf_field *field, uint64_t row) {
    if (field->kind == BF_OBJECTS)
        return ((const bf_text *)field->values)[row];
    if (!bf_is_valid(field, row))
        return (bf_text){NULL, 0};
    uint64_t at = field->first + row;
    if (field->kind == BF_TEXT32) {
        const int32_t *offsets = field->values;
        return (bf_text){field->text + offsets[at], (size_t)(offsets[at + 1] - offsets[at])};
    }
    const int64_t *offsets = field->values;
    return (bf_text){field->text + offsets[at], (size_t)(offsets[at + 1] - offsets[at])};
}

/* Copy, and say whether the text must be quoted. */
static inline int bf_copy_text(char *to, const char *from, size_t size, char delimiter) {
    uint64_t odd = 0, word;
    size_t i = 0;
    if (size >= 8) {
        for (;; i = i + 16 <= size ? i + 8 : size - 8) {
            memcpy(&word, from + i, 8);
            memcpy(to + i, &word, 8);
            odd |= bf_has_byte(word, (uint8_t)delimiter) | bf_has_byte(word, '"') | bf_has_byte(word, '\n') |
                   bf_has_byte(word, '\r');
            if (i + 8 == size)
                return odd != 0;
        }
    }
    for (; i < size; i++) {
        char one = to[i] = from[i];
        odd |= one == delimiter || one == '"' || one == '\n' || one == '\r';
    }
    return odd != 0;
}

static char *bf_put_quoted(char *end, const char *text, size_t size) {
    *end++ = '"';
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '"')
            *end++ = '"';
        *end++ = text[i];
    }
    *end++ = '"';
    return end;
}

static inline char *bf_put_text(char *end, bf_text text, char delimiter) {
    if (text.size == 0)
        return end;
    return bf_copy_text(end, text.bytes, text.size, delimiter) ? bf_put_quoted(end, text.bytes, text.size)
                                                               : end + text.size;
}

/* Days since 1970 → year, month, day (of the proleptic Gregorian calendar, in eras of 400 years from a March on). */
static inline char *bf_put_day(char *end, int64_t days) {
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    unsigned day_of_era = (unsigned)(days - era * 146097);
    unsigned year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned march_month = (5 * day_of_year + 2) / 153, month = march_month < 10 ? march_month + 3 : march_month - 9;
    end = bf_put_digits(end, (uint64_t)(era * 400 + year_of_era + (month <= 2)), 4);
    *end++ = '-';
    end = bf_put_digits(end, month, 2);
    *end++ = '-';
    return bf_put_digits(end, day_of_year - (153 * march_month + 2) / 5 + 1, 2);
}

/* Years have four digits. */
static inline char *bf_put_date(char *end, const bf_field *field, int64_t ticks, char delimiter) {
    int64_t day = 86400 * field->scale, days = ticks / day - (ticks % day < 0), time = ticks - days * day;
    if (field->digits < 0)
        return bf_put_day(end, days);
    char *quote = delimiter == ' ' ? end++ : NULL;
    end = bf_put_day(end, days);
    uint64_t seconds = (uint64_t)(time / field->scale), part = (uint64_t)(time % field->scale);
    *end++ = ' ';
    end = bf_put_digits(end, seconds / 3600, 2);
    *end++ = ':';
    end = bf_put_digits(end, seconds / 60 % 60, 2);
    *end++ = ':';
    end = bf_put_digits(end, seconds % 60, 2);
    if (field->digits) {
        uint64_t unit = 1;
        for (int k = 0; k < field->digits; k++)
            unit *= 10;
        *end++ = '.';
        uint64_t second = (uint64_t)field->scale;
        end = bf_put_digits(end, second > unit ? part / (second / unit) : part * (unit / second), field->digits);
    }
    if (quote)
        *quote = *end++ = '"';
    return end;
}

static inline char *bf_put_field(char *end, const bf_field *field, uint64_t row, char delimiter) {
    uint64_t at = field->first + row;
    if (field->kind >= BF_TEXT32)
        return bf_put_text(end, bf_text_of(field, row), delimiter);
    if (!bf_is_valid(field, row))
        return end;
    switch (field->kind) {
    case BF_SIGNED:
        return bf_put_signed(end, ((const int64_t *)field->values)[at]);
    case BF_UNSIGNED:
        return bf_put_unsigned(end, ((const uint64_t *)field->values)[at]);
    case BF_DOUBLE: {
        double value = ((const double *)field->values)[at];
        return value == value ? bf_put_double(end, value) : end;
    }
    case BF_FLOAT: {
        float value = ((const float *)field->values)[at];
        return value == value ? bf_put_float(end, value, (double)field->scale) : end;
    }
    case BF_BOOL:
        if (((const uint8_t *)field->values)[at]) {
            memcpy(end, "True", 4);
            return end + 4;
        }
        memcpy(end, "False", 5);
        return end + 5;
    default: {
        int64_t ticks = ((const int64_t *)field->values)[at];
        return ticks == INT64_MIN ? end : bf_put_date(end, field, ticks, delimiter);
    }
    }
}

/* What a row may take at most. */
static inline size_t bf_row_size_max(const bf_field *fields, size_t count, uint64_t row) {
    size_t size = count * BF_FIELD_SIZE_MAX + 2;
    for (size_t k = 0; k < count; k++)
        if (fields[k].kind >= BF_TEXT32)
            size += 2 * bf_text_of(&fields[k], row).size;
    return size;
}

/* Write rows from `row` up to `stop` as long as they have room up to `limit`; returns the first that was not written. */
static uint64_t bf_put_rows(const bf_field *fields, size_t count, uint64_t row, uint64_t stop, char delimiter, char **to,
                            const char *limit) {
    char *end = *to;
    for (; row < stop && (size_t)(limit - end) >= bf_row_size_max(fields, count, row); row++) {
        char *begin = end;
        for (size_t k = 0; k < count; k++) {
            end = bf_put_field(end, &fields[k], row, delimiter);
            *end++ = delimiter;
        }
        if (count == 1 && end == begin + 1) {
            memcpy(begin, "\"\"", 2);
            end = begin + 3;
        }
        end[-1] = '\n';
    }
    *to = end;
    return row;
}

#endif
