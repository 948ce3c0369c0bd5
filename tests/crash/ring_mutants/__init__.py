"""The rings with known bugs in them, as patches: each says what it breaks, in its first line.

python -m tests.crash.ring_mutants [NAME …]        the table mutant × check; exit 1 if one was caught by nothing
"""
