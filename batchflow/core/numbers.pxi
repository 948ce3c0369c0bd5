# Numbers in CSV that are not written in their shortest form; see numbers.h.

cdef extern from "core/numbers.h" nogil:
    bint bf_has_odd_numbers(const uint8_t *bytes, size_t size, uint8_t delimiter, uint8_t quote, const uint8_t *kinds,
                            size_t column_count)


def has_odd_numbers(const uint8_t[::1] data not None, const uint8_t[::1] kinds not None, *, int delimiter, int quote):
    """Whether a number may be in ``data`` that is not in its shortest form; see ``_core.pyi``."""
    cdef bint found
    if not 0 < delimiter < 128 or not -1 <= quote < 128 or quote == 0:
        raise ValueError(f"delimiter={delimiter} and quote={quote} must be ASCII characters")
    if not data.shape[0] or not kinds.shape[0]:
        return False
    with nogil:
        found = bf_has_odd_numbers(&data[0], data.shape[0], delimiter, max(quote, 0), &kinds[0], kinds.shape[0])
    return found
