"""The extensions, and the switch between their two builds; all else is in pyproject.toml.

The release build is the default. BITS_TRACE=1 gives the checked build: bounds checks and assertions stay in,
and lines can be traced for coverage. Both must pass the same tests.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

TRACE = os.environ.get("BITS_TRACE") == "1"

MODULES = sorted(path.stem for path in Path("src/bits").glob("_*.pyx"))

extensions = [
    Extension(
        f"bits.{name}",
        [f"src/bits/{name}.pyx"],
        extra_compile_args=["-O0", "-g"] if TRACE else ["-O3"],
        define_macros=[("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1")] if TRACE else [],
        undef_macros=["NDEBUG"] if TRACE else [],
    )
    for name in MODULES
]

setup(
    ext_modules=cythonize(  # type: ignore[no-untyped-call]
        extensions,
        include_path=["src"],
        force=TRACE,
        compiler_directives={
            "language_level": 3,
            "auto_pickle": False,
            "embedsignature": False,
            "linetrace": TRACE,
        },
    )
)
