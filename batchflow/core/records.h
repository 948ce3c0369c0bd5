/* Where the records of CSV and JSON Lines begin: what a record is, and the automaton that is right for every file.
 *
 * CSV is what Python's csv module reads: fields between delimiters, records between line breaks (LF, CR or both), quotes
 * that open at the beginning of a field only, a doubled quote for one of the text, and characters that follow an escape
 * without a meaning of their own.  JSON Lines: records between line feeds.  Blank lines are no records.  So a record
 * begins at the first byte behind a line break, or behind several, that is no line break itself: LF, CRLF and CR need
 * no telling apart, and leading and trailing blank lines no care.
 *
 * A NUL byte is refused wherever it stands; 0 therefore means that nothing quotes, or nothing escapes.
 */
#ifndef BF_RECORDS_H
#define BF_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes that are summarised together; a multiple of 64. */
#define BF_GRAIN_MAX 16384
#define BF_NOTES_MAX 64

typedef enum { BF_OTHER, BF_BREAK, BF_DELIMITER, BF_QUOTE, BF_ESCAPE, BF_BLANK, BF_NUL, BF_BYTE_CLASSES } bf_byte_class;

typedef struct {
    uint8_t class_of[256]; /* bf_byte_class */
    uint8_t delimiter, quote, escape;
    bool is_json;
    int64_t field_size_max; /* of JSON Lines: of a record */
} bf_dialect;

static void bf_dialect_begin(bf_dialect *dialect) {
    memset(dialect->class_of, BF_OTHER, sizeof dialect->class_of);
    dialect->class_of['\n'] = BF_BREAK;
    if (dialect->is_json) {
        dialect->delimiter = '{';
        dialect->quote = dialect->escape = 0;
        dialect->class_of['\r'] = dialect->class_of[' '] = dialect->class_of['\t'] = BF_BLANK;
    } else {
        dialect->class_of['\r'] = BF_BREAK;
        dialect->class_of[dialect->delimiter] = BF_DELIMITER;
        dialect->class_of[dialect->quote] = BF_QUOTE;
        dialect->class_of[dialect->escape] = BF_ESCAPE;
    }
    dialect->class_of[0] = BF_NUL;
}

/* The automaton */

typedef enum {
    BF_AT_RECORD,      /* behind a line break: here a record begins, or a blank line is */
    BF_AT_FIELD,       /* behind a delimiter */
    BF_PLAIN,          /* in a field without quotes, or behind its closing quote and more */
    BF_QUOTED,         /* in quotes */
    BF_QUOTE_SEEN,     /* behind a quote in quotes: the closing one, or the first of two */
    BF_ESCAPED,        /* behind an escape outside quotes */
    BF_QUOTED_ESCAPED, /* behind an escape in quotes */
    BF_STATES
} bf_state;

/* What happens with a byte, beside the next state. */
enum {
    BF_BEGINS_RECORD = 0x10,
    BF_ENDS_FIELD = 0x20,
    BF_BARE_QUOTE = 0x40, /* a quote that does not quote, in a field that began without */
    BF_REFUSES = 0x80,
    BF_STATE_BITS = 0x0f,
};

/* Behind a closing quote Python reads an escape as itself, and Arrow as an escape: such a file is refused. */
static const uint8_t bf_csv_steps[BF_STATES][BF_BYTE_CLASSES] = {
    [BF_AT_RECORD] = {[BF_OTHER] = BF_PLAIN | BF_BEGINS_RECORD, [BF_BREAK] = BF_AT_RECORD,
                      [BF_DELIMITER] = BF_AT_FIELD | BF_BEGINS_RECORD | BF_ENDS_FIELD,
                      [BF_QUOTE] = BF_QUOTED | BF_BEGINS_RECORD, [BF_ESCAPE] = BF_ESCAPED | BF_BEGINS_RECORD,
                      [BF_NUL] = BF_REFUSES},
    [BF_AT_FIELD] = {[BF_OTHER] = BF_PLAIN, [BF_BREAK] = BF_AT_RECORD | BF_ENDS_FIELD,
                     [BF_DELIMITER] = BF_AT_FIELD | BF_ENDS_FIELD, [BF_QUOTE] = BF_QUOTED, [BF_ESCAPE] = BF_ESCAPED,
                     [BF_NUL] = BF_REFUSES},
    [BF_PLAIN] = {[BF_OTHER] = BF_PLAIN, [BF_BREAK] = BF_AT_RECORD | BF_ENDS_FIELD,
                  [BF_DELIMITER] = BF_AT_FIELD | BF_ENDS_FIELD, [BF_QUOTE] = BF_PLAIN | BF_BARE_QUOTE,
                  [BF_ESCAPE] = BF_ESCAPED, [BF_NUL] = BF_REFUSES},
    [BF_QUOTED] = {[BF_OTHER] = BF_QUOTED, [BF_BREAK] = BF_QUOTED, [BF_DELIMITER] = BF_QUOTED,
                   [BF_QUOTE] = BF_QUOTE_SEEN, [BF_ESCAPE] = BF_QUOTED_ESCAPED, [BF_NUL] = BF_REFUSES},
    [BF_QUOTE_SEEN] = {[BF_OTHER] = BF_PLAIN, [BF_BREAK] = BF_AT_RECORD | BF_ENDS_FIELD,
                       [BF_DELIMITER] = BF_AT_FIELD | BF_ENDS_FIELD, [BF_QUOTE] = BF_QUOTED, [BF_ESCAPE] = BF_REFUSES,
                       [BF_NUL] = BF_REFUSES},
    [BF_ESCAPED] = {[BF_OTHER] = BF_PLAIN, [BF_BREAK] = BF_PLAIN, [BF_DELIMITER] = BF_PLAIN, [BF_QUOTE] = BF_PLAIN,
                    [BF_ESCAPE] = BF_PLAIN, [BF_NUL] = BF_REFUSES},
    [BF_QUOTED_ESCAPED] = {[BF_OTHER] = BF_QUOTED, [BF_BREAK] = BF_QUOTED, [BF_DELIMITER] = BF_QUOTED,
                           [BF_QUOTE] = BF_QUOTED, [BF_ESCAPE] = BF_QUOTED, [BF_NUL] = BF_REFUSES},
};

static const uint8_t bf_json_steps[BF_STATES][BF_BYTE_CLASSES] = {
    [BF_AT_RECORD] = {[BF_OTHER] = BF_PLAIN | BF_BEGINS_RECORD, [BF_BREAK] = BF_AT_RECORD, [BF_BLANK] = BF_AT_RECORD,
                      [BF_NUL] = BF_REFUSES},
    [BF_PLAIN] = {[BF_OTHER] = BF_PLAIN, [BF_BREAK] = BF_AT_RECORD | BF_ENDS_FIELD, [BF_BLANK] = BF_PLAIN,
                  [BF_NUL] = BF_REFUSES},
};

/* Why a file cannot be split. */
typedef enum { BF_NO_PROBLEM, BF_NUL_BYTE, BF_UNCLOSED_QUOTE, BF_LONG_FIELD, BF_ESCAPE_AFTER_QUOTE, BF_ESCAPE_AT_END,
               BF_CHANGED } bf_problem;

typedef struct {
    int64_t notes[BF_NOTES_MAX]; /* offsets of bare quotes, the first ones */
    int64_t note_count;
    bf_problem problem;
    int64_t problem_offset;
} bf_findings;

/* Where the automaton stands. */
typedef struct {
    bf_state state;
    int64_t field_begin; /* its first byte, or one later if the automaton began in the middle of it */
} bf_reader;

static inline void bf_find_problem(bf_findings *findings, bf_problem problem, int64_t offset) {
    if (findings->problem == BF_NO_PROBLEM) {
        findings->problem = problem;
        findings->problem_offset = offset;
    }
}

/* The state behind the byte `previous`, if every quote so far opened a field, closed one or was doubled: then the number
 * of quotes says whether it is in quotes, and what is open there is told by one byte. */
static inline bf_state bf_state_by_parity(const bf_dialect *dialect, bool is_inside, uint8_t previous) {
    if (is_inside)
        return BF_QUOTED;
    switch (dialect->class_of[previous]) {
    case BF_BREAK:
        return BF_AT_RECORD;
    case BF_DELIMITER:
        return BF_AT_FIELD;
    case BF_QUOTE:
        return BF_QUOTE_SEEN;
    default:
        return BF_PLAIN;
    }
}

#endif
