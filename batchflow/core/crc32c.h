/* CRC-32C (Castagnoli, RFC 3720 appendix B.4), with the processor's instruction where there is one. */
#ifndef BF_CRC32C_H
#define BF_CRC32C_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static uint32_t bf_crc32c_table[256];
static int bf_crc32c_hardware;

/* x to the power of 8 * 2^k, modulo the polynomial. */
static uint32_t bf_crc32c_powers[48];

/* The instruction takes three cycles but can begin every cycle, so long inputs go through it as three lanes.  To append
 * one lane to another is to move the first checksum over as many zero bytes as the second has, which is a product; here
 * as a table for each byte of the checksum.  (V. Gopal et al., Fast CRC Computation for iSCSI Polynomial Using CRC32
 * Instruction, Intel 2011.) */
enum { BF_CRC32C_LONG = 8192, BF_CRC32C_SHORT = 256 };
typedef uint32_t bf_crc32c_shift[4][256];
static bf_crc32c_shift bf_crc32c_long, bf_crc32c_short;

static uint32_t bf_crc32c_software(uint32_t crc, const uint8_t *bytes, size_t size) {
    while (size--)
        crc = bf_crc32c_table[(crc ^ *bytes++) & 0xff] ^ (crc >> 8);
    return crc;
}

/* The product of two polynomials modulo that of the checksum; the highest bit is the factor of 1. */
static uint32_t bf_crc32c_multiply(uint32_t one, uint32_t other) {
    uint32_t product = 0;
    for (; one; one <<= 1) {
        product ^= one >> 31 ? other : 0;
        other = other >> 1 ^ (other & 1 ? 0x82f63b78u : 0);
    }
    return product;
}

/* What a checksum is multiplied by when `size` zero bytes follow. */
static uint32_t bf_crc32c_zeros(uint64_t size) {
    uint32_t factor = (uint32_t)1 << 31;
    for (int k = 0; size; k++, size >>= 1)
        if (size & 1)
            factor = bf_crc32c_multiply(factor, bf_crc32c_powers[k]);
    return factor;
}

/* The checksum of bytes that have `first`, followed by `size` bytes that have `second`.  It is the other way round, too:
 * of the second from that of both. */
static inline uint32_t bf_crc32c_combine(uint32_t first, uint32_t second, uint64_t size) {
    return bf_crc32c_multiply(bf_crc32c_zeros(size), first) ^ second;
}

static void bf_crc32c_prepare_shift(bf_crc32c_shift shift, size_t size) {
    uint32_t factor = bf_crc32c_zeros(size);
    for (int place = 0; place < 4; place++)
        for (uint32_t byte = 1; byte < 256; byte++) {
            uint32_t lowest = byte & -byte, rest = byte ^ lowest;
            shift[place][byte] = rest ? shift[place][rest] ^ shift[place][lowest]
                                      : bf_crc32c_multiply(factor, byte << 8 * place);
        }
}

#if defined(__x86_64__)
static inline uint32_t bf_crc32c_over_zeros(bf_crc32c_shift shift, uint64_t crc) {
    return shift[0][crc & 0xff] ^ shift[1][crc >> 8 & 0xff] ^ shift[2][crc >> 16 & 0xff] ^ shift[3][crc >> 24 & 0xff];
}

/* Go over as many threes of lanes as there are; returns how many bytes that was. */
__attribute__((target("sse4.2")))
static size_t bf_crc32c_lanes(uint64_t *crc, const uint8_t *bytes, size_t size, size_t lane, bf_crc32c_shift shift) {
    size_t done = 0;
    for (; size - done >= 3 * lane; done += 3 * lane) {
        const uint8_t *first = bytes + done;
        uint64_t one = *crc, two = 0, three = 0, word;
        for (size_t k = 0; k < lane; k += 8) {
            memcpy(&word, first + k, 8);
            one = __builtin_ia32_crc32di(one, word);
            memcpy(&word, first + lane + k, 8);
            two = __builtin_ia32_crc32di(two, word);
            memcpy(&word, first + 2 * lane + k, 8);
            three = __builtin_ia32_crc32di(three, word);
        }
        *crc = bf_crc32c_over_zeros(shift, bf_crc32c_over_zeros(shift, one) ^ two) ^ three;
    }
    return done;
}

__attribute__((target("sse4.2")))
static uint32_t bf_crc32c_fast(uint32_t crc, const uint8_t *bytes, size_t size) {
    uint64_t wide = crc, word;
    if (size >= 3 * BF_CRC32C_SHORT) {
        size_t done = bf_crc32c_lanes(&wide, bytes, size, BF_CRC32C_LONG, bf_crc32c_long);
        done += bf_crc32c_lanes(&wide, bytes + done, size - done, BF_CRC32C_SHORT, bf_crc32c_short);
        bytes += done;
        size -= done;
    }
    for (; size >= 8; bytes += 8, size -= 8) {
        memcpy(&word, bytes, 8);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = (uint32_t)wide;
    if (size >= 4) {
        uint32_t half;
        memcpy(&half, bytes, 4);
        crc = __builtin_ia32_crc32si(crc, half);
        bytes += 4;
        size -= 4;
    }
    while (size--)
        crc = __builtin_ia32_crc32qi(crc, *bytes++);
    return crc;
}
#endif

/* Call once before the first bf_crc32c. */
static void bf_crc32c_prepare(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0x82f63b78u & (0u - (crc & 1)));
        bf_crc32c_table[byte] = crc;
    }
    bf_crc32c_powers[0] = (uint32_t)1 << 23;
    for (int k = 1; k < 48; k++)
        bf_crc32c_powers[k] = bf_crc32c_multiply(bf_crc32c_powers[k - 1], bf_crc32c_powers[k - 1]);
#if defined(__x86_64__)
    bf_crc32c_hardware = __builtin_cpu_supports("sse4.2") != 0;
    bf_crc32c_prepare_shift(bf_crc32c_long, BF_CRC32C_LONG);
    bf_crc32c_prepare_shift(bf_crc32c_short, BF_CRC32C_SHORT);
#endif
}

/* The checksum of bytes that follow bytes whose checksum is `seed` (0 at the start). */
static uint32_t bf_crc32c(uint32_t seed, const void *bytes, size_t size) {
    uint32_t crc = ~seed;
#if defined(__x86_64__)
    if (bf_crc32c_hardware)
        return ~bf_crc32c_fast(crc, (const uint8_t *)bytes, size);
#endif
    return ~bf_crc32c_software(crc, (const uint8_t *)bytes, size);
}

#endif
