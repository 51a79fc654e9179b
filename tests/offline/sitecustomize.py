"""Refuse every connection to another host; Python imports this file when it starts.

Kernels talk to the notebook server on this machine, so 127.0.0.1 and the like stay open. Programs
that are not Python are not reached; `test_notebooks.py` refuses shell commands in notebooks.
"""

import ipaddress
import socket


class NetworkRefused(OSError):
    """A test tried to reach another host."""


def _check(address):
    host = address[0] if isinstance(address, tuple) else "localhost"  # else a Unix socket's path
    if host not in ("", "localhost"):
        try:
            local = ipaddress.ip_address(host).is_loopback
        except ValueError:
            local = False  # a name that would have to be looked up
        if not local:
            raise NetworkRefused(f"the book's tests run offline, but something called {host!r}")


class OfflineSocket(socket.socket):
    def connect(self, address):
        _check(address)
        return super().connect(address)

    def connect_ex(self, address):
        _check(address)
        return super().connect_ex(address)

    def sendto(self, data, *rest):
        _check(rest[-1])
        return super().sendto(data, *rest)

    def sendmsg(self, *arguments):
        if len(arguments) > 3 and arguments[3] is not None:
            _check(arguments[3])
        return super().sendmsg(*arguments)


def _offline(look_up):
    """A look-up of host names that knows this machine only."""

    def local_only(host, *arguments, **options):
        name = host.decode() if isinstance(host, bytes) else host
        _check((name or "",))
        return look_up(host, *arguments, **options)

    return local_only


socket.socket = OfflineSocket
for _name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
    setattr(socket, _name, _offline(getattr(socket, _name)))
