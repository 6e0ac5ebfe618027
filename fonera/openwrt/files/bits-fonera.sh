#!/bin/sh
# -S: no site packages, a megabyte less. -B: writes no compiled files to flash.
PYTHONPATH=/usr/lib/bits-fonera exec python3 -S -B -m bits_fonera "$@"
