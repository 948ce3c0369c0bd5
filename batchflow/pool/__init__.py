"""Processes, as the driver sees them: a zygote and the workers forked from it."""
