"""A WebSocket client that sends its telemetry to Datadog as StatsD metrics and events.

    import wsnova_statsd as ws

    with ws.Monitor(profile="financial"), ws.Client("wss://feed.example/ws", profile="financial") as client:
        for message in client:
            ...

Importing the package starts no thread, opens no socket and imports neither datadog nor any optional library. Monitor,
reporters, KPIs and alerts are imported at first use: a client alone needs none of them. Under an interpreter without
the GIL the import warns once that this is untested.
"""

import sys as _sys
import warnings as _warnings
from importlib import import_module as _import_module
from typing import TYPE_CHECKING

from . import errors, events, telemetry
from .client.auth import Auth, HeaderAuth, MessageAuth
from .client.client import Client
from .client.protocol import Ack, JsonProtocol, JsonRpcProtocol, Protocol
from .client.rate_limit import RateLimit
from .client.state import State
from .metrics.catalogue import statsd_metrics
from .metrics.definitions import counter, distribution, gauge, sum_, summary
from .metrics.prometheus_list import prometheus_metrics
from .metrics.registry import HandlerRegistry
from .process import end_on_sigterm
from .profiles import FINANCIAL, LIGHTWEIGHT, STANDARD, Profile
from .reporters.statsd import StatsdReporter
from .telemetry import Bus

if TYPE_CHECKING:
    from .insight import alerts
    from .insight.kpi import KpiTracker
    from .insight.system import SystemSampler
    from .monitor import Monitor, init
    from .reporters.log import LogReporter
    from .reporters.prometheus import PrometheusReporter

if not getattr(_sys, "_is_gil_enabled", lambda: True)():  # Python 3.13 and later have it
    _warnings.warn(
        "wsnova_statsd is not tested without the GIL: its numbers may be wrong; set PYTHON_GIL=1 to enable the GIL",
        RuntimeWarning,
        stacklevel=2,
    )

__version__ = "1.0.0"

__all__ = [
    "FINANCIAL",
    "LIGHTWEIGHT",
    "STANDARD",
    "Ack",
    "Auth",
    "Bus",
    "Client",
    "HandlerRegistry",
    "HeaderAuth",
    "JsonProtocol",
    "JsonRpcProtocol",
    "KpiTracker",
    "LogReporter",
    "MessageAuth",
    "Monitor",
    "Profile",
    "PrometheusReporter",
    "Protocol",
    "RateLimit",
    "State",
    "StatsdReporter",
    "SystemSampler",
    "alerts",
    "counter",
    "distribution",
    "end_on_sigterm",
    "errors",
    "events",
    "gauge",
    "init",
    "prometheus_metrics",
    "statsd_metrics",
    "sum_",
    "summary",
    "telemetry",
]

_LATER = {
    "KpiTracker": "insight.kpi",
    "LogReporter": "reporters.log",
    "Monitor": "monitor",
    "PrometheusReporter": "reporters.prometheus",
    "SystemSampler": "insight.system",
    "init": "monitor",
    "alerts": "insight.alerts",
}


if not TYPE_CHECKING:  # a type checker that saw it would accept any name

    def __getattr__(name):
        if name not in _LATER:
            raise AttributeError(
                f"module {__name__!r} has no attribute {name!r}", name=name, obj=_sys.modules[__name__]
            )
        module = _import_module(f"{__name__}.{_LATER[name]}")
        globals()[name] = found = module if name == "alerts" else getattr(module, name)
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
