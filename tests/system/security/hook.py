"""Written as ``sitecustomize.py`` into a folder of PYTHONPATH: tells what a process of a run does, as audit events say.

One JSON object to a line, in the file that AUDIT_LOG names: pid, the event, its first argument as text, and the file of
the code that did it.
"""

SOURCE = """
import json, os, sys

_log = os.open(os.environ["AUDIT_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
_watched = set(os.environ["AUDIT_EVENTS"].split())

def _code(argument):
    return argument.co_filename if hasattr(argument, "co_filename") else str(argument)

def _hook(event, arguments):
    if event in _watched:
        caller = sys._getframe(1).f_back
        what = [_code(one) for one in arguments[:2]]
        flags = arguments[2] if event == "open" and len(arguments) > 2 else None
        by = caller.f_code.co_filename if caller else ""
        line = {"pid": os.getpid(), "event": event, "what": what, "flags": flags, "by": by}
        os.write(_log, json.dumps(line).encode() + b"\\n")

_entered = False

def hook(event, arguments):
    global _entered
    if not _entered:
        _entered = True
        try:
            _hook(event, arguments)
        finally:
            _entered = False

sys.addaudithook(hook)
"""
