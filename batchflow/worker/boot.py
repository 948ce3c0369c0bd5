"""Start one of batchflow's child programs in a fresh interpreter: ``python boot.py MODULE ARGUMENT...``.

It runs as a script, so that it can import the very package that its parent runs, by its place on disk: neither a folder
``batchflow`` nor a ``json.py`` in the current folder is ever imported.  Until that is settled it imports nothing that
Python has not imported itself.
"""

import sys


def boot() -> None:
    """Make this file's package importable as ``batchflow``, and run ``main(arguments)`` of the module named."""
    here = __file__.rpartition("/")[0]
    if sys.path and sys.path[0] == here:  # the script's own folder, put there by Python
        del sys.path[0]
    from importlib import import_module
    from importlib.util import module_from_spec, spec_from_file_location

    package = here.rpartition("/")[0]
    spec = spec_from_file_location("batchflow", f"{package}/__init__.py", submodule_search_locations=[package])
    if spec is None or spec.loader is None:
        raise SystemExit(f"batchflow is not where it was: {package}")
    module = module_from_spec(spec)
    sys.modules["batchflow"] = module
    spec.loader.exec_module(module)
    import_module(sys.argv[1]).main(sys.argv[2:])


if __name__ == "__main__":
    boot()
