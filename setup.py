"""Build the one extension, ``batchflow._core``; everything else is in pyproject.toml.

Switches, as environment variables set to 1:
    DEBUG     assertions in the core, no optimisation, symbols
    SANITIZE  AddressSanitizer and UndefinedBehaviorSanitizer (run with LD_PRELOAD=$(gcc -print-file-name=libasan.so))
    PERTURB   yields around every atomic access, so that rare interleavings become common
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup


def switch(name: str) -> bool:
    return os.environ.get(name, "0") not in ("", "0")


compile_args = ["-std=gnu11", "-Wall", "-Wextra", "-Wno-unused-function", "-Wno-unused-parameter"]
link_args: list[str] = []
macros: list[tuple[str, str | None]] = []
if switch("DEBUG"):
    compile_args += ["-O0", "-g", "-UNDEBUG"]
    macros.append(("BF_DEBUG", "1"))
else:
    compile_args += ["-O3"]
if switch("SANITIZE"):
    compile_args += ["-g", "-fsanitize=address,undefined", "-fno-omit-frame-pointer"]
    link_args += ["-fsanitize=address,undefined"]
if switch("PERTURB"):
    macros.append(("BF_PERTURB", "1"))

core = Extension(
    "batchflow._core",
    ["batchflow/_core.pyx"],
    include_dirs=["batchflow"],
    depends=sorted(str(path) for path in Path("batchflow/core").iterdir()),
    extra_compile_args=compile_args,
    extra_link_args=link_args,
    define_macros=macros,
)

setup(
    ext_modules=cythonize(
        [core],
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "embedsignature": False,
            "freethreading_compatible": True,
        },
        force=any(switch(name) for name in ("DEBUG", "SANITIZE", "PERTURB")),
    )
)
