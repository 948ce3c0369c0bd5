"""Start the zygote in a fresh interpreter, under a guard: ``python boot.py LIFELINE DESCRIPTOR...``.

It runs as a script, so that it can import the very package that its parent runs, by its place on disk: neither a folder
``batchflow`` nor a ``json.py`` in the current folder is ever imported.  Until that is settled it imports nothing that
Python has not imported itself.

This process stays behind as the guard, its copy goes on as the zygote.  What the guard needs the zygote needs as well,
so it is imported before the fork, and a guard costs next to nothing.
"""

import gc
import sys


def boot() -> None:
    """Make this file's package importable as ``batchflow``, fork, and run the zygote on the inherited descriptors."""
    here = __file__.rpartition("/")[0]
    gc.disable()  # until the user's code is loaded: nothing of ours is garbage
    if sys.path and sys.path[0] == here:  # the script's own folder, put there by Python
        del sys.path[0]
    from importlib.util import module_from_spec, spec_from_file_location

    package = here.rpartition("/")[0]
    spec = spec_from_file_location("batchflow", f"{package}/__init__.py", submodule_search_locations=[package])
    if spec is None or spec.loader is None:
        raise SystemExit(f"batchflow is not where it was: {package}")
    module = module_from_spec(spec)
    sys.modules["batchflow"] = module
    spec.loader.exec_module(module)
    from batchflow.worker import dumps, guard

    dumps.leave_none()
    lifeline, *others = map(int, sys.argv[1:])
    guard.stay_behind(lifeline, [descriptor for descriptor in others if descriptor >= 0])
    from batchflow.worker import zygote

    zygote.main(lifeline, *others)


if __name__ == "__main__":
    boot()
