/* Numbers → text: integers, and floating-point numbers by the shortest digits that read back as the same value.
 *
 * The digits are found by Schubfach (R. Giulietti, "The Schubfach way to render doubles", 2020): three products with one
 * power of ten, 128 bits wide, no loop, no big integers.  The text has the form of Python's repr(): 1.0, 1e-07, 1e+16.
 */
#ifndef BF_DECIMAL_H
#define BF_DECIMAL_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define BF_POWER_MIN (-292)
#define BF_POWER_MAX 324
#define BF_POWER_COUNT (BF_POWER_MAX - BF_POWER_MIN + 1)
#define BF_NUMBER_SIZE_MAX 25

typedef struct {
    uint64_t high, low;
} bf_power;

/* 10^k for BF_POWER_MIN <= k <= BF_POWER_MAX, scaled by a power of two to 128 significant bits and rounded up. */
static bf_power bf_powers[BF_POWER_COUNT];

static char bf_pairs[200]; /* 00 01 … 99 */

static void bf_prepare_pairs(void) {
    for (int k = 0; k < 100; k++) {
        bf_pairs[2 * k] = (char)('0' + k / 10);
        bf_pairs[2 * k + 1] = (char)('0' + k % 10);
    }
}

static inline int bf_digit_count(uint64_t value) {
    static const uint64_t powers[20] = {
        0, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000, 10000000000, 100000000000,
        1000000000000, 10000000000000, 100000000000000, 1000000000000000, 10000000000000000, 100000000000000000,
        1000000000000000000, 10000000000000000000u};
    int guess = (64 - __builtin_clzll(value | 1)) * 1233 >> 12;
    return guess + (value >= powers[guess] || guess == 0);
}

/* Exactly `count` digits, those of the lowest value. */
static inline char *bf_put_digits(char *end, uint64_t value, int count) {
    char *to = end + count;
    while (to - end >= 2) {
        to -= 2;
        memcpy(to, bf_pairs + 2 * (value % 100), 2);
        value /= 100;
    }
    if (to != end)
        *end = (char)('0' + value % 10);
    return end + count;
}

static inline char *bf_put_unsigned(char *end, uint64_t value) {
    return bf_put_digits(end, value, bf_digit_count(value));
}

static inline char *bf_put_signed(char *end, int64_t value) {
    if (value >= 0)
        return bf_put_unsigned(end, (uint64_t)value);
    *end = '-';
    return bf_put_unsigned(end + 1, -(uint64_t)value);
}

/* digits * 10^exponent */
typedef struct {
    uint64_t digits;
    int exponent;
} bf_decimal;

/* The product's highest 64 bits; its last bit is set if any below them is. */
static inline uint64_t bf_round_to_odd(bf_power power, uint64_t factor) {
    unsigned __int128 low = (unsigned __int128)power.low * factor;
    unsigned __int128 high = (unsigned __int128)power.high * factor + (uint64_t)(low >> 64);
    return (uint64_t)(high >> 64) | ((uint64_t)high > 1);
}

/* The shortest decimal that rounds to c * 2^q, and of these the closest.
 *
 * `is_narrow`: the gap to the next smaller value is half of that to the next greater one. */
static inline bf_decimal bf_shortest(uint64_t c, int q, int is_narrow) {
    uint64_t is_odd = c & 1; /* a decimal half way to a neighbour reads back as the value with the even significand */
    int k = (q * 1262611 - (is_narrow ? 524031 : 0)) >> 22;
    int h = q + ((-k * 1741647) >> 19) + 1;
    bf_power power = bf_powers[-k - BF_POWER_MIN];
    uint64_t lower = bf_round_to_odd(power, (4 * c - 2 + (is_narrow != 0)) << h) + is_odd;
    uint64_t value = bf_round_to_odd(power, (4 * c) << h);
    uint64_t upper = bf_round_to_odd(power, (4 * c + 2) << h) - is_odd;
    uint64_t s = value / 4;
    if (s >= 10) {
        uint64_t tens = s / 10;
        int is_inside = lower <= 40 * tens, is_next_inside = 40 * tens + 40 <= upper;
        if (is_inside != is_next_inside)
            return (bf_decimal){tens + (uint64_t)is_next_inside, k + 1};
    }
    int is_inside = lower <= 4 * s, is_next_inside = 4 * s + 4 <= upper;
    if (is_inside != is_next_inside)
        return (bf_decimal){s + (uint64_t)is_next_inside, k};
    uint64_t middle = 4 * s + 2;
    return (bf_decimal){s + (value > middle || (value == middle && (s & 1))), k};
}

static inline void bf_trim(bf_decimal *decimal) {
    if (decimal->digits % 100000000 == 0) {
        decimal->digits /= 100000000;
        decimal->exponent += 8;
    }
    while (decimal->digits % 10 == 0) {
        decimal->digits /= 10;
        decimal->exponent += 1;
    }
}

/* A positive decimal as repr() writes it: with an exponent unless `is_plain`. */
static inline char *bf_put_decimal(char *end, bf_decimal decimal, int is_plain) {
    bf_trim(&decimal);
    int count = bf_digit_count(decimal.digits), point = count + decimal.exponent;
    if (!is_plain) {
        bf_put_digits(end + 1, decimal.digits, count);
        end[0] = end[1];
        end[1] = '.';
        end += count > 1 ? count + 1 : 1;
        int exponent = point - 1;
        *end++ = 'e';
        *end++ = exponent < 0 ? '-' : '+';
        exponent = exponent < 0 ? -exponent : exponent;
        return bf_put_digits(end, (uint64_t)exponent, exponent < 100 ? 2 : 3);
    }
    if (point <= 0) {
        memcpy(end, "0.00000", 7);
        return bf_put_digits(end + 2 - point, decimal.digits, count);
    }
    if (point >= count) {
        end = bf_put_digits(end, decimal.digits, count);
        memset(end, '0', (size_t)(point - count));
        end += point - count;
        memcpy(end, ".0", 2);
        return end + 2;
    }
    bf_put_digits(end + 1, decimal.digits, count);
    memmove(end, end + 1, (size_t)point);
    end[point] = '.';
    return end + count + 1;
}

/* Without an exponent below `limit`, a question of the value, not of its digits: the single 1e-04 is below 0.0001. */
static inline char *bf_put_positive(char *end, double value, uint64_t significand, int exponent, int bits, double limit) {
    int q = (exponent ? exponent : 1) - ((1 << (bits == 52 ? 10 : 7)) - 1) - bits;
    uint64_t c = exponent ? significand | 1ULL << bits : significand;
    int is_plain = value >= 1e-4 && value < limit;
    if (q <= 0 && q > -64 && is_plain && (c & ((1ULL << -q) - 1)) == 0) {
        end = bf_put_unsigned(end, c >> -q); /* a whole number, with all its digits */
        memcpy(end, ".0", 2);
        return end + 2;
    }
    return bf_put_decimal(end, bf_shortest(c, q, significand == 0 && exponent > 1), is_plain);
}

/* Not for NaN. */
static inline char *bf_put_double(char *end, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (bits >> 63)
        *end++ = '-';
    if (value == 0) {
        memcpy(end, "0.0", 3);
        return end + 3;
    }
    if (isinf(value)) {
        memcpy(end, "inf", 3);
        return end + 3;
    }
    return bf_put_positive(end, fabs(value), bits & ((1ULL << 52) - 1), (int)(bits >> 52 & 0x7ff), 52, 1e16);
}

/* `limit`: where numpy begins to write an exponent, which is another place in each of its versions. */
static inline char *bf_put_float(char *end, float value, double limit) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (bits >> 31)
        *end++ = '-';
    if (value == 0) {
        memcpy(end, "0.0", 3);
        return end + 3;
    }
    if (isinf(value)) {
        memcpy(end, "inf", 3);
        return end + 3;
    }
    return bf_put_positive(end, fabs((double)value), bits & ((1U << 23) - 1), (int)(bits >> 23 & 0xff), 23, limit);
}

#endif
