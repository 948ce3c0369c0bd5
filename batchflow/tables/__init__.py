"""Tables: what they are, where their records begin, and reading them.

options     what a dataset declares about its tables
dialects    what that means to the core and to Python's csv
text_files  a file of text, opened; what cannot be split is refused
header      its first record: the names of its columns
splitting   where its pieces begin, and records inside a piece
verifying   whether the pieces give the rows of the whole file
problems    what is said about a file that is not split, or split with a warning

schema      one for all files of a dataset: names and types of its columns, as plain values
scout       finds it, and the pieces of compressed and columnar files (scout_text, scout_columnar)
evidence    what has been seen of a column, and the type that follows (json_evidence)
reading     part of a piece → a frame (text_reading, csv_parser, json_parser, columnar, frames)
culprits    which record, column and value cannot be read (places)
compressed  text files that end in .gz or .zst

shuffle     all rows with equal keys side by side, in bounded memory (runs, row_keys)
partition_reader  the rows of one key, from what shuffle has written

Knows no workers, plans or journals.  The driver finds where records begin and never parses a value; values are read by
workers and by the scout, a process of its own.
"""
