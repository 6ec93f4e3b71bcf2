"""The pytest plugin: fixtures of the test kit, each of which closes what it opened. `-p no:wsnova_statsd` drops it.

pytest imports a plugin in every run of an environment, and before coverage begins. So this file is installed as a
module of its own, beside the package whose `__init__` would bring the whole client along; only a fixture imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from wsnova_statsd.dashboards.findings import Report
    from wsnova_statsd.profiles import Profile, ProfileName
    from wsnova_statsd.testing import CapturedMetrics, DogStatsDReceiver, EventLog, WebSocketServer


@pytest.fixture
def wsnova_events() -> Iterator[EventLog]:
    """Every telemetry event on the default bus during the test."""
    from wsnova_statsd.testing import capture_events

    with capture_events() as log:
        yield log


@pytest.fixture
def wsnova_metrics() -> Iterator[CapturedMetrics]:
    """The default metrics of the default bus during the test, without a socket."""
    from wsnova_statsd.testing import capture_metrics

    with capture_metrics() as metrics:
        yield metrics


@pytest.fixture
def wsnova_receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[DogStatsDReceiver]:
    """The Agent of this test: a UDP receiver that DD_DOGSTATSD_URL names to whoever asks the environment.

    The test fails in the end if anything came that the Agent would not read.
    """
    from wsnova_statsd.testing import DogStatsDReceiver

    with DogStatsDReceiver() as receiver:
        monkeypatch.setenv("DD_DOGSTATSD_URL", f"udp://{receiver.host}:{receiver.port}")
        monkeypatch.delenv("DD_DOGSTATSD_DISABLE", raising=False)
        yield receiver
    if receiver.malformed:
        pytest.fail(f"the Agent would not have read {receiver.malformed}")


@pytest.fixture
def wsnova_server() -> Iterator[WebSocketServer]:
    """A WebSocket server on a free port that echoes; give it another `script` before a client connects."""
    from wsnova_statsd.testing import WebSocketServer

    with WebSocketServer() as server:
        yield server


@pytest.fixture
def wsnova_lint() -> Callable[..., Report]:
    """A function that judges definitions and queries of yours, as `wsnova-statsd lint` does, and fails for a fault.

    Its arguments are what to judge, such as a list of definitions, and a profile, if any; it returns the report.
    """
    from wsnova_statsd.dashboards.lint import lint

    def judge(given: object, profile: ProfileName | Profile | None = None) -> Report:
        __tracebackhide__ = True
        report = lint(given, profile)
        if report.faults:
            pytest.fail(str(report), pytrace=False)
        return report

    return judge
