/* The scans of records_scan.h with the vectors that x86 processors have: 16, 32 and 64 bytes.
 *
 * Line breaks are found by one shuffle: it puts into each byte's place the line break that has the same lower half, if
 * there is one, and where that is the byte itself, it is one.
 */
#ifndef BF_RECORDS_VECTOR_H
#define BF_RECORDS_VECTOR_H

#include "records_scan.h"

#include <immintrin.h>

#define BF_AVX2 __attribute__((target("avx2,bmi,bmi2,popcnt,pclmul")))
#define BF_AVX512 __attribute__((target("avx512f,avx512bw,avx2,bmi,bmi2,popcnt,pclmul")))

/* SSE2, which all of them have */

typedef struct {
    __m128i quote, delimiter, line_feed, other_break;
} bf_sse2_marks;
typedef __m128i bf_sse2_nul;

BF_INLINE bf_sse2_marks bf_sse2_marks_of(const bf_dialect *dialect) {
    return (bf_sse2_marks){_mm_set1_epi8((char)dialect->quote), _mm_set1_epi8((char)dialect->delimiter),
                           _mm_set1_epi8('\n'), _mm_set1_epi8(dialect->is_json ? '\n' : '\r')};
}

BF_INLINE bf_sse2_nul bf_sse2_no_nul(void) {
    return _mm_set1_epi8(-1);
}

/* `nul` holds the least byte of each place. */
BF_INLINE bool bf_sse2_has_nul(bf_sse2_nul nul) {
    return _mm_movemask_epi8(_mm_cmpeq_epi8(nul, _mm_setzero_si128())) != 0;
}

BF_INLINE uint64_t bf_sse2_parity(uint64_t bits) {
    return bf_prefix_parity(bits);
}

BF_INLINE void bf_sse2_find(const uint8_t *bytes, const bf_sse2_marks *marks, bf_masks *masks, bf_sse2_nul *nul) {
    *masks = (bf_masks){0};
    for (int k = 0; k < 64; k += 16) {
        __m128i block = _mm_loadu_si128((const __m128i *)(bytes + k));
        __m128i line_break = _mm_or_si128(_mm_cmpeq_epi8(block, marks->line_feed),
                                          _mm_cmpeq_epi8(block, marks->other_break));
        masks->quote |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(block, marks->quote)) << k;
        masks->line_break |= (uint64_t)(uint32_t)_mm_movemask_epi8(line_break) << k;
        masks->delimiter |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(block, marks->delimiter)) << k;
        *nul = _mm_min_epu8(*nul, block);
    }
}
BF_SCANS(bf_sse2, )

/* AVX2, with a product without carries: by all ones it is the parity of everything below. */

typedef struct {
    __m256i quote, delimiter, line_breaks;
} bf_avx2_marks;
typedef __m256i bf_avx2_nul;

/* By lower half of a byte: the line break that has it, or a byte that has another. */
BF_INLINE BF_AVX2 __m128i bf_break_table(const bf_dialect *dialect) {
    return _mm_setr_epi8(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, '\n', 0, 0, dialect->is_json ? 0 : '\r', 0, 0);
}

BF_INLINE BF_AVX2 bf_avx2_marks bf_avx2_marks_of(const bf_dialect *dialect) {
    return (bf_avx2_marks){_mm256_set1_epi8((char)dialect->quote), _mm256_set1_epi8((char)dialect->delimiter),
                           _mm256_broadcastsi128_si256(bf_break_table(dialect))};
}

BF_INLINE BF_AVX2 bf_avx2_nul bf_avx2_no_nul(void) {
    return _mm256_set1_epi8(-1);
}

BF_INLINE BF_AVX2 bool bf_avx2_has_nul(bf_avx2_nul nul) {
    return _mm256_movemask_epi8(_mm256_cmpeq_epi8(nul, _mm256_setzero_si256())) != 0;
}

BF_INLINE BF_AVX2 uint64_t bf_avx2_parity(uint64_t bits) {
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((int64_t)bits), _mm_set1_epi8(-1), 0);
    return (uint64_t)_mm_cvtsi128_si64(product);
}

/* Bit k: byte k of both halves is as that of the other vectors. */
BF_INLINE BF_AVX2 uint64_t bf_avx2_equal(__m256i low, __m256i high, __m256i other_low, __m256i other_high) {
    return (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(low, other_low))
           | (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(high, other_high)) << 32;
}

BF_INLINE BF_AVX2 void bf_avx2_find(const uint8_t *bytes, const bf_avx2_marks *marks, bf_masks *masks,
                                    bf_avx2_nul *nul) {
    __m256i low = _mm256_loadu_si256((const __m256i *)bytes), high = _mm256_loadu_si256((const __m256i *)(bytes + 32));
    masks->quote = bf_avx2_equal(low, high, marks->quote, marks->quote);
    masks->line_break = bf_avx2_equal(low, high, _mm256_shuffle_epi8(marks->line_breaks, low),
                                      _mm256_shuffle_epi8(marks->line_breaks, high));
    masks->delimiter = bf_avx2_equal(low, high, marks->delimiter, marks->delimiter);
    *nul = _mm256_min_epu8(*nul, _mm256_min_epu8(low, high));
}
BF_SCANS(bf_avx2, BF_AVX2)

/* AVX-512 */

typedef struct {
    __m512i quote, delimiter, line_breaks;
} bf_avx512_marks;
typedef __m512i bf_avx512_nul;

BF_INLINE BF_AVX512 bf_avx512_marks bf_avx512_marks_of(const bf_dialect *dialect) {
    return (bf_avx512_marks){_mm512_set1_epi8((char)dialect->quote), _mm512_set1_epi8((char)dialect->delimiter),
                             _mm512_broadcast_i32x4(bf_break_table(dialect))};
}

BF_INLINE BF_AVX512 bf_avx512_nul bf_avx512_no_nul(void) {
    return _mm512_set1_epi8(-1);
}

BF_INLINE BF_AVX512 bool bf_avx512_has_nul(bf_avx512_nul nul) {
    return _mm512_testn_epi8_mask(nul, nul) != 0;
}

BF_INLINE BF_AVX512 uint64_t bf_avx512_parity(uint64_t bits) {
    return bf_avx2_parity(bits);
}

BF_INLINE BF_AVX512 void bf_avx512_find(const uint8_t *bytes, const bf_avx512_marks *marks, bf_masks *masks,
                                        bf_avx512_nul *nul) {
    __m512i block = _mm512_loadu_si512(bytes);
    masks->quote = _mm512_cmpeq_epi8_mask(block, marks->quote);
    masks->line_break = _mm512_cmpeq_epi8_mask(block, _mm512_shuffle_epi8(marks->line_breaks, block));
    masks->delimiter = _mm512_cmpeq_epi8_mask(block, marks->delimiter);
    *nul = _mm512_min_epu8(*nul, block);
}
BF_SCANS(bf_avx512, BF_AVX512)

#undef BF_AVX2
#undef BF_AVX512

#endif
