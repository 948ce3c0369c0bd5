# cython: language_level=3
"""The compiled core.  This is its front page; the rooms are in ``batchflow/core/``.

    listing.pxi   walk.h       files → packed listing in shared memory, paths of a range of items
    ring.pxi      ring.h       one SPSC ring pair and flight recorder for each worker, in one memfd
    gather.pxi    gather.h     many completions → bytes in input order
    checksum.pxi  crc32c.h     CRC-32C
"""
