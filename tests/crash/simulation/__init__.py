"""Thousands of runs of one step that never happened: the product's decisions against a world made of chance.

Real are plan, isolation, mini-batches, feeder, outcomes, gather, supervisor and the books that commit in groups.
Played are pool, workers, rings, clock, disk and journal, all in memory, all from one seed: no process, no file, no
time.

```
case.py     from a seed to what there is to do, what is wrong with it, and what will go wrong meanwhile
workers.py  channels with workers behind them that answer, fail, dawdle, die, answer twice
pool.py     starts and ends them, and brings the news of it, late
disk.py     output and journal in memory; crashes between any two actions, torn writes, full and broken disks
session.py  one run: the driver's loop, in its order
places.py   the invariant: where is every item, now?
run.py      sessions until the step is done, and what must hold then
bugs.py     known bugs, to see that the simulation finds them
```

``python -m tests.crash.simulation --seeds 2000 --start 1`` prints one line of JSON.
"""
