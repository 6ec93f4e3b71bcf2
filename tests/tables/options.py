"""Tables of arguments and of environment variables, from signatures and docstrings. Pure functions."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import wsnova_statsd as ws
from wsnova_statsd import environment
from wsnova_statsd.profiles import PROFILES

from .markdown import code, table

_ENTRY: Final = re.compile(r"^    (\w+): (.+(?:\n        .+)*)", re.MULTILINE)
CLASSES: Final[tuple[type, ...]] = (
    *(ws.Client, ws.RateLimit, ws.Monitor, ws.StatsdReporter),
    *(ws.PrometheusReporter, ws.LogReporter, ws.KpiTracker, ws.SystemSampler),
)
RULES: Final[tuple[type, ...]] = (
    *(ws.alerts.SlowProcessing, ws.alerts.StuckHandler, ws.alerts.RetriesExhausted, ws.alerts.AuthFailed),
    *(ws.alerts.ErrorRate, ws.alerts.FallingBehind, ws.alerts.LatencyDrift, ws.alerts.When),
)
_FROM_ENV: Final = (ws.Monitor, ws.StatsdReporter)
# Read whenever an argument is left out; the others by Monitor.from_env(), and what calls it.
ALWAYS: Final = ("profile", "console", "worker")
# How a profile's docstring lists the three values, which have columns of their own.
_VALUES: Final = re.compile(r": (?:True in all three|[\w.]+, [\w.]+, [\w.]+)(?=\.(?: |$))")
# What the signatures do not say: who reads each of the others, and what it stands for.
OTHERS: Final[Mapping[str, tuple[str, str]]] = {
    "DD_DOGSTATSD_URL": ("`StatsdReporter`", "where the Agent is: `udp://host:port` or `unix:///path`"),
    "DD_AGENT_HOST": ("`StatsdReporter`", "the Agent's name or address, without `DD_DOGSTATSD_URL`"),
    "DD_DOGSTATSD_PORT": ("`StatsdReporter`", "the Agent's UDP port, without `DD_DOGSTATSD_URL`"),
    "DD_DOGSTATSD_DISABLE": ("`StatsdReporter`", "`true` switches everything off that would be sent"),
    "DD_ENV": ("`StatsdReporter`", "constant tag `env`"),
    "DD_SERVICE": ("`StatsdReporter`", "constant tag `service`"),
    "DD_VERSION": ("`StatsdReporter`", "constant tag `version`"),
    "DD_TAGS": ("`StatsdReporter`", "constant tags: commas separate, without a comma spaces do"),
    "DATADOG_TAGS": ("`StatsdReporter`", "constant tags, after those of `DD_TAGS`"),
    "DD_ENTITY_ID": ("`StatsdReporter`", "the pod's id, as the tag `dd.internal.entity_id`"),
    "DD_CARDINALITY": ("`StatsdReporter`", "as `cardinality=`"),
    "DATADOG_CARDINALITY": ("`StatsdReporter`", "as `cardinality=`, without `DD_CARDINALITY`"),
    "DD_ORIGIN_DETECTION_ENABLED": ("datadog's client", "`false` leaves the container's id out"),
    "DD_EXTERNAL_ENV": ("datadog's client", "what the admission controller sets; it goes on every line"),
    "PROMETHEUS_MULTIPROC_DIR": ("`PrometheusReporter`", "the folder in which the processes of a prefork server count"),
    "DD_API_KEY": ("`--push`", "the organisation's API key"),
    "DD_APP_KEY": ("`--push`", "an application key"),
    "DD_SITE": ("`--push`", "the site, such as `datadoghq.eu`"),
    "DATADOG_HOST": ("`--push`", "the API's address, instead of `DD_SITE`"),
    "http_proxy, https_proxy, all_proxy, no_proxy": ('`Client(proxy="env")`', "the proxy, and the hosts without one"),
    "NO_COLOR": ("the commands", "any text: no colours"),
}


def entries(one: type) -> dict[str, tuple[str, str]]:
    """What a docstring says of each argument, and of its default: its own, then those that it derives from."""
    found: dict[str, tuple[str, str]] = {}
    for of in one.__mro__:
        for name, text in _ENTRY.findall(inspect.cleandoc(of.__doc__ or "").partition("Args:")[2]):
            meaning, _, default = " ".join(text.split()).partition(" Default: ")
            found.setdefault(name, (meaning, default.removesuffix(".")))
    return found


def _arguments(one: type) -> str:
    known, from_env = entries(one), one in _FROM_ENV
    rows = []
    for name, parameter in inspect.signature(one).parameters.items():
        meaning, default = known[name]
        variable = name.upper() if from_env and name.upper() in environment.NAMES else ""
        cells = [code(name), meaning, default or "required", _type(parameter)]
        rows.append([*cells, code(environment.PREFIX + variable if variable else "")] if from_env else cells)
    return table(("argument", "meaning", "default", "type", *(["variable"] if from_env else [])), rows)


def _type(parameter: inspect.Parameter) -> str:
    """An annotation as a user writes it."""
    return code(re.sub(r"\b(?:telemetry|profiles)\.", "", str(parameter.annotation)).replace("tls.", "ssl."))


def _rules() -> str:
    rows = [
        [code(one.__name__), code(name), meaning, default or "required", _type(parameter)]
        for one in RULES
        for name, parameter in inspect.signature(one).parameters.items()
        if name != "cool_down"
        for meaning, default in [entries(one)[name]]
    ]
    rows.append(["all", code("cool_down"), *entries(ws.alerts.Rule)["cool_down"], "`float`"])
    return table(("rule", "argument", "meaning", "default", "type"), rows)


def _profile() -> str:
    """The fields of a profile with the three values of each."""
    known = entries(ws.Profile)
    rows = []
    for name in inspect.signature(ws.Profile).parameters:
        values = [getattr(one, name) for one in PROFILES.values()]
        rows.append([code(name), *map(_value, values), _VALUES.sub("", known[name][0])])
    return table(("field", *PROFILES, "meaning"), rows)


def _value(value: Any) -> str:
    """As code; a mapping has no place in a cell."""
    return "" if isinstance(value, Mapping) else code(f"{value:g}" if isinstance(value, float) else repr(value))


def _variables() -> str:
    rows = [*_own_variables(), *([code(*name.split(", ")), by, text] for name, (by, text) in OTHERS.items())]
    return table(("variable", "read by", "stands for"), rows)


def _own_variables() -> Iterator[list[str]]:
    for one in _FROM_ENV:
        for name in inspect.signature(one).parameters:
            if name.upper() in environment.NAMES:
                by = one.__name__ if name in ALWAYS else "Monitor.from_env"
                yield [code(environment.PREFIX + name.upper()), code(by), f"`{name}=` of {one.__name__}"]


TABLES: Final[Mapping[str, Callable[[], str]]] = {
    **{f"arguments: {one.__name__}": partial(_arguments, one) for one in CLASSES},
    "arguments: rules": _rules,
    "arguments: Profile": _profile,
    "variables": _variables,
}
