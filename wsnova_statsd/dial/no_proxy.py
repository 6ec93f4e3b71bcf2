"""NO_PROXY: the hosts that are dialled without the environment's proxy. Pure.

There is no standard for it; this is what curl, Go and Python have in common, plus ports and networks: a name includes
all its subdomains, and `*` is every host.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

_BETWEEN: Final = re.compile(r"[,\s]+")
_IN_BRACKETS: Final = re.compile(r"\[([^\]]*)\](?::([0-9]+))?\Z")
_WITH_PORT: Final = re.compile(r"([^:]*):([0-9]+)\Z")  # an IPv6 address without brackets has more colons


def bypasses(no_proxy: str, host: str, port: int) -> bool:
    """True if an entry of the list names this host, in ASCII, and this port: `example.com`, `.example.com:8443`,
    `192.0.2.7`, `10.0.0.0/8`, `[2001:db8::1]:443` or `*`. Any other entry matches nothing."""
    address = _address(host.partition("%")[0])
    return any(_names(entry, host, port, address) for entry in _BETWEEN.split(no_proxy.lower()) if entry)


def _names(entry: str, host: str, port: int, address: _Address | None) -> bool:
    parts = _IN_BRACKETS.match(entry) or _WITH_PORT.match(entry)
    name, wanted = (parts[1], parts[2]) if parts is not None else (entry, None)
    if wanted is not None and wanted.lstrip("0") != str(port):
        return False
    if name == "*":
        return True
    if address is not None:
        try:
            return address in ipaddress.ip_network(name, strict=False)
        except ValueError:
            return False
    name = name.removeprefix("*").strip(".")
    return bool(name) and f".{host.rstrip('.')}".endswith(f".{name}")


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _address(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
