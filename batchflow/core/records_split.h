/* A file → where its pieces begin, and how many records each of them has.
 *
 * The grains of a file have been scanned (records_spans.h).  The walk goes over them in order: it knows whether it is in
 * quotes, and reads a grain again only where a piece begins in it, where it was scanned for the other case, or where
 * parity may lie.  There the automaton decides, and goes on deciding until it stands as parity would have it.
 *
 * The answer depends on the bytes alone: not on threads, spans or grains.
 */
#ifndef BF_RECORDS_SPLIT_H
#define BF_RECORDS_SPLIT_H

#include "append.h"
#include "records_spans.h"

/* A border between two grains, and how the walk stands there. */
typedef struct {
    int64_t offset;
    bool is_inside, is_by_parity;
    bf_reader reader; /* if not by parity */
} bf_place;

typedef struct {
    bf_spans spans;
    int64_t size, rows; /* a piece begins at the first record so many bytes, or records, behind the piece before it */
    bool is_exact;      /* by the automaton alone */

    /* The answer */
    bf_buffer begins, counts; /* int64_t, one of each piece */
    bf_findings findings;
    int64_t record_count, exact_count; /* exact_count: grains that the automaton read */

    bf_place here, last;       /* last: at the last grain in which a record begins */
    int64_t due, first_record; /* where the next piece begins, as an offset or a record's number; the first of this one */
    uint8_t *room; /* for a grain that is read again */
    uint64_t starts[BF_GRAIN_MAX / 64];
} bf_split;

/* What the functions below return: 0, a negative errno, or that there is a problem, which the findings have. */
enum { BF_SPLIT_PROBLEM = -100000 };

static int bf_split_problem(bf_split *split, bf_problem problem, int64_t offset) {
    bf_find_problem(&split->findings, problem, offset);
    return BF_SPLIT_PROBLEM;
}

/* Read the bytes of a grain, and the one before, into split->room. */
static int bf_read_again(bf_split *split, int64_t begin, int64_t end) {
    int64_t got = bf_read_behind(&split->spans, split->room, end - begin, begin);
    if (got < 0)
        return -errno;
    return got < end - begin ? bf_split_problem(split, BF_CHANGED, begin + got) : 0;
}

static bf_reader bf_reader_at(const bf_split *split, const bf_place *place, uint8_t previous) {
    if (!place->is_by_parity)
        return place->reader;
    return (bf_reader){bf_state_by_parity(&split->spans.dialect, place->is_inside, previous), place->offset};
}

/* Let the automaton see what is wrong with the fields from split->last to `to`. */
static int bf_check_fields(bf_split *split, int64_t to) {
    const bf_dialect *dialect = &split->spans.dialect;
    bf_findings findings = {.problem = BF_NO_PROBLEM};
    uint64_t starts[BF_GRAIN_MAX / 64];
    bf_reader reader = split->last.reader;
    for (int64_t end, from = split->last.offset; from < to && !findings.problem; from = end) {
        end = to - from < split->spans.grain_size ? to : from + split->spans.grain_size;
        int outcome = bf_read_again(split, from, end);
        if (outcome)
            return outcome;
        if (from == split->last.offset)
            reader = bf_reader_at(split, &split->last, split->room[-1]);
        bf_read_exactly(dialect, &reader, split->room, (size_t)(end - from), from, starts, &findings);
    }
    if (to == split->spans.stop)
        bf_read_end(dialect, &reader, to, &findings);
    return findings.problem ? bf_split_problem(split, findings.problem, findings.problem_offset) : 0;
}

static int bf_push(bf_buffer *buffer, int64_t value) {
    uint8_t *room = bf_reserve(buffer, sizeof value);
    if (room == NULL)
        return -ENOMEM;
    memcpy(room, &value, sizeof value);
    buffer->used += sizeof value;
    return 0;
}

/* Begin the pieces that are due among the `count` records of one grain, which split->starts has. */
static int bf_cut(bf_split *split, int64_t begin, int64_t end, int64_t count) {
    int64_t record = split->record_count;
    for (int64_t word = 0; word < (end - begin + 63) / 64; word++) {
        for (uint64_t bits = split->starts[word]; bits; bits &= bits - 1, record++) {
            int64_t offset = begin + 64 * word + __builtin_ctzll(bits);
            if ((split->rows ? record : offset) < split->due)
                continue;
            int error = split->begins.used ? bf_push(&split->counts, record - split->first_record) : 0;
            error = error ? error : bf_push(&split->begins, offset);
            if (error)
                return error;
            split->first_record = record;
            split->due = split->rows ? record + split->rows : split->size ? offset + split->size : INT64_MAX;
        }
    }
    return record == split->record_count + count ? 0 : bf_split_problem(split, BF_CHANGED, begin);
}

/* Let the automaton read a grain: the number of records that begin in it, or negative as above. */
static int64_t bf_walk_exactly(bf_split *split, int64_t begin, int64_t end) {
    const bf_dialect *dialect = &split->spans.dialect;
    bf_place *here = &split->here;
    int outcome = bf_read_again(split, begin, end);
    if (outcome)
        return outcome;
    here->reader = bf_reader_at(split, here, split->room[-1]);
    int64_t count = bf_read_exactly(dialect, &here->reader, split->room, (size_t)(end - begin), begin, split->starts,
                                    &split->findings);
    if (split->findings.problem && split->record_count && !split->is_exact) {
        split->findings.problem = BF_NO_PROBLEM; /* there may be one before it */
        return bf_check_fields(split, end);
    }
    if (split->findings.problem)
        return BF_SPLIT_PROBLEM;
    uint8_t last = split->room[end - begin - 1];
    here->is_inside = here->reader.state == BF_QUOTED;
    here->is_by_parity = !split->is_exact && bf_state_by_parity(dialect, here->is_inside, last) == here->reader.state;
    split->exact_count++;
    return count;
}

/* Read a grain again and scan it for the case that is known now; split->starts takes its records. */
static int bf_scan_again(bf_split *split, bool is_inside, int64_t begin, int64_t end, bf_grain *grain) {
    int outcome = bf_read_again(split, begin, end);
    if (outcome == 0)
        *grain = split->spans.scan(&split->spans.dialect, split->room, (size_t)(end - begin), is_inside, split->starts);
    return outcome;
}

static int bf_walk_grain(bf_split *split, bf_grain grain, int64_t begin, int64_t end) {
    bf_place before = split->here, *here = &split->here;
    bool is_other_case = here->is_by_parity && grain.is_inside != here->is_inside;
    int outcome = is_other_case ? bf_scan_again(split, here->is_inside, begin, end, &grain) : 0;
    if (outcome)
        return outcome;
    bool is_exact = !here->is_by_parity || grain.is_doubtful || grain.has_nul;
    int64_t count = is_exact ? bf_walk_exactly(split, begin, end) : (int64_t)grain.starts;
    if (!is_exact)
        here->is_inside = grain.ends_inside;
    here->offset = end;
    if (count <= 0)
        return (int)count;
    if (split->record_count && end - split->last.offset > split->spans.dialect.field_size_max && !split->is_exact)
        outcome = bf_check_fields(split, end);
    split->last = before;
    if (!outcome && (split->rows ? split->record_count + count : end) > split->due) {
        if (!is_exact && !is_other_case)
            outcome = bf_scan_again(split, before.is_inside, begin, end, &grain);
        outcome = outcome ? outcome : bf_cut(split, begin, end, count);
    }
    split->record_count += count;
    return outcome;
}

static int bf_walk_span(bf_split *split, const bf_span *span) {
    if (span->error)
        return -span->error;
    const bf_grain *grain = span->grains;
    for (int64_t end, from = span->begin; from < span->stop; from = end, grain++) {
        end = span->stop - from < split->spans.grain_size ? span->stop : from + split->spans.grain_size;
        int outcome = bf_walk_grain(split, *grain, from, end);
        if (outcome)
            return outcome;
    }
    return span->stop == span->end ? 0 : bf_split_problem(split, BF_CHANGED, span->stop);
}

/* Without spans: grain by grain, some at a time.  1: there is more. */
static int bf_walk_some(bf_split *split) {
    const bf_grain unknown = {.is_doubtful = true};
    for (int k = 0; k < BF_SPAN_GRAINS; k++) {
        int64_t from = split->here.offset, rest = split->spans.stop - from;
        if (rest <= 0)
            return 0;
        int64_t size = rest < split->spans.grain_size ? rest : split->spans.grain_size;
        int outcome = bf_walk_grain(split, unknown, from, from + size);
        if (outcome)
            return outcome;
    }
    return 1;
}

/* From outside: begin, advance while it returns 1, end in any case. */

static int bf_split_begin(bf_split *split) {
    bf_spans *spans = &split->spans;
    split->is_exact = spans->dialect.escape || spans->dialect.field_size_max < 4 * spans->grain_size;
    split->here = (bf_place){.offset = spans->start, .is_by_parity = !split->is_exact,
                             .reader = {BF_AT_RECORD, spans->start}};
    split->room = bf_block_new(BF_GRAIN_MAX);
    if (split->is_exact)
        spans->thread_count = 1;
    int error = bf_spans_begin(spans);
    return split->room == NULL ? -ENOMEM : -error;
}

static int bf_split_finish(bf_split *split) {
    if (split->record_count == 0)
        return 0;
    int outcome = bf_check_fields(split, split->spans.stop);
    return outcome ? outcome : bf_push(&split->counts, split->record_count - split->first_record);
}

static int bf_split_advance(bf_split *split) {
    int outcome;
    if (split->is_exact) {
        outcome = bf_walk_some(split);
    } else {
        const bf_span *span = bf_spans_next(&split->spans);
        outcome = span ? bf_walk_span(split, span) : 0;
        if (span && outcome == 0) {
            bf_spans_leave(&split->spans);
            return 1;
        }
    }
    return outcome ? outcome : bf_split_finish(split);
}

static void bf_split_end(bf_split *split) {
    bf_spans_end(&split->spans);
    bf_block_free(split->room);
    bf_buffer_free(&split->begins);
    bf_buffer_free(&split->counts);
}

/* How many lines end in bytes[from … to), as an editor has it: with LF, CR or both; the end is at the first of the two. */
static int64_t bf_line_ends(const uint8_t *bytes, int64_t from, int64_t to) {
    const bf_dialect breaks = {.quote = '\r', .delimiter = '\n'};
    const bf_word_marks marks = bf_word_marks_of(&breaks);
    uint64_t after_return = bytes[from - 1] == '\r';
    int64_t count = 0, i = from;
    for (; i + 64 <= to; i += 64) {
        bf_masks masks;
        bf_find_in_word(bytes + i, &marks, &masks);
        count += __builtin_popcountll(masks.quote);
        count += __builtin_popcountll(masks.delimiter & ~(masks.quote << 1 | after_return));
        after_return = masks.quote >> 63;
    }
    for (; i < to; i++)
        count += bytes[i] == '\r' || (bytes[i] == '\n' && bytes[i - 1] != '\r');
    return count;
}

/* The numbers, from 1, of the lines that `count` offsets of the file are in, which are in order.  0, or an errno. */
static int bf_line_numbers(int fd, const int64_t *offsets, int64_t *lines, int64_t count) {
    uint8_t *bytes = bf_block_new(BF_BLOCK_SIZE);
    if (bytes == NULL)
        return ENOMEM;
    int64_t at = 0, line = 1, k = 0, got;
    int error = 0;
    bytes[-1] = 0;
    while (k < count) {
        got = bf_read_at(fd, bytes, BF_BLOCK_SIZE, at);
        if (got < 0) {
            error = errno;
            break;
        }
        int64_t done = 0;
        for (; k < count && (offsets[k] < at + got || got < BF_BLOCK_SIZE); k++) {
            int64_t here = offsets[k] < at + got ? offsets[k] - at : got;
            line += bf_line_ends(bytes, done, here);
            lines[k] = line;
            done = here;
        }
        line += bf_line_ends(bytes, done, got);
        bytes[-1] = got ? bytes[got - 1] : 0;
        at += got;
    }
    bf_block_free(bytes);
    return error;
}

#endif
