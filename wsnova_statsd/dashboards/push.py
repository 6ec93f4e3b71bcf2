"""Datadog's API, by the official package: lists, reads and writes dashboards, monitors, SLOs and metadata.

The only importer of `datadog` for its API. Every failure is a PushFailed with one sentence; no key is ever shown. It
waits for the network, in the calling thread. It writes what it is told to, and deletes nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import datadog
from datadog.api.api_client import APIClient
from datadog.api.exceptions import ClientError, HTTPError, HttpTimeout, ProxyError

from ..errors import ConfigurationError
from .datadog import Json
from .pushing import PushFailed

_SITE: Final = "datadoghq.com"
_PAGE: Final = 100  # objects
_MOST: Final = 1000  # pages
_TIMEOUT: Final = 20.0  # seconds
_NOT_FOUND: Final = 404
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
# The package raises for these, without the status; here it returns them.
_ANSWERED: Final = [200, 201, 202, 204, 400, 401, 403, 404, 409, 429]
_STATUS: Final = re.compile(r"code: (\d{3})")
_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?\Z")
_SCOPES: Final = "dashboards_write, monitors_write, slos_write and metrics_metadata_write"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of objects: where the API has them, how it pages its list and what holds the list, the key of an
    object's title, and whether its mark is a tag."""

    name: str
    path: str
    title: str
    by_tag: bool
    listed_in: str | None  # the answer itself if None
    listed_whole: bool  # else the list has summaries

    def page(self, number: int) -> dict[str, int]:
        """The parameters of one page of the list."""
        if self.by_tag:
            return {"page": number, "page_size": _PAGE}
        names = ("start", "count") if self.path == "dashboard" else ("offset", "limit")
        return dict(zip(names, (number * _PAGE, _PAGE), strict=True))


MONITOR: Final = Kind("monitor", "monitor", "name", True, None, True)
SLO: Final = Kind("slo", "slo", "name", False, "data", True)
DASHBOARD: Final = Kind("dashboard", "dashboard", "title", False, "dashboards", False)


class Api:
    """The API of one organisation, found by DD_API_KEY, DD_APP_KEY, DD_SITE and DATADOG_HOST, which wins.

    A request may take `timeout` seconds. Raises ConfigurationError for a key that is missing and a site that is none.
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
            answer = self._call("GET", kind.path, parameters=kind.page(number))
            listed: list[Json] = answer if kind.listed_in is None else answer[kind.listed_in]
            page = [one for one in listed if one["id"] not in seen]
            seen.update(one["id"] for one in page)
            yield from page
            if not page or len(listed) < _PAGE:
                return

    def read(self, kind: Kind, one: Json) -> Json:
        """The whole of an object that the list has told of."""
        return one if kind.listed_whole else self._call("GET", f"{kind.path}/{one['id']}")

    def create(self, kind: Kind, document: Json) -> object:
        """Make an object; its id."""
        answer = self._call("POST", kind.path, document)
        made = answer["data"][0] if kind.listed_in == "data" else answer
        return made["id"]

    def update(self, kind: Kind, object_id: object, document: Json) -> None:
        """Put a document in the place of an object."""
        self._call("PUT", f"{kind.path}/{object_id}", document)

    def metadata(self, metric: str) -> Json | None:
        """The metadata of a metric, None if Datadog has never seen it."""
        found: Json | None = self._call("GET", f"metrics/{metric}", may_lack=True)
        return found

    def describe(self, metric: str, document: Json) -> None:
        """Set the metadata of a metric."""
        self._call("PUT", f"metrics/{metric}", document)

    def _call(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        parameters: Mapping[str, Any] = _NOTHING,
        may_lack: bool = False,
    ) -> Any:
        """The answer to one request, None for 404 if it `may_lack`. Raises PushFailed."""
        asked = f"{method} {self.host}/api/v1/{path}"
        try:
            answer, response = APIClient.submit(
                method, path, None, body, suppress_response_errors_on_codes=_ANSWERED, **parameters
            )
        except HTTPError as error:
            status = _STATUS.search(str(error))
            told = f"Datadog answered {status[1] if status else 'with an error'} to {asked}"
            raise PushFailed(f"{told}; its side failed: run the same command again later") from None
        except (ClientError, ProxyError) as error:
            raise PushFailed(f"{self.host} is not reached: {_cause(error)}; check DD_SITE and the network") from None
        except HttpTimeout:
            raise PushFailed(f"no answer to {asked} within {self._timeout:g} s; run the same command again") from None
        except Exception as error:  # what `requests` raises that the package does not know: an answer that breaks off
            raise PushFailed(f"no whole answer to {asked}: {_cause(error)}; run the same command again") from None
        status_code: int = response.status_code
        if status_code < 300:
            return answer
        if status_code == _NOT_FOUND and may_lack:
            return None
        raise PushFailed(self._refused(status_code, answer, response.headers, asked))

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


def _host(environ: Mapping[str, str]) -> str:
    """Where the API is. Raises ConfigurationError."""
    given = environ.get("DATADOG_HOST", "").strip()
    if given:
        if not given.startswith(("https://", "http://")):
            raise ConfigurationError(f"DATADOG_HOST is {given!r}; give a URL such as https://api.datadoghq.eu")
        return given.rstrip("/")
    site = environ.get("DD_SITE", "").strip() or _SITE
    if not _HOST.match(site) or "." not in site:
        raise ConfigurationError(
            f"DD_SITE is {site!r}; give a site such as datadoghq.com, datadoghq.eu or us5.datadoghq.com"
        )
    return f"https://api.{site}"


def _cause(error: Exception) -> str:
    """What went wrong, in one line, without the advice of the package."""
    text = str(error).partition(". Please check the network")[0]
    return _line(re.sub(r"^Could not request \S+ \S+: ", "", text)) or type(error).__name__


def _line(text: str) -> str:
    return " ".join(text.split())[:300]
