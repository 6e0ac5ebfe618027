"""`python3 -m bits_fonera`."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # OpenSSL's hash functions take 3.5 MB; Python's own do, and python3-light has no others.
    sys.modules["_hashlib"] = None  # type: ignore[assignment]
    from bits_fonera.cli import main

    sys.exit(main(sys.argv[1:]))
