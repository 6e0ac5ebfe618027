"""Errors that are meant for the person at the terminal."""


class BitsError(Exception):
    """One clear sentence: what is wrong, and what to change. Printed without a traceback."""
