#!/bin/sh
# Make sure that what pip cannot bring is on the machine: a compiler, Python's headers and venv; for the tests a
# browser, the board's compiler and emulator, and what a VPN is made of. Installs what is missing where it may (root on Debian or Ubuntu), else says what to install.
# Usage: system.sh run|board|test
set -eu

python=${PYTHON:-python3}
missing=""

need() { # need PACKAGE COMMAND...: the package is missing if the command fails
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "bits: '$python' is not Python 3.11 or newer; install python3, or say make PYTHON=/path/to/python3" >&2
    exit 1
fi
version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
need gcc sh -c 'command -v "${CC:-gcc}"'
need libc6-dev sh -c 'echo "#include <stdlib.h>" | "${CC:-gcc}" -E -'
need "$version-venv" "$python" -c 'import ensurepip, venv'
need "$version-dev" "$python" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")'
if [ "${1:-run}" != run ]; then
    need gcc-arm-none-eabi sh -c 'command -v arm-none-eabi-gcc'
    need qemu-system-arm sh -c 'command -v qemu-system-arm'
fi
if [ "${1:-run}" = test ]; then
    need chromium sh -c 'command -v chromium || command -v chromium-browser || command -v google-chrome'
    need iproute2 sh -c 'PATH=$PATH:/sbin:/usr/sbin command -v ip'
    need wireguard-tools sh -c 'command -v wg'
    need wireguard-go sh -c 'command -v wireguard-go'
fi

[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "bits: installing$missing" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086 # one word a package
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "bits: please install:$missing   (on Debian: sudo apt-get install$missing)" >&2
    exit 1
fi
