"""Side by side measurements: batchflow and the ways to do the same with other tools.

    __main__   the command                      cases/   what is measured: setup in the session, run in the peer
    session    rounds, interleaving, checks     peers/   how each tool is used, as its documentation recommends
    load       CPU, memory, foreign load        entry/   the entry scripts that every side runs
    figures    medians, pair ratios, the fit    data     files made for the runs, kept below ``build/benchmarks``
    report     JSON → Markdown table and chart  peer     one peer in its own process: one JSON line

Never a part of the installed package.  A time counts only if the run's result was right.
"""
