"""The variables `WSNOVA_STATSD_*`, and settings of these names, as arguments of a Monitor and of its StatsdReporter.

Pure functions, no thread. `DD_*` variables are not read here: a StatsdReporter itself reads from them where the Agent
is and which tags every line carries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from .errors import ConfigurationError, known_keys, one_of
from .profiles import PROFILES
from .reporters.settings import split_tags

PREFIX: Final = "WSNOVA_STATSD_"
_DEFAULT_PROFILE: Final = "standard"
_WORDS: Final = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)


def _switch(text: str) -> bool:
    return _WORDS[text.lower()]


def _seconds(text: str) -> bool | float:
    return _WORDS[text.lower()] if text.lower() in _WORDS else float(text)


_Reading = tuple[str, Callable[[str], Any], str]
_WORD: Final = "true, false, yes, no, on, off, 1 or 0"
# The last part of the variable's name: the argument, how it is read, what is allowed.
_MONITOR: Final[Mapping[str, _Reading]] = {
    "PROFILE": ("profile", str, "a profile's name"),
    "ALERTS": ("alerts", _switch, _WORD),
    "KPIS": ("kpis", _switch, _WORD),
    "SYSTEM": ("system", _seconds, f"{_WORD}, or the seconds between two samples"),
    "PROMETHEUS_PORT": ("prometheus_port", int, "a whole number, 0 for a free port"),
    "PROMETHEUS_ADDRESS": ("prometheus_address", str, "an address, 0.0.0.0 for every interface"),
    "PROMETHEUS_NAMING": ("prometheus_naming", str.lower, "guide or prometheus"),
    "LOG": ("log", _switch, _WORD),
    "CONSOLE": ("console", _seconds, f"{_WORD}, or the seconds between two tables"),
}
_REPORTER: Final[Mapping[str, _Reading]] = {
    "HOST": ("host", str, "a name or an address"),
    "PORT": ("port", int, "a whole number"),
    "SOCKET_PATH": ("socket_path", str, "a path"),
    "NAMESPACE": ("namespace", str, "a name"),
    "TAGS": ("tags", partial(split_tags, f"{PREFIX}TAGS"), "tags separated by commas"),
    "FLUSH_INTERVAL": ("flush_interval", float, "seconds: 1, 2, 5 or 10"),
    "MAX_SERIES": ("max_series", int, "a whole number"),
    "MAX_SAMPLES": ("max_samples", int, "a whole number"),
    "DISTRIBUTIONS": ("distributions", _switch, _WORD),
    "WORKER": ("worker", str, "1 to 32 of the characters a-z, 0-9, _ and -"),
    "DIALECT": ("dialect", str.lower, "datadog or statsd"),
    "TAG_FORMAT": ("tag_format", str.lower, "graphite or influx"),
    "CARDINALITY": ("cardinality", str.lower, "none, low, orchestrator or high"),
    "PACKET_SIZE": ("packet_size", int, "a whole number of bytes"),
    "CONTAINER_ID": ("container_id", _switch, _WORD),
}
NAMES: Final = (*_MONITOR, *_REPORTER)


def profile(environ: Mapping[str, str]) -> str:
    """The profile of a Monitor without `profile=`. Raises ConfigurationError for an unknown one."""
    name = environ.get(f"{PREFIX}PROFILE", "").strip()
    if name and name not in PROFILES:
        raise one_of(f"{PREFIX}PROFILE", name, PROFILES)
    return name or _DEFAULT_PROFILE


def console(environ: Mapping[str, str]) -> bool | float:
    """The console of a Monitor without `console=`. Raises ConfigurationError for a text that cannot be read."""
    text = environ.get(f"{PREFIX}CONSOLE", "").strip()
    found: bool | float = _arguments({"CONSOLE": _MONITOR["CONSOLE"]}, {"CONSOLE": text}).get("console", False)
    return found


def switched_on(environ: Mapping[str, str], key: str) -> bool:
    """Whether `WSNOVA_STATSD_<key>` is a word for on. False for any other text, which `read` refuses."""
    return _WORDS.get(environ.get(f"{PREFIX}{key}", "").strip().lower(), False)


def read(environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of a Monitor and those of its reporter; an empty variable counts as none.

    Raises ConfigurationError for an unknown variable and for a text that cannot be read.
    """
    return read_settings({key.removeprefix(PREFIX): text for key, text in environ.items() if key.startswith(PREFIX)})


def read_settings(settings: Mapping[str, Any], where: str = "the environment") -> tuple[dict[str, Any], dict[str, Any]]:
    """As `read`, for settings by their names without the prefix. Values other than texts are used unchanged; None means
    not set."""
    known_keys(f"{where}, under {PREFIX},", settings, NAMES)
    given = {key: value.strip() if isinstance(value, str) else value for key, value in settings.items()}
    return _arguments(_MONITOR, given), _arguments(_REPORTER, given)


def _arguments(readings: Mapping[str, _Reading], given: Mapping[str, Any]) -> dict[str, Any]:
    arguments = {}
    for key, (argument, reading, allowed) in readings.items():
        value = given.get(key)
        if value is None or value == "":
            continue
        try:
            arguments[argument] = reading(value) if isinstance(value, str) else value
        except ConfigurationError:
            raise
        except (KeyError, ValueError):
            raise ConfigurationError(f"{PREFIX}{key} is {value!r}; set it to {allowed}") from None
    return arguments
