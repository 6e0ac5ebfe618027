"""What makes a program of Python into a package of OpenWrt: its modules, its start script, its documentation."""

from __future__ import annotations

import ast
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from bits_fonera import __version__
from bits_fonera.config import Config

from tests.conftest import ROOT

PACKAGE = ROOT / "fonera" / "bits_fonera"
OPENWRT = ROOT / "fonera" / "openwrt"
GOOD = {"server": "10.0.0.1", "bridge": "attic", "key": "0123456789abcdef"}

# Modules that OpenWrt has split off from python3-light (openwrt/packages, lang/python/python3/files).
SPLIT = {
    *("asyncio", "cgi", "cgitb", "ctypes", "curses", "dbm", "decimal", "distutils", "doctest", "email", "http"),
    *("lib2to3", "logging", "lzma", "multiprocessing", "pydoc", "readline", "sqlite3", "ssl", "unicodedata"),
    *("unittest", "urllib", "uuid", "webbrowser", "xml", "xmlrpc"),
}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module).partition(".")[0])
    return names


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.name)
def test_python3_light_has_all_it_imports(path: Path) -> None:
    names = imported(path) - {"bits_fonera"}
    assert names <= sys.stdlib_module_names
    assert not names & SPLIT


def test_nothing_it_imports_imports_more() -> None:
    modules = ["cli", "devices"]
    code = f"import sys; sys.modules['_hashlib'] = None; import {', '.join('bits_fonera.' + name for name in modules)}"
    code += "; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": str(ROOT / "fonera")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not set(result.stdout.split()) & SPLIT


def shell(script: str, **settings: str) -> str:
    """Run lines of the start script, with OpenWrt's functions in small."""
    shell = shutil.which("dash") or "sh"
    stubs = """
    config_get() { eval "$1=\\"\\$uci_$3\\""; }
    config_get_bool() { eval "$1=\\"\\${uci_$3:-$4}\\""; }
    """
    result = subprocess.run(
        [shell, "-eu", "-c", f"{stubs}\n. {OPENWRT}/files/bits-fonera.init\n{script}"],
        env={"PATH": os.environ["PATH"]} | {f"uci_{key}": "" for key in Config(GOOD).keys} | settings,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not result.stderr
    return result.stdout


def test_the_start_script_writes_a_good_configuration() -> None:
    values: dict[str, Any] = GOOD | {
        "http": "10.0.0.1:8008",
        "spool_size": 65536,
        "set_clock": True,
        "i2c": "/dev/i2c-0",
    }
    uci = {f"uci_{key}": str(int(value) if isinstance(value, bool) else value) for key, value in values.items()}
    written = tomllib.loads(shell("write_config", **uci))
    assert written == values
    Config(written)


def test_keys_of_any_characters() -> None:
    key = """a"b\\c'd $x `ls` #é%s\\n"""
    assert tomllib.loads(shell("write_config", uci_key=key)) == {"key": key}


def test_the_start_script_knows_every_key() -> None:
    names = shell("echo $TEXTS $NUMBERS $FLAGS").split()
    assert sorted([*names, "syslog"]) == sorted(Config(GOOD).keys)


def test_every_key_is_documented_with_its_default() -> None:
    page = (ROOT / "docs" / "fonera.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z0-9_]+)` \| ([^|]*?) ?\|", page, re.M))
    config = Config({"server": "10.0.0.1", "bridge": "attic", "key": GOOD["key"]})
    assert list(rows) == config.keys
    for key, text in rows.items():
        default = text.strip("`")
        if default.isdigit():
            attribute = next(name for name in (key, f"{key}_ms") if hasattr(config, name))
            factor = 1000 if attribute.endswith("_ms") else 1
            assert int(default) * factor == getattr(config, attribute), key
        elif default in ("true", "false"):
            assert getattr(config, key) is (default == "true"), key
        elif default and key not in ("server", "bridge", "key"):
            assert getattr(config, key) == default, key


def test_scripts() -> None:
    for name in ("bits-fonera.init", "bits-fonera.sh"):
        path = OPENWRT / "files" / name
        assert path.stat().st_mode & stat.S_IXUSR
        subprocess.run(["sh", "-n", str(path)], check=True)
    makefile = (OPENWRT / "Makefile").read_text()
    assert f"PKG_VERSION:={__version__}\n" in makefile
    for name in re.findall(r"\./files/(\S+)", makefile):
        assert (OPENWRT / "files" / name).exists()


def test_the_package_is_installed_whole(tmp_path: Path) -> None:
    """Run the package's install step with OpenWrt's rules in small, then the program that it has installed."""
    (tmp_path / "include").mkdir()
    (tmp_path / "rules.mk").write_text(
        f"INCLUDE_DIR:={tmp_path}/include\nINSTALL_DIR:=install -d -m0755\nINSTALL_BIN:=install -m0755\n"
        "INSTALL_DATA:=install -m0644\nINSTALL_CONF:=install -m0600\n"
    )
    (tmp_path / "include" / "package.mk").write_text(
        "define BuildPackage\ninstall:\n\t$$(call Package/$(1)/install,$(DESTINATION))\nendef\n"
    )
    root = tmp_path / "root"
    link = tmp_path / "package"
    link.symlink_to(OPENWRT)
    subprocess.run(
        ["make", "-C", str(link), f"TOPDIR={tmp_path}", f"DESTINATION={root}", "install"],
        check=True,
        capture_output=True,
        env={"PATH": os.environ["PATH"]},
    )
    installed = root / "usr" / "lib" / "bits-fonera"
    assert {path.name for path in (installed / "bits_fonera").iterdir()} == {path.name for path in PACKAGE.glob("*.py")}
    assert (root / "etc" / "config" / "bits-fonera").stat().st_mode & 0o777 == 0o600
    script = (root / "usr" / "bin" / "bits-fonera").read_text().replace("/usr/lib/", f"{root}/usr/lib/")
    assert "exec python3 -S" in script
    result = subprocess.run(
        ["sh", "-c", script, "sh", "--version"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"]},
    )
    assert result.stdout.strip() == __version__
