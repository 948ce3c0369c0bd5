# What run() returned → bytes, for the one shape that is worth it.

cdef extern from "core/rows.h" nogil:
    bint bf_copy_line(char *to, const char *source, size_t length)

cdef extern from "Python.h":
    bint PyUnicode_CheckExact(object value)
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL


def text_rows(list elements not None):
    """The UTF-8 lines of strings, one for each, or None where an element needs a closer look.

    That is: it is no ``str``, or one with a line break, or one that has no UTF-8.
    """
    cdef Py_ssize_t size = _lines_size(elements)
    if size < 0:
        return None
    cdef bytes rows = PyBytes_FromStringAndSize(NULL, size)
    return rows if _write_lines(elements, PyBytes_AS_STRING(rows)) else None


cdef Py_ssize_t _lines_size(list elements) except -2:
    """The bytes of the strings as lines; -1 if one of them is no ``str``, or has no UTF-8."""
    cdef Py_ssize_t size, total = 0
    for element in elements:
        if not PyUnicode_CheckExact(element):
            return -1
        if PyUnicode_IS_COMPACT_ASCII(element):
            size = PyUnicode_GET_LENGTH(element)
        else:
            try:
                PyUnicode_AsUTF8AndSize(element, &size)
            except UnicodeEncodeError:
                return -1
        total += size + 1
    return total


cdef bint _write_lines(list elements, char *end) except -1:
    """Write what ``_lines_size`` has measured; False where a line break is found in a string."""
    cdef Py_ssize_t size
    cdef const char *text
    for element in elements:
        if PyUnicode_IS_COMPACT_ASCII(element):
            text, size = <const char *>PyUnicode_DATA(element), PyUnicode_GET_LENGTH(element)
        else:
            text = PyUnicode_AsUTF8AndSize(element, &size)  # kept with the string since the first look
        if bf_copy_line(end, text, size):
            return False
        end[size] = b"\n"
        end += size + 1
    return True
