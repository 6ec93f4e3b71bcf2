"""Which process holds a socket of this machine, and what it has lost: from Linux's /proc; unknown elsewhere.

Only reads files. Any thread.
"""

from __future__ import annotations

import glob
import ipaddress
import os
import struct
from collections.abc import Iterator

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_UNCONNECTED = "07"  # the state of a UDP socket that accepts datagrams from any sender; <net/tcp_states.h>, TCP_CLOSE


def udp_holder(target: _Address, port: int) -> str | None:
    """The process that receives datagrams for this local address and port, in a sentence; None if it is unknown."""
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
    """Datagrams dropped because the buffer of the UDP socket with this inode was full; None if unknown."""
    for fields in (*_table("/proc/net/udp"), *_table("/proc/net/udp6")):
        if fields[9] == str(inode):
            return int(fields[12])
    return None


def unix_holder(path: str) -> str | None:
    """The process that holds the Unix socket at this path, in a sentence; None if it is unknown."""
    for fields in _table("/proc/net/unix"):
        if len(fields) > 7 and fields[7] == path:
            process = _process(fields[6])
            return f"{process} holds it" if process else None
    return None


def _table(path: str) -> Iterator[list[str]]:
    """The lines below the heading; the eighth column of /proc/net/unix is a path, which may contain spaces."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as table:
            lines = table.read().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        yield line.split(None, 7) if path.endswith("unix") else line.split()


def _address(text: str) -> _Address:
    """Parse 32-bit words in hexadecimal, each in the machine's byte order."""
    words = (int(text[start : start + 8], 16) for start in range(0, len(text), 8))
    address = ipaddress.ip_address(b"".join(struct.pack("=I", word) for word in words))
    return getattr(address, "ipv4_mapped", None) or address


def _process(inode: str) -> str | None:
    """The first process that has this socket open, among those whose descriptors can be read."""
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
