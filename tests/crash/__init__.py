"""The machine that tries to break the promise: exactly one result or one named failure, whatever crashes.

```
shim/        a C library that stands between a process and its file operations: counts, kills, fails, logs
control.py   the shim from Python
workloads.py what is run          played.py  the workers, played       product.py  the product as a command
lab.py       one folder, one forked run after another
disk.py      from a log of operations to every disk that a power loss can leave
checker.py   the oracle: reads public files only, imports nothing of batchflow
explore.py   L1 a kill at every operation, L2 every operation failing
power.py     L3 power loss, and L3b that exit 0 means durable
mutants/     the product with known bugs in it: which layer catches which
```
"""
