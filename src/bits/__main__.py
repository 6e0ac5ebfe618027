"""`python -m bits` is `bits`."""

from bits.cli import main

main()
