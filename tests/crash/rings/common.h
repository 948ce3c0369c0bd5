/* What the ring's tormentors share: random numbers, mappings, what a worker answers, and how a violation is told. */
#ifndef RINGS_COMMON_H
#define RINGS_COMMON_H

#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>

#include "core/channel.h"
#include "core/port.h"

#define PAGE 4096u
#define SHOWN_MAX 20

static uint64_t random_state;
static uint64_t violations;
static uint64_t life;
static char replay[100];

static uint64_t mix(uint64_t value) {
    value += 0x9e3779b97f4a7c15u;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}

static uint64_t draw(void) {
    return mix(random_state += 0x9e3779b97f4a7c15u);
}

static uint64_t below(uint64_t limit) {
    return draw() % limit;
}

__attribute__((format(printf, 1, 2)))
static void violated(const char *format, ...) {
    violations += 1;
    if (violations > SHOWN_MAX)
        return;
    va_list values;
    va_start(values, format);
    fprintf(stderr, "VIOLATION life=%llu: ", (unsigned long long)life);
    vfprintf(stderr, format, values);
    fprintf(stderr, "; replay: %s\n", replay);
    va_end(values);
}

static void *share(uint64_t size) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("mmap");
        exit(3);
    }
    return memory;
}

/* What the worker answers to a request: a function of the life and the index alone. */
typedef struct {
    uint64_t seed, frame, effort; /* the longest run(), in rounds of a loop */
    int shape, has_columns, has_parts;
} script;

static int fails(const script *told, uint64_t index) {
    return mix(told->seed ^ index * 3) % 7 == 0;
}

static int is_part(const script *told, uint64_t index) {
    return told->has_parts && mix(told->seed ^ index * 5) % 11 == 0;
}

static uint32_t attempt_of(const script *told, uint64_t index) {
    return 1 + (uint32_t)(mix(told->seed ^ index * 7) % 3);
}

static uint64_t items_of(const script *told, uint64_t index) {
    return 1 + mix(told->seed ^ index * 9) % 4;
}

static uint64_t columns_of(const script *told, uint64_t index) {
    return told->has_columns && !fails(told, index) ? 8 : 0;
}

static uint64_t size_of(const script *told, uint64_t index) {
    uint64_t noise = mix(told->seed + index), size;
    switch (told->shape) {
    case 0:
        size = noise % 40;
        break;
    case 1:
        size = noise % 700;
        break;
    case 2:
        size = noise % 3 ? noise % 100 : noise % (told->frame * 3 + 100);
        break;
    default: /* around the edges of frames */
        size = told->frame * (noise % 4) + noise / 4 % 3;
        size -= size ? noise / 16 % 2 : 0;
    }
    return size + columns_of(told, index);
}

static void fill(const script *told, uint64_t index, uint8_t *bytes) {
    uint64_t size = size_of(told, index), columns = columns_of(told, index), noise = mix(told->seed * 31 + index);
    memcpy(bytes, "columns\n", columns);
    for (uint64_t k = columns; k < size; k += 8, noise = noise * 6364136223846793005u + 1442695040888963407u)
        memcpy(bytes + k, &noise, size - k < 8 ? size - k : 8);
}

static void clear_notes(bf_buffer *notes) {
    for (uint64_t k = 0; k < notes->used / sizeof(bf_note); k++)
        free(((bf_note *)notes->bytes)[k].bytes);
    notes->used = 0;
}

#endif
