/* Where the records begin, by the parity of quotes, 64 bytes at a time, as fast as memory gives them.
 *
 * Parity tells the truth as long as each quote that would open a field stands where one may: behind a delimiter, a line
 * break or another quote (a doubled one, which closes and opens).  One that does not is reported, for the automaton.
 * In JSON Lines nothing quotes; there, a record that does not begin with a brace is reported: its line may be blank.
 *
 * Four ways to find the bytes that matter, one to make sense of them.
 */
#ifndef BF_RECORDS_SCAN_H
#define BF_RECORDS_SCAN_H

#include "records.h"

#define BF_INLINE static inline __attribute__((always_inline))

/* What one grain is like, if the byte before it is in quotes, or not. */
typedef struct {
    uint32_t starts;     /* first bytes of records */
    uint8_t is_inside;   /* it is */
    uint8_t ends_inside; /* its last byte is */
    uint8_t is_doubtful; /* parity may lie */
    uint8_t has_nul;
} bf_grain;

/* Which of 64 bytes are what; bit k is byte k. */
typedef struct {
    uint64_t quote, line_break, delimiter;
} bf_masks;

/* What is carried from one word to the next. */
typedef struct {
    uint64_t inside; /* all ones in quotes */
    uint64_t after_break, after_opener; /* 1 if the byte before is a line break, or one that a quote may open behind */
    uint64_t doubt;
    uint64_t starts;
} bf_scan;

BF_INLINE bf_scan bf_scan_begin(const bf_dialect *dialect, uint8_t previous, bool is_inside) {
    bf_byte_class was = dialect->class_of[previous];
    return (bf_scan){.inside = 0 - (uint64_t)is_inside, .after_break = was == BF_BREAK,
                     .after_opener = was == BF_BREAK || was == BF_DELIMITER || was == BF_QUOTE};
}

/* `parity`: bit k is set if the number of quotes up to byte k, itself included, is odd.  Returns the first bytes of
 * records. */
BF_INLINE uint64_t bf_scan_word(bf_scan *scan, bf_masks masks, uint64_t parity, uint64_t valid, bool is_json) {
    uint64_t up_to = parity ^ scan->inside, before = up_to ^ masks.quote; /* in quotes, with the byte or without it */
    uint64_t starts = (masks.line_break << 1 | scan->after_break) & ~masks.line_break & ~before & valid;
    scan->inside = 0 - (up_to >> 63);
    scan->after_break = masks.line_break >> 63;
    scan->starts += (uint64_t)__builtin_popcountll(starts);
    if (is_json) {
        scan->doubt |= starts & ~masks.delimiter;
    } else {
        uint64_t openers = masks.line_break | masks.delimiter | masks.quote;
        uint64_t misplaced = masks.quote & ~(openers << 1 | scan->after_opener);
        scan->after_opener = openers >> 63;
        scan->doubt |= misplaced & up_to;
    }
    return starts;
}

BF_INLINE bf_grain bf_scan_end(const bf_scan *scan, bool is_inside, bool has_nul) {
    return (bf_grain){.starts = (uint32_t)scan->starts, .is_inside = is_inside, .ends_inside = scan->inside & 1,
                      .is_doubtful = scan->doubt != 0, .has_nul = has_nul};
}

/* Bit k of the result: parity of the bits up to k. */
BF_INLINE uint64_t bf_prefix_parity(uint64_t bits) {
    bits ^= bits << 1;
    bits ^= bits << 2;
    bits ^= bits << 4;
    bits ^= bits << 8;
    bits ^= bits << 16;
    return bits ^ bits << 32;
}

/* A scan of one grain; bytes[-1] is read too, and is in quotes if `is_inside`.  `starts`: NULL, or takes a bit for each
 * first byte of a record. */
typedef bf_grain bf_scan_grain(const bf_dialect *dialect, const uint8_t *bytes, size_t size, bool is_inside,
                               uint64_t *starts);

/* The loop over the words of a grain.  FIND(bytes, marks, &masks, &nul) finds the bytes, and keeps in `nul` what HAS_NUL
 * tells from; MARKS are the dialect's bytes as FIND wants them; PARITY is bf_prefix_parity or does the same.  What fills
 * the last word is of no class, so that it changes nothing; a record that would begin there is not valid. */
#define BF_SCAN_LOOP(KIND, IS_JSON)                                                                                    \
    bf_scan scan = bf_scan_begin(dialect, bytes[-1], is_inside);                                                       \
    const KIND##_marks marks = KIND##_marks_of(dialect);                                                               \
    KIND##_nul nul = KIND##_no_nul();                                                                                  \
    bf_masks masks;                                                                                                    \
    size_t i = 0;                                                                                                      \
    _Pragma("GCC unroll 4")                                                                                            \
    for (; i + 64 <= size; i += 64) {                                                                                  \
        KIND##_find(bytes + i, &marks, &masks, &nul);                                                                  \
        uint64_t found = bf_scan_word(&scan, masks, KIND##_parity(masks.quote), ~(uint64_t)0, IS_JSON);                \
        if (starts)                                                                                                    \
            starts[i / 64] = found;                                                                                    \
    }                                                                                                                  \
    if (i < size) {                                                                                                    \
        uint8_t rest[64];                                                                                              \
        memset(rest, bf_neutral(dialect), sizeof rest);                                                                \
        memcpy(rest, bytes + i, size - i);                                                                             \
        KIND##_find(rest, &marks, &masks, &nul);                                                                       \
        uint64_t valid = ((uint64_t)1 << (size - i)) - 1;                                                              \
        uint64_t found = bf_scan_word(&scan, masks, KIND##_parity(masks.quote), valid, IS_JSON);                       \
        if (starts)                                                                                                    \
            starts[i / 64] = found;                                                                                    \
    }                                                                                                                  \
    return bf_scan_end(&scan, is_inside, KIND##_has_nul(nul));

#define BF_SCANS(KIND, TARGET)                                                                                         \
    TARGET static bf_grain KIND##_csv(const bf_dialect *dialect, const uint8_t *bytes, size_t size, bool is_inside,    \
                                      uint64_t *starts) {                                                              \
        BF_SCAN_LOOP(KIND, false)                                                                                      \
    }                                                                                                                  \
    TARGET static bf_grain KIND##_json(const bf_dialect *dialect, const uint8_t *bytes, size_t size, bool is_inside,   \
                                       uint64_t *starts) {                                                             \
        BF_SCAN_LOOP(KIND, true)                                                                                       \
    }

/* A byte that means nothing. */
static uint8_t bf_neutral(const bf_dialect *dialect) {
    uint8_t byte = 'a';
    while (dialect->class_of[byte] != BF_OTHER || byte == dialect->delimiter)
        byte++;
    return byte;
}

/* Any processor: eight bytes at a time.  The high bit of each byte of the sum is set where a byte is not zero, without a
 * carry from one to the next; a multiplication gathers these bits. */
BF_INLINE uint64_t bf_equal_bytes(uint64_t word, uint8_t value) {
    const uint64_t low = 0x7f7f7f7f7f7f7f7fULL;
    uint64_t other = word ^ (0x0101010101010101ULL * value);
    uint64_t zero = ~(((other & low) + low) | other | low);
    return (zero >> 7) * 0x0102040810204080ULL >> 56;
}

typedef struct {
    uint8_t quote, delimiter, other_break;
} bf_portable_marks;
typedef uint64_t bf_portable_nul;

BF_INLINE bf_portable_marks bf_portable_marks_of(const bf_dialect *dialect) {
    return (bf_portable_marks){dialect->quote, dialect->delimiter, dialect->is_json ? '\n' : '\r'};
}

BF_INLINE bf_portable_nul bf_portable_no_nul(void) {
    return 0;
}

BF_INLINE bool bf_portable_has_nul(bf_portable_nul nul) {
    return nul != 0;
}

BF_INLINE uint64_t bf_portable_parity(uint64_t bits) {
    return bf_prefix_parity(bits);
}

BF_INLINE void bf_portable_find(const uint8_t *bytes, const bf_portable_marks *marks, bf_masks *masks,
                                bf_portable_nul *nul) {
    *masks = (bf_masks){0};
    for (int k = 0; k < 8; k++) {
        uint64_t word = 0;
        for (int place = 0; place < 8; place++)
            word |= (uint64_t)bytes[8 * k + place] << 8 * place;
        masks->quote |= bf_equal_bytes(word, marks->quote) << 8 * k;
        masks->line_break |= (bf_equal_bytes(word, '\n') | bf_equal_bytes(word, marks->other_break)) << 8 * k;
        masks->delimiter |= bf_equal_bytes(word, marks->delimiter) << 8 * k;
        *nul |= bf_equal_bytes(word, 0);
    }
}
BF_SCANS(bf_portable, )

#if defined(__x86_64__)
#include "records_vector.h"
#endif

/* For a look at single words: what every processor of this kind has. */
#if defined(__x86_64__)
typedef bf_sse2_marks bf_word_marks;

BF_INLINE bf_word_marks bf_word_marks_of(const bf_dialect *dialect) {
    return bf_sse2_marks_of(dialect);
}

BF_INLINE void bf_find_in_word(const uint8_t *bytes, const bf_word_marks *marks, bf_masks *masks) {
    bf_sse2_nul nul = bf_sse2_no_nul();
    bf_sse2_find(bytes, marks, masks, &nul);
}
#else
typedef bf_portable_marks bf_word_marks;

BF_INLINE bf_word_marks bf_word_marks_of(const bf_dialect *dialect) {
    return bf_portable_marks_of(dialect);
}

BF_INLINE void bf_find_in_word(const uint8_t *bytes, const bf_word_marks *marks, bf_masks *masks) {
    bf_portable_nul nul = bf_portable_no_nul();
    bf_portable_find(bytes, marks, masks, &nul);
}
#endif

typedef struct {
    const char *name;
    bf_scan_grain *csv, *json;
} bf_scanner;

#define BF_SCANNERS_MAX 4
static bf_scanner bf_scanners[BF_SCANNERS_MAX]; /* that this processor can run, the fastest first */
static int bf_scanner_count;

static void bf_scanners_prepare(void) {
    bf_scanner_count = 0;
#if defined(__x86_64__)
    bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("pclmul");
    if (has_avx2 && __builtin_cpu_supports("avx512bw"))
        bf_scanners[bf_scanner_count++] = (bf_scanner){"avx512", bf_avx512_csv, bf_avx512_json};
    if (has_avx2)
        bf_scanners[bf_scanner_count++] = (bf_scanner){"avx2", bf_avx2_csv, bf_avx2_json};
    bf_scanners[bf_scanner_count++] = (bf_scanner){"sse2", bf_sse2_csv, bf_sse2_json};
#endif
    bf_scanners[bf_scanner_count++] = (bf_scanner){"portable", bf_portable_csv, bf_portable_json};
}

#endif
