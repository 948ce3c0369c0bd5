/* Text → lines. */
#ifndef BF_ROWS_H
#define BF_ROWS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Has a byte of the word this value?  A carry may find one more behind the first, which changes nothing. */
static inline uint64_t bf_has_byte(uint64_t word, uint8_t value) {
    uint64_t other = word ^ (0x0101010101010101ULL * value);
    return (other - 0x0101010101010101ULL) & ~other & 0x8080808080808080ULL;
}

/* Copy, and say whether there is a line feed or a carriage return in it. */
static inline int bf_copy_line(char *to, const char *from, size_t length) {
    uint64_t breaks = 0;
    size_t i = 0;
    for (; i + 8 <= length; i += 8) {
        uint64_t word;
        memcpy(&word, from + i, 8);
        memcpy(to + i, &word, 8);
        breaks |= bf_has_byte(word, '\n') | bf_has_byte(word, '\r');
    }
    for (; i < length; i++) {
        to[i] = from[i];
        breaks |= from[i] == '\n' || from[i] == '\r';
    }
    return breaks != 0;
}

#endif
