"""What every line of a reporter carries and how large it may be: constant tags, cardinality, container, packets."""

from typing import Any

import pytest

import wsnova_statsd as ws
from tests.support import until
from wsnova_statsd.testing.receiver import DogStatsDReceiver


def _reporter(receiver: DogStatsDReceiver, **options: Any) -> ws.StatsdReporter:
    return ws.StatsdReporter(**{"metrics": (), "flush_interval": 10, "bus": ws.Bus(), **options}, **_where(receiver))


def _where(receiver: DogStatsDReceiver) -> dict[str, Any]:
    return {"host": receiver.host, "port": receiver.port}


@pytest.mark.parametrize("size", [512, 1432, 8192])
def test_a_packet_is_as_large_as_the_option_allows(size: int) -> None:
    """And well filled; a line that is larger is still sent, alone in its packet."""
    with DogStatsDReceiver() as receiver:
        with _reporter(receiver, packet_size=size, container_id=False) as reporter:
            for number in range(600):
                reporter.increment(f"orders.{number:03}")
            assert reporter.flush()
            reporter.increment("long", tags=[f"k{i}:{'x' * 180}" for i in range(9)])
        assert receiver.wait_for(lambda r: r.count("long") == 1)
        assert receiver.malformed == []
        *full, _, long = map(len, receiver.datagrams)
    assert all(size - 20 < one <= size for one in full)
    assert long > 1432


def test_constant_tags_that_leave_little_room_arrive_line_by_line() -> None:
    """Orchestrators put two KB of tags into every container: every metric, event and check arrives with all of them."""
    tags = [f"kube_label_{number:02}:region-zone-central-1-cluster-name-{number:04}" for number in range(40)]
    with DogStatsDReceiver() as receiver:
        with _reporter(receiver, tags=tags) as reporter:
            reporter.increment("orders", 100)
            reporter.gauge("depth", 1)
            for value in range(100):
                reporter.distribution("latency", value)
            reporter.event("t", "x")
        assert reporter.stats.lost == {}
        assert receiver.wait_for(lambda r: r.events and r.count("orders") and len(r.values("latency")) == 100)
        assert receiver.malformed == []
        assert {one.tags for one in receiver.messages} == {tuple(tags)}
        assert (receiver.count("orders"), len(receiver.values("latency"))) == (100, 100)
    with pytest.raises(ws.errors.ConfigurationError, match="200 constant tags take"):
        ws.StatsdReporter(tags=[f"{tag}{n}" for n in range(5) for tag in tags])


def test_the_reporters_own_lines_are_in_no_total(caplog: pytest.LogCaptureFixture) -> None:
    """Also those that fit no datagram: what is lost is what was counted."""
    tags = [f"k{number:02}:{'x' * 180}" for number in range(44)]
    tags.append("y" * (8192 - 1 - len("a:1|c|#" + ",".join(tags) + ",")))
    with DogStatsDReceiver() as receiver:
        reporter = _reporter(receiver, tags=tags, container_id=False, flush_interval=1)
        with reporter:
            reporter.increment("a")
            assert receiver.wait_for(lambda r: r.count("a") == 1)
            assert until(lambda: "a line of 'websocket.reporter" in caplog.text)
            assert reporter.stats.lost == {}


@pytest.mark.parametrize("fields", [{}, {"cardinality": "low"}])
def test_the_cardinality_is_on_every_line(fields: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of metrics, events and checks; without it there is no such field, and without a container no container field."""
    monkeypatch.delenv("DD_CARDINALITY", raising=False)
    monkeypatch.setenv("DATADOG_CARDINALITY", "")
    with DogStatsDReceiver() as receiver:
        with _reporter(receiver, container_id=False, **fields) as reporter:
            reporter.increment("orders")
            reporter.event("t", "x")
            reporter.service_check("up", 0)
        assert receiver.wait_for(lambda r: len(r.messages) == 3)
        assert {one.origin for one in receiver.messages} == {("card:low",) if fields else ()}


@pytest.mark.parametrize(("option", "fields"), [(True, ("c:ci-fake", "e:x")), (False, ("e:x",))])
def test_the_container_may_be_left_out(option: bool, fields: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """The admission controller's data stays; the official client finds the container in /proc."""
    from datadog.dogstatsd import base

    monkeypatch.setattr(base, "Cgroup", lambda: type("Found", (), {"container_id": "ci-fake"}))
    monkeypatch.delenv("DD_ORIGIN_DETECTION_ENABLED", raising=False)
    monkeypatch.setenv("DD_EXTERNAL_ENV", "x")
    with DogStatsDReceiver() as receiver:
        with _reporter(receiver, container_id=option) as reporter:
            reporter.increment("orders")
        assert receiver.wait_for(lambda r: r.messages)
        assert receiver.messages[0].origin == fields
