"""What is told to whoever started the bridge, in one sentence and without a traceback."""


class BridgeError(Exception):
    """The bridge cannot start like this."""
