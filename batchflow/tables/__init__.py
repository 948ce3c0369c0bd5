"""Tables: what they are, where their records begin, and reading them.

options     what a dataset declares about its tables

Knows no workers, plans or journals.  The driver finds where records begin and never parses a value; values are read by
workers and by the scout, a process of its own.
"""
