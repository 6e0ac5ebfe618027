"""Listening sockets, opened before anything else so that a failure is one clear sentence."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

from bits.errors import BitsError


def endpoint(host: str, port: int) -> str:
    """Return the two as people write them: 127.0.0.1:8888 or [::1]:8888. The host may come in brackets already."""
    host = host.strip("[]")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def tcp(host: str, port: int, *, backlog: int, key: str, shared: bool = False) -> socket.socket:
    """Listen on a TCP address.

    Args:
        port: 0: any free one.
        shared: others of ours listen there too, and the kernel deals the connections out.
        key: the setting to name in an error.
    Raises:
        BitsError: the address is taken, not ours, or not an address.
    """
    shown = endpoint(host, port)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError):
        raise BitsError(f"cannot listen on {shown}: no such host ({key})") from None
    try:
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
            listener.listen(backlog)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        causes = {
            errno.EADDRINUSE: "another program listens there: stop it, or choose another",
            errno.EACCES: "this needs privileges: choose a port above 1023",
            errno.EAFNOSUPPORT: "this machine has no addresses of that kind: choose another",
            errno.EADDRNOTAVAIL: "this machine has no such address: choose another",
        }
        cause = causes.get(error.errno or 0, str(error.strerror))
        raise BitsError(f"cannot listen on {shown}: {cause} ({key})") from None
    listener.setblocking(False)
    return listener


def unix(path: Path, *, uid: int | None, gid: int | None, mode: int, backlog: int, key: str) -> socket.socket:
    """Listen on a unix socket, in place of one that a dead server left behind.

    Raises:
        BitsError: a live server listens there, something else is there, or it may not be made.
    """
    try:
        if path.is_symlink() or path.exists():
            if not stat.S_ISSOCK(path.lstat().st_mode):
                raise BitsError(f"cannot listen on {path}: there is a file that is not a socket ({key})")
            if _is_answered(path):
                raise BitsError(f"cannot listen on {path}: another program listens there ({key})")
            path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Closed to everybody until owner and mode are what they should be.
            before = os.umask(0o777)
            try:
                listener.bind(str(path))
            finally:
                os.umask(before)
            try:
                os.chown(path, -1 if uid is None else uid, -1 if gid is None else gid)
                path.chmod(mode)
                listener.listen(backlog)
            except OSError:
                path.unlink()  # closed to everybody, it would stand in the way of the next start
                raise
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise BitsError(f"cannot listen on {path}: {error.strerror or error} ({key})") from None
    listener.setblocking(False)
    return listener


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # where the queue of a live server is full, connect would wait for as long as it is
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return True
        except (ConnectionRefusedError, FileNotFoundError):
            return False
    return True


def address(listener: socket.socket) -> str:
    """Return where a socket listens: 127.0.0.1:8888, [::1]:8888 or unix:/run/bits.sock."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{name}"
    return endpoint(name[0], name[1])
