"""The product with known bugs in its protocol, in copies of its own: what each layer of the machine makes of them.

A state space that cannot hold a bug finds nothing; this shows that it can.  ``bugs.py`` has the bugs as replacements of
text, ``__main__.py`` plays the same sample of states on each of them and prints a table.
"""
