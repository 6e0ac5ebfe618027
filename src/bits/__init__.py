"""BITS: tells people, live, whether a space is open, how warm it is and who left a message."""

__version__ = "0.1.0"
