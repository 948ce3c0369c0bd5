# CSV and JSON Lines → where their records begin.  records.h says what a record is, records_scan.h finds them fast,
# records_spans.h with several threads, records_split.h makes pieces of them.

cdef extern from "core/records_split.h" nogil:
    enum:
        BF_GRAIN_MAX
        BF_NOTES_MAX
        BF_SPLIT_PROBLEM
    ctypedef struct bf_dialect:
        uint8_t delimiter, quote, escape
        bint is_json
        int64_t field_size_max
    ctypedef struct bf_findings:
        int64_t notes[64]
        int64_t note_count, problem_offset
        int problem
    ctypedef struct bf_range:
        int64_t begin, end, seen
    ctypedef struct bf_scanner:
        const char *name
        bf_scan_grain *csv
        bf_scan_grain *json
    ctypedef struct bf_scan_grain:
        pass
    ctypedef struct bf_spans:
        int fd, thread_count
        int64_t start, stop, grain_size
        bf_dialect dialect
        bf_scan_grain *scan
    ctypedef struct bf_split:
        bf_spans spans
        int64_t size, rows, record_count, exact_count
        bf_buffer begins, counts
        bf_findings findings
    bf_scanner bf_scanners[4]
    int bf_scanner_count
    void bf_scanners_prepare()
    void bf_dialect_begin(bf_dialect *dialect)
    bf_range bf_find_records(const bf_dialect *dialect, const uint8_t *bytes, int64_t size, int64_t skip,
                             int64_t count, bf_findings *findings)
    int bf_split_begin(bf_split *split)
    int bf_split_advance(bf_split *split)
    void bf_split_end(bf_split *split)
    int bf_line_numbers(int fd, const int64_t *offsets, int64_t *lines, int64_t count)

bf_scanners_prepare()

RECORD_SCANS = tuple([(<bytes>bf_scanners[k].name).decode() for k in range(bf_scanner_count)])
_PROBLEMS = ("", "NUL byte", "unclosed quote", "long field", "escape after quote", "escape at end", "changed")


class RecordSplit(typing.NamedTuple):
    """Where the pieces of a file begin."""

    begins: object
    counts: object
    record_count: int
    exact_by: str
    notes: list
    note_count: int
    problem: object


cdef int _open_dialect(bf_dialect *dialect, int delimiter, int quote, int escape, bint lines,
                       int64_t field_size_max) except -1:
    marks = [mark for mark in (delimiter, quote, escape) if mark != -1]
    if not lines and (len(set(marks)) < len(marks) or not all([0 < mark < 128 and mark not in (10, 13)
                                                                for mark in marks]) or delimiter == -1):
        raise ValueError(f"delimiter={delimiter}, quote={quote} and escape={escape} must be different ASCII characters")
    dialect.delimiter = max(delimiter, 0)
    dialect.quote = max(quote, 0)
    dialect.escape = max(escape, 0)
    dialect.is_json = lines
    dialect.field_size_max = field_size_max
    bf_dialect_begin(dialect)
    return 0


cdef object _integers(bf_buffer *buffer):
    from array import array

    values = array("q")
    values.frombytes(PyBytes_FromStringAndSize(<char *>buffer.bytes, buffer.used))
    return values


cdef tuple _located(int fd, bf_findings *findings):
    """The notes and the problem, if any, each with its line."""
    cdef int64_t lines[65]
    cdef int64_t offsets[65]
    cdef int64_t k, count = min(findings.note_count, BF_NOTES_MAX)
    cdef int error
    # The problem is found last, but may begin before the last notes.
    order = sorted([(findings.notes[k], "bare quote") for k in range(count)]
                   + ([(findings.problem_offset, _PROBLEMS[findings.problem])] if findings.problem else []))
    count = len(order)
    if count == 0:
        return [], None
    for k in range(count):
        offsets[k] = order[k][0]
    with nogil:
        error = bf_line_numbers(fd, offsets, lines, count)
    if error:
        raise OSError(error, os.strerror(error))
    notes, problem = [], None
    for k, (offset, kind) in enumerate(order):
        if kind == "bare quote":
            notes.append((kind, offset, lines[k]))
        else:
            problem = (kind, offset, lines[k])
    return notes, problem


def split_records(int fd, int64_t start, int64_t stop, *, int delimiter, int quote, int escape, bint lines=False,
                  int64_t size=0, int64_t rows=0, int threads=1, int64_t field_size_max, str scan="",
                  int64_t grain=BF_GRAIN_MAX):
    """Where the pieces of the bytes ``start`` to ``stop`` of a file begin; see ``_core.pyi``."""
    cdef bf_split split
    cdef int outcome = 1
    if not 0 <= start <= stop or size < 0 or rows < 0 or (size and rows) or field_size_max < 1:
        raise ValueError(f"not to be split: start={start}, stop={stop}, size={size}, rows={rows}, "
                         f"field_size_max={field_size_max}")
    if grain % 64 or not 64 <= grain <= BF_GRAIN_MAX:
        raise ValueError(f"grain={grain} is no multiple of 64 up to {BF_GRAIN_MAX}")
    number = RECORD_SCANS.index(scan) if scan else 0
    memset(&split, 0, sizeof(split))
    _open_dialect(&split.spans.dialect, delimiter, quote, escape, lines, field_size_max)
    split.spans.fd = fd
    split.spans.start = start
    split.spans.stop = stop
    split.spans.grain_size = grain
    split.spans.thread_count = max(1, threads)
    split.spans.scan = bf_scanners[<int>number].json if lines else bf_scanners[<int>number].csv
    split.size = min(size, <int64_t>1 << 61)
    split.rows = min(rows, <int64_t>1 << 61)
    try:
        with nogil:
            outcome = bf_split_begin(&split)
        outcome = outcome or 1
        while outcome > 0:
            with nogil:
                outcome = bf_split_advance(&split)
            PyErr_CheckSignals()
        if outcome < 0 and outcome != BF_SPLIT_PROBLEM:
            raise OSError(-outcome, os.strerror(-outcome))
        notes, problem = _located(fd, &split.findings)
        return RecordSplit(_integers(&split.begins), _integers(&split.counts), split.record_count,
                           "automaton" if split.exact_count else "parity", notes, split.findings.note_count, problem)
    finally:
        with nogil:
            bf_split_end(&split)


def record_range(const uint8_t[::1] data not None, int64_t skip, int64_t count, *, int delimiter, int quote, int escape,
                 bint lines=False, int64_t field_size_max):
    """Where records ``skip`` to ``skip + count`` of ``data`` are; see ``_core.pyi``."""
    cdef bf_dialect dialect
    cdef bf_findings findings
    cdef bf_range found
    cdef const uint8_t *bytes = &data[0] if data.shape[0] else NULL
    if skip < 0 or count < 0:
        raise ValueError(f"skip={skip} and count={count} are numbers of records")
    _open_dialect(&dialect, delimiter, quote, escape, lines, field_size_max)
    memset(&findings, 0, sizeof(findings))
    with nogil:
        found = bf_find_records(&dialect, bytes, data.shape[0], skip, count, &findings)
    return found.begin, found.end, found.seen, (
        (_PROBLEMS[findings.problem], findings.problem_offset) if findings.problem else None)
