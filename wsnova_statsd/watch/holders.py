"""Who holds a socket of this machine, and what it has lost, as Linux tells in /proc; elsewhere nobody knows.

Only reads files. Any thread.
"""

from __future__ import annotations

import glob
import ipaddress
import os
import struct
from collections.abc import Iterator

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_UNCONNECTED = "07"  # the state of a UDP socket that takes datagrams from anybody; <net/tcp_states.h>, TCP_CLOSE


def udp_holder(target: _Address, port: int) -> str | None:
    """Who takes datagrams for this local address and port, in a sentence; None if that cannot be known."""
    for fields in (*_table("/proc/net/udp"), *_table("/proc/net/udp6")):
        place, _, hex_port = fields[1].partition(":")
        bound = _address(place)
        alike = bound == target or bound.is_unspecified or target.is_unspecified
        if fields[3] != _UNCONNECTED or int(hex_port, 16) != port or not alike:
            continue
        dropped = int(fields[12])
        lost = f", and has lost {dropped} datagrams: it reads too slowly" if dropped else ""
        return f"{_process(fields[9]) or f'a process of user {fields[7]}'} holds {bound} port {port}{lost}"
    return None


def dropped_by_kernel(inode: int) -> int | None:
    """Datagrams for the UDP socket of this inode that found its buffer full; None if that cannot be known."""
    for fields in (*_table("/proc/net/udp"), *_table("/proc/net/udp6")):
        if fields[9] == str(inode):
            return int(fields[12])
    return None


def unix_holder(path: str) -> str | None:
    """Who holds the Unix socket of this path, in a sentence; None if that cannot be known."""
    for fields in _table("/proc/net/unix"):
        if len(fields) > 7 and fields[7] == path:
            process = _process(fields[6])
            return f"{process} holds it" if process else None
    return None


def _table(path: str) -> Iterator[list[str]]:
    """The lines below the heading; the eighth column of /proc/net/unix is a path, which may hold spaces."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as table:
            lines = table.read().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        yield line.split(None, 7) if path.endswith("unix") else line.split()


def _address(text: str) -> _Address:
    """Words of 32 bits in hexadecimal, each in the machine's own byte order."""
    words = (int(text[start : start + 8], 16) for start in range(0, len(text), 8))
    address = ipaddress.ip_address(b"".join(struct.pack("=I", word) for word in words))
    return getattr(address, "ipv4_mapped", None) or address


def _process(inode: str) -> str | None:
    """The first process that has this socket open, among those whose descriptors may be seen."""
    wanted = f"socket:[{inode}]"
    for folder in glob.glob("/proc/[0-9]*"):
        if any(_link(link) == wanted for link in glob.glob(f"{folder}/fd/*")):
            try:
                with open(f"{folder}/comm", encoding="utf-8", errors="replace") as comm:
                    return f"pid {os.path.basename(folder)} ({comm.read().strip()})"
            except OSError:
                return None
    return None


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:  # closed meanwhile
        return ""
