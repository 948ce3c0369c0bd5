"""The command line: the only room that prints, installs signal handlers or ends the process.

text, streams           what may reach a terminal, and how it gets there whatever is closed
arguments               argv → frozen values; knows no workflow
messages, plans, graph  pure: record, plan, workflow → text
problems                pure: error → JSON
views, layout           pure: what is known of a running step, and what of it fits on a line
progress, live          what a run looks like while it goes on, on a file and on a terminal
courier                 the thread between a run and a display, so that no display can hold a run up
signals                 Ctrl-C, SIGTERM, SIGHUP → a stop request
backend                 the rooms below, imported when used
run, preview, look, verify   the verbs
main                    argv → exit code

Nothing of it is imported by ``import batchflow``.
"""
