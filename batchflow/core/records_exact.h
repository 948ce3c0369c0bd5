/* Where the records begin, by the automaton of records.h: right for every file, and slower. */
#ifndef BF_RECORDS_EXACT_H
#define BF_RECORDS_EXACT_H

#include "records_scan.h"

/* What must be looked at: each byte that means something, and the first of several that do not, for the next ones leave
 * the automaton in the state that it gave. */
typedef struct {
    bf_word_marks marks, others; /* `others`: of escapes and NUL */
    uint64_t after_mark;         /* 1 if the byte before means something */
} bf_telling;

static bf_telling bf_telling_of(const bf_dialect *dialect) {
    const bf_dialect others = {.quote = dialect->escape, .delimiter = 0};
    return (bf_telling){bf_word_marks_of(dialect), bf_word_marks_of(&others), 1};
}

/* Which those are of 64 bytes, or of the `size` that are left. */
static inline uint64_t bf_telling_bytes(bf_telling *telling, const bf_dialect *dialect, const uint8_t *bytes,
                                        size_t size) {
    uint64_t valid = size < 64 ? ((uint64_t)1 << size) - 1 : ~(uint64_t)0;
    uint8_t rest[64];
    bf_masks masks, others;
    if (dialect->is_json) /* where blanks have a meaning of their own */
        return valid;
    if (size < 64) {
        memset(rest, bf_neutral(dialect), sizeof rest);
        bytes = memcpy(rest, bytes, size);
    }
    bf_find_in_word(bytes, &telling->marks, &masks);
    bf_find_in_word(bytes, &telling->others, &others);
    uint64_t found = masks.quote | masks.line_break | masks.delimiter | others.quote | others.delimiter;
    uint64_t look = found | found << 1 | telling->after_mark;
    telling->after_mark = found >> 63;
    return look & valid;
}

static inline uint8_t bf_step(const bf_dialect *dialect, bf_state state, uint8_t byte) {
    return (dialect->is_json ? bf_json_steps : bf_csv_steps)[state][dialect->class_of[byte]];
}

/* What a step says beside the next state; false: it is a problem. */
static inline bool bf_heed(const bf_dialect *dialect, bf_reader *reader, uint8_t step, uint8_t byte, int64_t here,
                           bf_findings *findings) {
    if (step & BF_REFUSES) {
        bf_find_problem(findings, byte ? BF_ESCAPE_AFTER_QUOTE : BF_NUL_BYTE, here);
        return false;
    }
    if (step & BF_BEGINS_RECORD)
        reader->field_begin = here;
    if (step & BF_ENDS_FIELD) {
        if (here - reader->field_begin > dialect->field_size_max) {
            bf_find_problem(findings, BF_LONG_FIELD, reader->field_begin);
            return false;
        }
        reader->field_begin = here + 1;
    }
    if (step & BF_BARE_QUOTE) {
        if (findings->note_count < BF_NOTES_MAX)
            findings->notes[findings->note_count] = here;
        findings->note_count++;
    }
    return true;
}

/* Go over the bytes from `offset` of the file on; sets a bit of `starts` for each first byte of a record.  The number
 * of these; ends early at a problem. */
static int64_t bf_read_exactly(const bf_dialect *dialect, bf_reader *reader, const uint8_t *bytes, size_t size,
                               int64_t offset, uint64_t *starts, bf_findings *findings) {
    bf_telling telling = bf_telling_of(dialect);
    bf_reader here = *reader;
    int64_t count = 0;
    bool goes_on = true;
    memset(starts, 0, (size + 63) / 64 * sizeof *starts);
    for (size_t word = 0; word < size && goes_on; word += 64) {
        uint64_t look = bf_telling_bytes(&telling, dialect, bytes + word, size - word);
        for (; look && goes_on; look &= look - 1) {
            size_t i = word + (size_t)__builtin_ctzll(look);
            uint8_t step = bf_step(dialect, here.state, bytes[i]);
            here.state = step & BF_STATE_BITS;
            if (step < BF_BEGINS_RECORD)
                continue;
            if (step & BF_BEGINS_RECORD) {
                starts[i / 64] |= (uint64_t)1 << i % 64;
                count++;
            }
            goes_on = bf_heed(dialect, &here, step, bytes[i], offset + (int64_t)i, findings);
        }
    }
    *reader = here;
    return count;
}

/* The file ends here. */
static void bf_read_end(const bf_dialect *dialect, const bf_reader *reader, int64_t end, bf_findings *findings) {
    if (reader->state == BF_QUOTED || reader->state == BF_QUOTED_ESCAPED)
        bf_find_problem(findings, BF_UNCLOSED_QUOTE, reader->field_begin);
    else if (reader->state == BF_ESCAPED)
        bf_find_problem(findings, BF_ESCAPE_AT_END, end - 1);
    else if (reader->state != BF_AT_RECORD && end - reader->field_begin > dialect->field_size_max)
        bf_find_problem(findings, BF_LONG_FIELD, reader->field_begin);
}

/* Records `skip` to `skip + count` of bytes that begin with one. */
typedef struct {
    int64_t begin, end; /* where the first of them begins, and the first behind them; the size where there is none */
    int64_t seen;       /* records that begin up to there, the one behind them included */
} bf_range;

static bf_range bf_find_records(const bf_dialect *dialect, const uint8_t *bytes, int64_t size, int64_t skip,
                                int64_t count, bf_findings *findings) {
    bf_range range = {.begin = size, .end = size};
    bf_reader reader = {BF_AT_RECORD, 0};
    uint64_t starts[BF_GRAIN_MAX / 64];
    for (int64_t from = 0; from < size && !findings->problem; from += BF_GRAIN_MAX) {
        int64_t step = size - from < BF_GRAIN_MAX ? size - from : BF_GRAIN_MAX;
        bf_read_exactly(dialect, &reader, bytes + from, (size_t)step, from, starts, findings);
        for (int64_t word = 0; word < (step + 63) / 64; word++) {
            for (uint64_t bits = starts[word]; bits; bits &= bits - 1) {
                int64_t offset = from + 64 * word + __builtin_ctzll(bits), record = range.seen++;
                if (record == skip)
                    range.begin = offset;
                if (record == skip + count) {
                    range.end = offset;
                    findings->problem = BF_NO_PROBLEM; /* it is behind the end */
                    return range;
                }
            }
        }
    }
    bf_read_end(dialect, &reader, size, findings);
    return range;
}

#endif
