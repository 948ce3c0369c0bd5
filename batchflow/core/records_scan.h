/* Where the records begin, by the parity of quotes, 64 bytes at a time: as fast as memory gives them, and for both cases
 * at once, that the first byte is in quotes and that it is not.
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

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define BF_INLINE static inline __attribute__((always_inline))

/* What one grain is like. */
typedef struct {
    uint32_t starts;        /* first bytes of records, in quotes and not */
    uint32_t starts_quoted; /* those that are in quotes if the grain's first byte is not, and the other way round */
    uint8_t flips;          /* an odd number of quotes */
    uint8_t is_doubtful[2]; /* by whether the byte before the grain is in quotes: parity may lie */
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
    uint64_t doubt[2];
    uint64_t starts, starts_quoted;
} bf_scan;

BF_INLINE bf_scan bf_scan_begin(const bf_dialect *dialect, uint8_t previous) {
    bf_byte_class was = dialect->class_of[previous];
    return (bf_scan){.after_break = was == BF_BREAK,
                     .after_opener = was == BF_BREAK || was == BF_DELIMITER || was == BF_QUOTE};
}

/* `parity`: bit k is set if the number of quotes up to byte k, itself included, is odd.  Returns the first bytes of
 * records, `quoted` those of them that parity puts in quotes. */
BF_INLINE uint64_t bf_scan_word(bf_scan *scan, bf_masks masks, uint64_t parity, uint64_t valid, bool is_json,
                                uint64_t *quoted) {
    uint64_t up_to = parity ^ scan->inside, before = up_to ^ masks.quote;
    uint64_t starts = (masks.line_break << 1 | scan->after_break) & ~masks.line_break & valid;
    scan->inside = 0 - (up_to >> 63);
    scan->after_break = masks.line_break >> 63;
    scan->starts += (uint64_t)__builtin_popcountll(starts);
    scan->starts_quoted += (uint64_t)__builtin_popcountll(starts & before);
    if (is_json) {
        scan->doubt[0] |= starts & ~masks.delimiter;
    } else {
        uint64_t openers = masks.line_break | masks.delimiter | masks.quote;
        uint64_t misplaced = masks.quote & ~(openers << 1 | scan->after_opener);
        scan->after_opener = openers >> 63;
        scan->doubt[0] |= misplaced & up_to;
        scan->doubt[1] |= misplaced & ~up_to;
    }
    *quoted = before;
    return starts;
}

BF_INLINE bf_grain bf_scan_end(const bf_scan *scan, bool has_nul) {
    return (bf_grain){.starts = (uint32_t)scan->starts, .starts_quoted = (uint32_t)scan->starts_quoted,
                      .flips = scan->inside & 1, .is_doubtful = {scan->doubt[0] != 0, scan->doubt[1] != 0},
                      .has_nul = has_nul};
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

/* A scan of one grain; bytes[-1] is read too.  `starts`: NULL, or takes a bit for each first byte of a record, in quotes
 * or not as `is_inside` says of the first byte. */
typedef bf_grain bf_scan_grain(const bf_dialect *dialect, const uint8_t *bytes, size_t size, bool is_inside,
                               uint64_t *starts);

/* The loop over the words of a grain.  FIND(bytes, dialect, &masks) finds the bytes and returns what is not 0 if there
 * is a NUL; PARITY is bf_prefix_parity or does the same.  What fills the last word is of no class, so that it changes
 * nothing; a record that would begin there is not valid. */
#define BF_SCAN_LOOP(FIND, PARITY, IS_JSON)                                                                            \
    bf_scan scan = bf_scan_begin(dialect, bytes[-1]);                                                                  \
    uint64_t nul = 0, quoted, side = 0 - (uint64_t)is_inside;                                                          \
    bf_masks masks;                                                                                                    \
    size_t i = 0;                                                                                                      \
    for (; i + 64 <= size; i += 64) {                                                                                  \
        nul |= FIND(bytes + i, dialect, &masks);                                                                       \
        uint64_t found = bf_scan_word(&scan, masks, PARITY(masks.quote), ~(uint64_t)0, IS_JSON, &quoted);              \
        if (starts)                                                                                                    \
            starts[i / 64] = found & ~(quoted ^ side);                                                                 \
    }                                                                                                                  \
    if (i < size) {                                                                                                    \
        uint8_t rest[64];                                                                                              \
        memset(rest, bf_neutral(dialect), sizeof rest);                                                                \
        memcpy(rest, bytes + i, size - i);                                                                             \
        nul |= FIND(rest, dialect, &masks);                                                                            \
        uint64_t valid = ((uint64_t)1 << (size - i)) - 1;                                                              \
        uint64_t found = bf_scan_word(&scan, masks, PARITY(masks.quote), valid, IS_JSON, &quoted);                     \
        if (starts)                                                                                                    \
            starts[i / 64] = found & ~(quoted ^ side);                                                                 \
    }                                                                                                                  \
    return bf_scan_end(&scan, nul != 0);

#define BF_SCANS(NAME, TARGET, FIND, PARITY)                                                                           \
    TARGET static bf_grain NAME##_csv(const bf_dialect *dialect, const uint8_t *bytes, size_t size, bool is_inside,    \
                                      uint64_t *starts) {                                                              \
        BF_SCAN_LOOP(FIND, PARITY, false)                                                                              \
    }                                                                                                                  \
    TARGET static bf_grain NAME##_json(const bf_dialect *dialect, const uint8_t *bytes, size_t size, bool is_inside,   \
                                       uint64_t *starts) {                                                             \
        BF_SCAN_LOOP(FIND, PARITY, true)                                                                               \
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

BF_INLINE uint64_t bf_find_portable(const uint8_t *bytes, const bf_dialect *dialect, bf_masks *masks) {
    uint64_t nul = 0;
    uint8_t other_break = dialect->is_json ? '\n' : '\r';
    *masks = (bf_masks){0};
    for (int k = 0; k < 8; k++) {
        uint64_t word = 0;
        for (int place = 0; place < 8; place++)
            word |= (uint64_t)bytes[8 * k + place] << 8 * place;
        masks->quote |= bf_equal_bytes(word, dialect->quote) << 8 * k;
        masks->line_break |= (bf_equal_bytes(word, '\n') | bf_equal_bytes(word, other_break)) << 8 * k;
        masks->delimiter |= bf_equal_bytes(word, dialect->delimiter) << 8 * k;
        nul |= bf_equal_bytes(word, 0);
    }
    return nul;
}
BF_SCANS(bf_scan_portable, , bf_find_portable, bf_prefix_parity)

#if defined(__x86_64__)
BF_INLINE uint64_t bf_find_sse2(const uint8_t *bytes, const bf_dialect *dialect, bf_masks *masks) {
    const __m128i quote = _mm_set1_epi8((char)dialect->quote), delimiter = _mm_set1_epi8((char)dialect->delimiter);
    const __m128i line_feed = _mm_set1_epi8('\n'), other = _mm_set1_epi8(dialect->is_json ? '\n' : '\r');
    __m128i least = _mm_set1_epi8(-1);
    *masks = (bf_masks){0};
    for (int k = 0; k < 64; k += 16) {
        __m128i block = _mm_loadu_si128((const __m128i *)(bytes + k));
        __m128i line_break = _mm_or_si128(_mm_cmpeq_epi8(block, line_feed), _mm_cmpeq_epi8(block, other));
        masks->quote |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(block, quote)) << k;
        masks->line_break |= (uint64_t)(uint32_t)_mm_movemask_epi8(line_break) << k;
        masks->delimiter |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(block, delimiter)) << k;
        least = _mm_min_epu8(least, block);
    }
    return (uint64_t)_mm_movemask_epi8(_mm_cmpeq_epi8(least, _mm_setzero_si128()));
}
BF_SCANS(bf_scan_sse2, , bf_find_sse2, bf_prefix_parity)

#define BF_AVX2 __attribute__((target("avx2,bmi,bmi2,popcnt,pclmul")))
#define BF_AVX512 __attribute__((target("avx512f,avx512bw,avx2,bmi,bmi2,popcnt,pclmul")))

/* A product without carries with all ones is the parity of everything below. */
BF_INLINE BF_AVX2 uint64_t bf_prefix_parity_clmul(uint64_t bits) {
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((int64_t)bits), _mm_set1_epi8(-1), 0);
    return (uint64_t)_mm_cvtsi128_si64(product);
}

BF_INLINE BF_AVX2 uint64_t bf_both(__m256i low, __m256i high) {
    return (uint64_t)(uint32_t)_mm256_movemask_epi8(low) | (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << 32;
}

BF_INLINE BF_AVX2 uint64_t bf_find_avx2(const uint8_t *bytes, const bf_dialect *dialect, bf_masks *masks) {
    const __m256i quote = _mm256_set1_epi8((char)dialect->quote);
    const __m256i delimiter = _mm256_set1_epi8((char)dialect->delimiter);
    const __m256i line_feed = _mm256_set1_epi8('\n'), other = _mm256_set1_epi8(dialect->is_json ? '\n' : '\r');
    __m256i low = _mm256_loadu_si256((const __m256i *)bytes), high = _mm256_loadu_si256((const __m256i *)(bytes + 32));
    masks->quote = bf_both(_mm256_cmpeq_epi8(low, quote), _mm256_cmpeq_epi8(high, quote));
    masks->line_break = bf_both(_mm256_or_si256(_mm256_cmpeq_epi8(low, line_feed), _mm256_cmpeq_epi8(low, other)),
                                _mm256_or_si256(_mm256_cmpeq_epi8(high, line_feed), _mm256_cmpeq_epi8(high, other)));
    masks->delimiter = bf_both(_mm256_cmpeq_epi8(low, delimiter), _mm256_cmpeq_epi8(high, delimiter));
    __m256i nul = _mm256_cmpeq_epi8(_mm256_min_epu8(low, high), _mm256_setzero_si256());
    return (uint64_t)(uint32_t)_mm256_movemask_epi8(nul);
}
BF_SCANS(bf_scan_avx2, BF_AVX2, bf_find_avx2, bf_prefix_parity_clmul)

BF_INLINE BF_AVX512 uint64_t bf_prefix_parity_512(uint64_t bits) {
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((int64_t)bits), _mm_set1_epi8(-1), 0);
    return (uint64_t)_mm_cvtsi128_si64(product);
}

BF_INLINE BF_AVX512 uint64_t bf_find_avx512(const uint8_t *bytes, const bf_dialect *dialect, bf_masks *masks) {
    __m512i block = _mm512_loadu_si512(bytes);
    masks->quote = _mm512_cmpeq_epi8_mask(block, _mm512_set1_epi8((char)dialect->quote));
    masks->line_break = _mm512_cmpeq_epi8_mask(block, _mm512_set1_epi8('\n'))
                        | _mm512_cmpeq_epi8_mask(block, _mm512_set1_epi8(dialect->is_json ? '\n' : '\r'));
    masks->delimiter = _mm512_cmpeq_epi8_mask(block, _mm512_set1_epi8((char)dialect->delimiter));
    return _mm512_testn_epi8_mask(block, block);
}
BF_SCANS(bf_scan_avx512, BF_AVX512, bf_find_avx512, bf_prefix_parity_512)
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
    bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("pclmul");
    if (has_avx2 && __builtin_cpu_supports("avx512bw"))
        bf_scanners[bf_scanner_count++] = (bf_scanner){"avx512", bf_scan_avx512_csv, bf_scan_avx512_json};
    if (has_avx2)
        bf_scanners[bf_scanner_count++] = (bf_scanner){"avx2", bf_scan_avx2_csv, bf_scan_avx2_json};
    bf_scanners[bf_scanner_count++] = (bf_scanner){"sse2", bf_scan_sse2_csv, bf_scan_sse2_json};
#endif
    bf_scanners[bf_scanner_count++] = (bf_scanner){"portable", bf_scan_portable_csv, bf_scan_portable_json};
}

#endif
