"""The load tester: many push clients, what they got and when. `bits load` on the command line; docs/load.md."""

from bits.load.options import Options
from bits.load.report import Result
from bits.load.run import run

__all__ = ["Options", "Result", "run"]
