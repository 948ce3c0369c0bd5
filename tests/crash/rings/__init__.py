"""The rings under the worst that can happen to them: death at any instant, wild and forged bytes, sleep.

```
common.h    what the programs share
kills.c     SIGKILL at random instants of a process that publishes; the driver's side checks what it finds
fuzz.c      wild and forged bytes in the mapping; nothing false may be believed, nothing outside it touched
wakes.c     two processes that sleep whenever they may, or two threads; no wake-up is lost, nothing races
memory.c    every allocation fails once
coverage.py which lines of the rings are reached
ports.py    the same deaths through ``Channel``, ``Port`` and ``Gather``, as the product uses them
programs.py builds and runs the programs against the core's headers, or against a mutant's
```

The programs include the headers of the core: what is killed is what runs in a worker.

    python -m tests.crash.rings --kills 20000 --seed 1        one line of JSON; exit 1 if anything was violated
"""
