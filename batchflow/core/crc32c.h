/* CRC-32C (Castagnoli, RFC 3720 appendix B.4), with the processor's instruction where there is one. */
#ifndef BF_CRC32C_H
#define BF_CRC32C_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static uint32_t bf_crc32c_table[256];
static int bf_crc32c_hardware;

static uint32_t bf_crc32c_software(uint32_t crc, const uint8_t *bytes, size_t size) {
    while (size--)
        crc = bf_crc32c_table[(crc ^ *bytes++) & 0xff] ^ (crc >> 8);
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2")))
static uint32_t bf_crc32c_fast(uint32_t crc, const uint8_t *bytes, size_t size) {
    uint64_t wide = crc;
    while (size >= 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        wide = __builtin_ia32_crc32di(wide, word);
        bytes += 8;
        size -= 8;
    }
    crc = (uint32_t)wide;
    if (size >= 4) {
        uint32_t word;
        memcpy(&word, bytes, 4);
        crc = __builtin_ia32_crc32si(crc, word);
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
#if defined(__x86_64__)
    bf_crc32c_hardware = __builtin_cpu_supports("sse4.2") != 0;
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
