"""Refuse every connection to another host; Python imports this file when it starts.

Kernels talk to the notebook server on this machine, so 127.0.0.1 and the like stay open.
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


_getaddrinfo = socket.getaddrinfo


def _offline_getaddrinfo(host, *arguments, **options):
    name = host.decode() if isinstance(host, bytes) else host
    _check((name or "",))
    return _getaddrinfo(host, *arguments, **options)


socket.socket = OfflineSocket
socket.getaddrinfo = _offline_getaddrinfo
