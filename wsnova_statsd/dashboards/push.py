"""Datadog's API, through the official package: lists, reads and writes dashboards, monitors, SLOs and metadata.

The only file that imports `datadog` for its API. Every failure is a PushFailed with one sentence; no key is ever shown.
It waits for the network, in the calling thread. It writes only what it is asked to, and deletes nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

import datadog
from datadog.api.api_client import APIClient
from datadog.api.exceptions import ClientError, HTTPError, HttpTimeout, ProxyError

from ..errors import ConfigurationError
from .datadog import Json
from .pushing import NotTaken, PushFailed

_SITE: Final = "datadoghq.com"
_PAGE: Final = 100  # objects
_MOST: Final = 1000  # pages
_TIMEOUT: Final = 20.0  # seconds
_BAD_DOCUMENT: Final = 400
_NOT_FOUND: Final = 404
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
# The package raises for these, without the status; here it returns them.
_ANSWERED: Final = [200, 201, 202, 204, 400, 401, 403, 404, 409, 429]
_STATUS: Final = re.compile(r"code: (\d{3})")
_LABEL: Final = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_HOST: Final = re.compile(rf"({_LABEL}\.)+{_LABEL}\Z")
_KEY: Final = re.compile(r"[!-~]+\Z")  # what a header accepts; the error would show any other
# `(Caused by NewConnectionError("HTTPConnection(host='a', port=9): what went wrong"))`, or `<... object at 0x1>: what`
_CAUSED: Final = re.compile(r"Caused by \w+\(['\"]?(?:<?[\w.]+(?:\([^)]*\)| object at \w+>): )?(.*?)['\"]?\)\)")
_SCOPES: Final = "dashboards_write, monitors_write, slos_write and metrics_metadata_write"
_WHERE: Final = "check DD_SITE, DATADOG_HOST and the proxy"
_SHOWN: Final = 80  # characters of an answer


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of objects: where the API has them, how it pages its list and what holds the list, the key of an
    object's title, and whether its mark is a tag."""

    name: str
    path: str
    title: str
    by_tag: bool
    listed_in: str | None  # the answer itself if None
    listed_whole: bool  # otherwise the list has summaries

    def page(self, number: int) -> dict[str, int]:
        """The parameters of one page of the list."""
        if self.by_tag:
            return {"page": number, "page_size": _PAGE}
        names = ("start", "count") if self.path == "dashboard" else ("offset", "limit")
        return dict(zip(names, (number * _PAGE, _PAGE), strict=True))

    def listed(self, answer: Any) -> list[Json]:
        """The objects of one page of the list. Raises TypeError and the like for anything else."""
        listed = answer if self.listed_in is None else answer[self.listed_in]
        if not isinstance(listed, list):
            raise TypeError(listed)
        return list(map(_object, listed))

    def made(self, answer: Any) -> Json:
        """The object that was created."""
        return _object(answer["data"][0] if self.listed_in == "data" else answer)


MONITOR: Final = Kind("monitor", "monitor", "name", True, None, True)
SLO: Final = Kind("slo", "slo", "name", False, "data", True)
DASHBOARD: Final = Kind("dashboard", "dashboard", "title", False, "dashboards", False)


class Api:
    """The API of one organisation, given by DD_API_KEY, DD_APP_KEY, DD_SITE and DATADOG_HOST, which takes precedence.

    A request may take `timeout` seconds. Raises ConfigurationError for a missing key and an invalid site.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ, timeout: float = _TIMEOUT) -> None:
        self._timeout = timeout
        keys = {name: environ.get(name, "").strip() for name in ("DD_API_KEY", "DD_APP_KEY")}
        missing = [name for name, key in keys.items() if not key]
        if missing:
            raise ConfigurationError(
                f"{' and '.join(missing)} not set; --push needs both keys of the organisation (Organization Settings, "
                "API Keys and Application Keys)"
            )
        odd = [name for name, key in keys.items() if not _KEY.match(key)]
        if odd:
            raise ConfigurationError(f"{' and '.join(odd)} contains a character that no key has; copy the key again")
        self.host: str = _host(environ)
        datadog.initialize(
            api_key=keys["DD_API_KEY"],
            app_key=keys["DD_APP_KEY"],
            api_host=self.host,
            host_name="wsnova-statsd",  # without one it asks the cloud's metadata services
            hostname_from_config=False,
            return_raw_response=True,
            mute=False,
            timeout=timeout,
        )

    def all_of(self, kind: Kind) -> Iterator[Json]:
        """Every object of a kind, page by page."""
        seen: set[Any] = set()
        for number in range(_MOST):
            listed = self._call("GET", kind.path, kind.listed, parameters=kind.page(number))
            page = [one for one in listed if one["id"] not in seen]
            seen.update(one["id"] for one in page)
            yield from page
            if not page or len(listed) < _PAGE:
                return

    def read(self, kind: Kind, one: Json) -> Json:
        """The whole object for an entry of the list."""
        return one if kind.listed_whole else self._call("GET", f"{kind.path}/{one['id']}", _object)

    def create(self, kind: Kind, document: Json) -> object:
        """Create an object; returns its id."""
        return self._call("POST", kind.path, kind.made, document)["id"]

    def update(self, kind: Kind, object_id: object, document: Json) -> None:
        """Replace an object by a document."""
        self._call("PUT", f"{kind.path}/{object_id}", _anything, document)

    def metadata(self, metric: str) -> Json | None:
        """The metadata of a metric, None if Datadog has never seen it."""
        found: Json | None = self._call("GET", f"metrics/{metric}", _keys, may_lack=True)
        return found

    def describe(self, metric: str, document: Json) -> None:
        """Set the metadata of a metric."""
        self._call("PUT", f"metrics/{metric}", _anything, document)

    def _call(
        self,
        method: str,
        path: str,
        read: Callable[[Any], Any],
        body: Json | None = None,
        *,
        parameters: Mapping[str, Any] = _NOTHING,
        may_lack: bool = False,
    ) -> Any:
        """What `read` makes of the answer to one request, None for 404 if it `may_lack`. Raises PushFailed, also for an
        answer that is not Datadog's: another program may listen at that address."""
        asked = f"{method} {self.host}/api/v1/{path}"
        status, answer, headers = self._answer(method, path, body, asked, parameters)
        if status == _NOT_FOUND and may_lack:
            return None
        if status >= 300 or (isinstance(answer, Mapping) and answer.get("errors")):
            failure = NotTaken if status == _BAD_DOCUMENT and body is not None else PushFailed
            raise failure(self._refused(status, answer, headers, asked))
        try:
            return read(answer)
        except (TypeError, LookupError, AttributeError):
            shown = _line(repr(answer), _SHOWN)
            raise PushFailed(f"the answer to {asked} is not Datadog's: {shown}; {_WHERE}") from None

    def _answer(
        self, method: str, path: str, body: Json | None, asked: str, parameters: Mapping[str, Any]
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Status, document and headers. Raises PushFailed if there are none."""
        try:
            answer, response = APIClient.submit(
                method, path, None, body, suppress_response_errors_on_codes=_ANSWERED, **parameters
            )
        except HTTPError as error:
            status = _STATUS.search(str(error))
            if status and status[1].startswith("4"):
                return int(status[1]), None, _NOTHING
            text = f"Datadog answered {status[1] if status else 'with an error'} to {asked}"
            raise PushFailed(f"{text}; its servers failed: run the same command again later") from None
        except (ClientError, ProxyError) as error:
            raise PushFailed(f"cannot reach {self.host}: {_cause(error)}; {_WHERE}") from None
        except HttpTimeout:
            raise PushFailed(f"no answer to {asked} within {self._timeout:g} s; run the same command again") from None
        except Exception as error:  # what `requests` raises that the package does not know: an answer that breaks off
            to_do = f"run the same command again; if that does not help, {_WHERE}"
            raise PushFailed(f"incomplete answer to {asked}: {_cause(error)}; {to_do}") from None
        return response.status_code, answer, response.headers

    def _refused(self, status: int, answer: Any, headers: Mapping[str, str], asked: str) -> str:
        errors = answer.get("errors") if isinstance(answer, dict) else None
        words = "; ".join(map(str, errors)) if isinstance(errors, list) else str(errors or "no reason given")
        said = f"Datadog refused {asked} with {status} ({_line(words)})"
        if status in (401, 403):
            return (
                f"{said}: both keys have to be of the organisation at {self.host}, the application key with {_SCOPES}"
            )
        if status == 429:
            reset = headers.get("X-RateLimit-Reset")
            when = f"in {reset} s" if reset else "in a minute"
            return f"{said}: its rate limit is reached; run the same command again {when}"
        return said


def _object(answer: Any) -> Json:
    """An object, which has an id and keys that can be asked for. Raises LookupError, TypeError or AttributeError."""
    found = _keys(answer)
    found["id"]
    return found


def _keys(answer: Any) -> Json:
    return dict(answer.items())


def _anything(answer: Any) -> None:
    """The answer to an update, which is not read."""


def _host(environ: Mapping[str, str]) -> str:
    """The API's address. Raises ConfigurationError."""
    given = environ.get("DATADOG_HOST", "").strip()
    if given:
        if not _is_url(given):
            shown = given.rpartition("@")[2]  # what precedes it may be a password
            raise ConfigurationError(f"DATADOG_HOST is {shown!r}; set it to a URL such as https://api.datadoghq.eu")
        return given.rstrip("/")
    site = environ.get("DD_SITE", "").strip() or _SITE
    if not _HOST.match(site):
        raise ConfigurationError(
            f"DD_SITE is {site!r}; set it to a site such as datadoghq.com, datadoghq.eu or us5.datadoghq.com"
        )
    return f"https://api.{site}"


def _is_url(text: str) -> bool:
    """Whether it names a host, and nothing secret."""
    try:
        parts = urlsplit(text)
        named = bool(parts.hostname) and parts.port != 0  # an invalid port raises
    except ValueError:
        return False
    return named and parts.scheme in ("http", "https") and not (parts.username or parts.query or parts.fragment)


def _cause(error: Exception) -> str:
    """What went wrong, in one line, without what the packages have wrapped around it."""
    text = str(error).partition(". Please check the network")[0]
    text = re.sub(r"^Could not request \S+ \S+: ", "", text)
    caused = _CAUSED.search(text)
    return _line(caused[1] if caused else text).rstrip(".") or type(error).__name__


def _line(text: str, most: int = 300) -> str:
    return " ".join(text.split())[:most]
