# Columns of a DataFrame or an Arrow table → the rows of a csv file.  What the columns are made of: format.h, decimal.h.

cdef extern from "core/decimal.h" nogil:
    ctypedef struct bf_power:
        uint64_t high, low
    int BF_POWER_MIN
    int BF_POWER_MAX
    bf_power bf_powers[]
    void bf_prepare_pairs()

cdef extern from "core/format.h" nogil:
    enum:
        BF_SIGNED, BF_UNSIGNED, BF_DOUBLE, BF_FLOAT, BF_BOOL, BF_DATE, BF_TEXT32, BF_TEXT64, BF_OBJECTS
    ctypedef struct bf_text:
        const char *bytes
        size_t size
    ctypedef struct bf_field:
        const void *values
        const char *text
        const uint8_t *valid
        uint64_t first
        int64_t scale
        int kind, digits
    size_t bf_row_size_max(const bf_field *fields, size_t count, uint64_t row)
    uint64_t bf_put_rows(const bf_field *fields, size_t count, uint64_t row, uint64_t stop, char delimiter, char **to,
                         const char *limit)

SIGNED = BF_SIGNED
UNSIGNED = BF_UNSIGNED
DOUBLE = BF_DOUBLE
FLOAT = BF_FLOAT
BOOL = BF_BOOL
DATE = BF_DATE
TEXT32 = BF_TEXT32
TEXT64 = BF_TEXT64
OBJECTS = BF_OBJECTS

cdef extern from "Python.h":
    bint PyBool_Check(object value)
    bint PyFloat_CheckExact(object value)
    bint PyLong_CheckExact(object value)

cdef enum:
    _FIELD_SIZE_LIKELY = 10
    _KEPT_SIZE_MAX = 4 << 20

cdef bint _is_prepared = False
cdef bf_buffer _rows  # its memory serves one call after the other: fresh memory costs more than to fill it


cdef _prepare_numbers():
    """The powers of ten, which are wider than a number of C: computed once, at the first use."""
    global _is_prepared
    cdef object k  # as a number of C its power would be a float
    for k in range(BF_POWER_MIN, BF_POWER_MAX + 1):
        ten = 10 ** abs(k)
        size = ten.bit_length()
        if k < 0:
            wide = -(-(1 << (size + 127)) // ten)
        else:
            wide = ten << (128 - size) if size <= 128 else -(-ten >> (size - 128))
        bf_powers[k - BF_POWER_MIN].high = wide >> 64
        bf_powers[k - BF_POWER_MIN].low = wide & 0xffffffffffffffff
    bf_prepare_pairs()
    _is_prepared = True


class Column(typing.NamedTuple):
    """One value for each row; see ``_core.pyi``."""

    kind: int
    values: object
    text: object = None
    valid: object = None
    first: int = 0
    scale: int = 0
    digits: int = 0


cdef class _Fields:
    """Columns as the C code reads them, and all that must stay alive meanwhile."""

    cdef bf_field *fields
    cdef Py_buffer *views
    cdef Py_ssize_t count, view_count
    cdef list kept

    def __cinit__(self, Py_ssize_t count_max):
        self.kept = []
        self.fields = <bf_field *>PyMem_Calloc(count_max + 1, sizeof(bf_field))
        self.views = <Py_buffer *>PyMem_Calloc(3 * count_max + 1, sizeof(Py_buffer))
        if self.fields == NULL or self.views == NULL:
            raise MemoryError("no memory for columns")

    def __dealloc__(self):
        for k in range(self.view_count):
            PyBuffer_Release(&self.views[k])
        PyMem_Free(self.views)
        PyMem_Free(self.fields)

    cdef bint add(self, column, Py_ssize_t row_count) except -1:
        """False where an object needs a closer look."""
        cdef bf_field *field = &self.fields[self.count]
        field.kind, values, text, valid, field.first, field.scale, field.digits = column
        if field.kind == BF_OBJECTS:
            if len(values) != row_count:
                raise ValueError(f"a column has {len(values)} objects, expected {row_count}")
            field.values = self.take_objects(values)
            if field.values == NULL:
                return False
        else:
            stop = field.first + row_count
            width = 1 if field.kind == BF_BOOL else 4 if field.kind in (BF_FLOAT, BF_TEXT32) else 8
            field.values = self.address(values, width * (stop + (field.kind in (BF_TEXT32, BF_TEXT64))))
            if text is not None:
                field.text = <const char *>self.address(text, 0)
            if valid is not None:
                field.valid = <const uint8_t *>self.address(valid, (stop + 7) // 8)
        self.count += 1
        return True

    cdef const void *address(self, values, Py_ssize_t size) except? NULL:
        """Of a buffer of at least ``size`` bytes."""
        cdef Py_buffer *view = &self.views[self.view_count]
        PyObject_GetBuffer(values, view, PyBUF_SIMPLE)
        self.view_count += 1
        if view.len < size:
            raise ValueError(f"a column has {view.len} bytes, expected {size}")
        return view.buf

    cdef const void *take_objects(self, list values) except? NULL:
        """The UTF-8 text of each; NULL where one is neither of text, number, bool and None, nor has UTF-8."""
        cdef bytes room = PyBytes_FromStringAndSize(NULL, len(values) * sizeof(bf_text))
        cdef bf_text *text = <bf_text *>PyBytes_AS_STRING(room)
        cdef Py_ssize_t size
        self.kept.append(room)
        self.kept.append(values)
        for value in values:
            if value is None or (PyFloat_CheckExact(value) and value != value):
                text.bytes, text.size = NULL, 0
            else:
                if not PyUnicode_CheckExact(value):
                    if not (PyLong_CheckExact(value) or PyFloat_CheckExact(value) or PyBool_Check(value)):
                        return NULL
                    value = str(value)
                    self.kept.append(value)
                if PyUnicode_IS_COMPACT_ASCII(value):
                    text.bytes, text.size = <const char *>PyUnicode_DATA(value), PyUnicode_GET_LENGTH(value)
                else:
                    try:
                        text.bytes = PyUnicode_AsUTF8AndSize(value, &size)
                    except UnicodeEncodeError:
                        return NULL
                    text.size = size
            text += 1
        return PyBytes_AS_STRING(room)


def format_rows(list columns not None, Py_ssize_t row_count, int delimiter):
    """The rows of ``columns`` as csv, or None where an object needs a closer look; see ``_core.pyi``."""
    cdef _Fields fields = _Fields(len(columns))
    cdef uint64_t row = 0, stop = row_count, room
    cdef char *end
    if not 0 < delimiter < 128:
        raise ValueError(f"expected a delimiter of ASCII, got {delimiter}")
    if not _is_prepared:
        _prepare_numbers()
    for column in columns:
        if not fields.add(column, row_count):
            return None
    _rows.used = 0
    room = row_count * fields.count * _FIELD_SIZE_LIKELY
    try:
        while row < stop:
            room += bf_row_size_max(fields.fields, fields.count, row)
            if bf_reserve(&_rows, room) == NULL:
                raise MemoryError("no memory for rows")
            end = <char *>_rows.bytes + _rows.used
            row = bf_put_rows(fields.fields, fields.count, row, stop, delimiter, &end,
                              <char *>_rows.bytes + _rows.capacity)
            _rows.used = <uint8_t *>end - _rows.bytes
            room = 0
        return PyBytes_FromStringAndSize(<char *>_rows.bytes, _rows.used)
    finally:
        if _rows.capacity > _KEPT_SIZE_MAX:
            bf_buffer_free(&_rows)
