"""Tables: what they are, where their records begin, and reading them.

options     what a dataset declares about its tables
dialects    what that means to the core and to Python's csv
text_files  a file of text, opened; what cannot be split is refused
header      its first record: the names of its columns
splitting   where its pieces begin, and records inside a piece
verifying   whether the pieces give the rows of the whole file
problems    what is said about a file that is not split, or split with a warning

Knows no workers, plans or journals.  The driver finds where records begin and never parses a value; values are read by
workers and by the scout, a process of its own.
"""
