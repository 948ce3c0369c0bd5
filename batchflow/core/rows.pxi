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
    cdef Py_ssize_t size, total = 0
    for element in elements:
        if not PyUnicode_CheckExact(element):
            return None
        if PyUnicode_IS_COMPACT_ASCII(element):
            size = PyUnicode_GET_LENGTH(element)
        else:
            try:
                PyUnicode_AsUTF8AndSize(element, &size)
            except UnicodeEncodeError:
                return None
        total += size + 1
    cdef bytes rows = PyBytes_FromStringAndSize(NULL, total)
    cdef char *end = PyBytes_AS_STRING(rows)
    cdef const char *text
    for element in elements:
        if PyUnicode_IS_COMPACT_ASCII(element):
            text, size = <const char *>PyUnicode_DATA(element), PyUnicode_GET_LENGTH(element)
        else:
            text = PyUnicode_AsUTF8AndSize(element, &size)  # kept with the string since the first look
        if bf_copy_line(end, text, size):
            return None
        end[size] = b"\n"
        end += size + 1
    return rows
