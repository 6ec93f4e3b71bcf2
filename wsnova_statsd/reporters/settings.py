"""The Agent's address and what every line carries: from arguments, then from DD_* variables. No socket, no thread.

The variables are those of Datadog's own clients. DD_TAGS, DD_ENV, DD_SERVICE and DD_VERSION are read here once, because
the official client ignores the first and would append the others again. DD_DOGSTATSD_URL may name a socket;
DD_DOGSTATSD_SOCKET, which is meant for the Agent, is ignored. No error message shows a secret in an address.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

from .. import checks, wire
from ..errors import ConfigurationError, one_of
from ..metrics.definitions import Definition, listed
from ..redaction import redact_url

DEFAULT_SOCKET: Final = "/var/run/datadog/dsd.socket"
DEFAULT_PORT: Final = 8125
_UNIX_SCHEMES: Final = ("unix", "unixgram", "unixstream")
_INTERVALS: Final = (1, 2, 5, 10)
_MAY_HIDE: Final = frozenset("@?#")  # user-info, a query or a fragment
_TRUE: Final = frozenset({"true", "yes", "1", "on"})
Dialect = Literal["datadog", "statsd"]
Cardinality = Literal["none", "low", "orchestrator", "high"]
_CARDINALITIES: Final = ("none", "low", "orchestrator", "high")
_HOST_AND_PORT: Final = re.compile(r"(?P<host>[^\s:/@]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})\Z")
_SHORTEST: Final = len("m:1|c|#")  # the shortest line without prefix and tags
_BARE_IPV6: Final = re.compile(r"udp://(?:[^/?#]*@)?[^][/?#@]*:[^][/?#@]*:", re.IGNORECASE)
_UNIFIED: Final = (("env", "DD_ENV"), ("service", "DD_SERVICE"), ("version", "DD_VERSION"))


@dataclass(frozen=True, slots=True)
class Address:
    """Where datagrams go: `path` of a Unix socket (a plain path or unix[gram|stream]://), or `host` and UDP `port`."""

    host: str | None
    port: int | None
    path: str | None

    @property
    def limit(self) -> int:
        """The default size of the largest datagram, in bytes."""
        return wire.UNIX_BYTES if self.path is not None else wire.UDP_BYTES

    def __str__(self) -> str:
        if self.path is not None:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in str(self.host) else f"{self.host}:{self.port}"


def address(
    host: str | None, port: int | None, socket_path: str | None, environ: Mapping[str, str] = os.environ
) -> Address:
    """The Agent's address. Raises ConfigurationError for invalid values, and for both kinds of address at once."""
    if socket_path is not None:
        if host is not None or port is not None:
            raise ConfigurationError(
                f"socket_path is {socket_path!r}, and host or port is set too; pass one of the two"
            )
        if not isinstance(socket_path, str | os.PathLike) or not os.fspath(socket_path):
            raise ConfigurationError(f"socket_path is {socket_path!r}; pass the path of the Agent's Unix socket")
        return Address(None, None, os.fspath(socket_path))
    if host is None and port is None:
        url = environ.get("DD_DOGSTATSD_URL")
        if url:
            return _from_url(url)
        if not environ.get("DD_AGENT_HOST") and not environ.get("DD_DOGSTATSD_PORT") and os.path.exists(DEFAULT_SOCKET):
            return Address(None, None, DEFAULT_SOCKET)
    if host is not None and (not isinstance(host, str) or not host):
        raise ConfigurationError(f"host is {host!r}; pass a name or an address")
    what, name = ("host", "port") if host is not None else ("DD_AGENT_HOST", "DD_DOGSTATSD_PORT")
    host = host or environ.get("DD_AGENT_HOST") or "localhost"
    if (parts := _split(host))[0]:
        raise ConfigurationError(f"{what} is {host!r}; set {what}={parts[0]!r} and {name}={parts[1]}")
    given = port if port is not None else environ.get("DD_DOGSTATSD_PORT") or DEFAULT_PORT
    name = "port" if port is not None else "DD_DOGSTATSD_PORT"
    return Address(host[1:-1] if host[0] == "[" and host[-1] == "]" else host, _port(name, given), None)


def _from_url(url: str) -> Address:
    if _BARE_IPV6.match(url):
        raise ConfigurationError(
            f"DD_DOGSTATSD_URL is {_shown(url)!r}, which does not show where the address ends and the port begins; "
            "put an IPv6 address in brackets: udp://[fd00::1]:8125"
        )
    try:
        parts = urlsplit(url)
    except ValueError:  # for example an unclosed bracket
        parts = urlsplit("")
    if parts.scheme in _UNIX_SCHEMES and (parts.path or parts.netloc):
        return Address(None, None, url if parts.scheme != "unix" else parts.netloc + parts.path)
    if parts.scheme != "udp" or not parts.hostname:
        raise ConfigurationError(f"DD_DOGSTATSD_URL is {_shown(url)!r}; allowed: udp://host:port and unix:///path")
    try:
        port: int | str | None = parts.port
    except ValueError:  # not a number, or above 65535
        port = parts.netloc.rpartition(":")[2]
    number = DEFAULT_PORT if port is None else _port("the port of DD_DOGSTATSD_URL", port)
    return Address(parts.hostname, number, None)


def _shown(url: str) -> str:
    return redact_url(url) if _MAY_HIDE & set(url) else url


def _port(what: str, given: object) -> int:
    return checks.port(what, given, hint=f"the Agent's default is {DEFAULT_PORT}", text=True)


def constant_tags(
    given: Iterable[str] | Mapping[str, object], environ: Mapping[str, str] = os.environ
) -> tuple[str, ...]:
    """The tags of every line: the argument's, then DD_ENV, DD_SERVICE and DD_VERSION, then DD_TAGS and DATADOG_TAGS.

    For each of the unified keys env, service and version the first value found is used.
    """
    texts = wire.tag_texts(given)
    if texts is None:
        raise ConfigurationError(f"tags is {checks.shown(given)}; pass a list such as ['team:md'] or a mapping")
    candidates = texts + [f"{key}:{environ[name]}" for key, name in _UNIFIED if environ.get(name)]
    for name in ("DD_TAGS", "DATADOG_TAGS"):
        candidates += split_tags(name, environ.get(name, ""))
    tags: list[str] = []
    seen: set[str] = set()
    for tag in wire.clean_tags(candidates, host=True):
        key = tag.partition(":")[0]
        if key in seen and key in dict(_UNIFIED):
            continue
        seen.add(key)
        tags.append(tag)
    entity = wire.clean_field(environ.get("DD_ENTITY_ID", "")).rstrip(":").replace(" ", "_")
    if entity:  # the only dd.internal tag that may be sent
        tags.append("dd.internal.entity_id:" + entity)
    return tuple(tags)


def split_tags(name: str, value: str) -> list[str]:
    """The tags of a variable, as Datadog's tracers read it: separated by commas or, if there is none, by spaces.

    Raises ConfigurationError for JSON, which would be read as other tags.
    """
    if value.strip()[:1] in ("{", "[", '"'):
        raise ConfigurationError(
            f"{name} is {checks.shown(value)}, which is JSON; set it to tags separated by commas: env:prod,team:md"
        )
    tags = value.split(",") if "," in value else value.split()
    return [tag.strip() for tag in tags if tag.strip()]


def check_room(prefix: str, tags: tuple[str, ...]) -> None:
    """Raises ConfigurationError for constant tags that leave no room for a line, even alone in its datagram."""
    used, free = wire.size(",".join(tags)), wire.LINE_BYTES - 1 - len(prefix) - _SHORTEST
    if used > free:
        raise ConfigurationError(
            f"the {len(tags)} constant tags take {used} bytes of every line; allowed are {free}, because the Agent "
            f"reads at most {wire.LINE_BYTES} bytes at once; shorten tags=, DD_TAGS or DATADOG_TAGS"
        )


def check_names(prefix: str, metrics: Iterable[Definition]) -> None:
    """Raises ConfigurationError for a name that is too long with the namespace: if cut, two could become the same."""
    for one in metrics:
        if isinstance(one, Definition) and len(prefix) + len(one.name) > wire.MAX_NAME:
            raise ConfigurationError(
                f"metric {one.name[:80]!r} with namespace {prefix!r} is longer than {wire.MAX_NAME} characters; "
                "shorten one of the two"
            )


def metrics(given: Iterable[Definition]) -> list[Definition]:
    """The metrics as a list. Raises ConfigurationError for the Agent's address in their place, or a non-iterable."""
    host, port = _split(given) if isinstance(given, str) else ("", "")
    hint = f"pass the address by name: host={host or given!r}, port={port or DEFAULT_PORT}"
    return listed(given, hint if isinstance(given, str) else "")


def _split(address: str) -> tuple[str, str]:
    """The parts of `host:port`; two empty texts for any other text."""
    found = _HOST_AND_PORT.match(address)
    return (found["host"].strip("[]"), found["port"]) if found else ("", "")


def is_plain(dialect: str, tag_format: str | None) -> bool:
    """True for plain StatsD. Raises ConfigurationError for an unknown dialect or a tag format that does not fit it."""
    if dialect not in ("datadog", "statsd"):
        raise one_of("dialect", dialect, ("datadog", "statsd"))
    if tag_format is not None and tag_format not in ("graphite", "influx"):
        raise one_of("tag_format", tag_format, ("graphite", "influx", None))
    if tag_format is not None and dialect == "datadog":
        raise ConfigurationError(f"tag_format is {tag_format!r}, which is for dialect='statsd'; pass both or neither")
    return dialect == "statsd"


def packet_size(given: int | None) -> int | None:
    """The size of the largest datagram, set by the user. Raises ConfigurationError for more than the Agent reads."""
    return None if given is None else checks.whole("packet_size", given, least=512, most=wire.LINE_BYTES, unit="bytes")


def cardinality(given: str | None, environ: Mapping[str, str] = os.environ) -> str | None:
    """How many tags of its origin the Agent adds: the argument, then DD_CARDINALITY, then DATADOG_CARDINALITY."""
    name, value = "cardinality", given
    for variable in ("DD_CARDINALITY", "DATADOG_CARDINALITY"):
        if value is None and environ.get(variable):
            name, value = variable, environ[variable].strip().lower()
    if value is not None and value not in _CARDINALITIES:
        raise one_of(name, value, _CARDINALITIES)
    return value


def external_data(environ: Mapping[str, str] = os.environ) -> None:
    """Raises ConfigurationError if DD_EXTERNAL_ENV, which the official client adds to every line, would break lines."""
    value = environ.get("DD_EXTERNAL_ENV", "")
    if "|" in value or not value.isprintable():
        raise ConfigurationError(
            f"DD_EXTERNAL_ENV is {value!r}; it is added to every line unchanged: allowed is printable text without '|' "
            "and line feeds; unset it, or set it as the admission controller does"
        )


def namespace(value: str | None) -> str:
    """The prefix of every name, with its dot, or ''. Raises ConfigurationError if no name can begin with it."""
    if value is None or value == "":
        return ""
    if not isinstance(value, str) or wire.clean_name(value) != value or len(value) > wire.MAX_NAME // 2:
        raise ConfigurationError(
            f"namespace is {value!r}; allowed: letters, digits, _ and ., beginning with a letter, "
            f"at most {wire.MAX_NAME // 2} characters"
        )
    return value.rstrip(".") + "."


def interval(seconds: float) -> float:
    """A flush interval. Raises ConfigurationError for an interval that does not divide the Agent's window of 10 s."""
    if not checks.is_number(seconds) or seconds not in _INTERVALS:
        raise one_of("flush_interval", seconds, [f"{allowed} s" for allowed in _INTERVALS])
    return float(seconds)


def disabled(environ: Mapping[str, str] = os.environ) -> bool:
    """True if DD_DOGSTATSD_DISABLE switches sending off. (The official client would still send events and checks.)"""
    return environ.get("DD_DOGSTATSD_DISABLE", "").strip().lower() in _TRUE
