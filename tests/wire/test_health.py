"""client.health(): what it returns for a client in each state, against a real server."""

import json
import os
import threading
import time

import pytest

import wsnova_statsd as ws
from tests.support import until
from wsnova_statsd.client.health import Health
from wsnova_statsd.testing.server import WebSocketServer, closes, echo, send_messages, silent

QUICK = ws.STANDARD.replace(first_retry=0.0, retry_base=0.05, retry_cap=0.05)
NOTHING = dict.fromkeys(("connected_since", "disconnected_since", "error", "last_message_at"))
NONE_YET = {"received": 0, "sent": 0, "reconnects": 0, "waiting": 0, "behind": 0.0}


def _since(reported: float | None, began: float) -> bool:
    """Whether this is a time between then and now, by a clock that is read to the millisecond."""
    return reported is not None and began - 0.01 <= reported <= time.time() + 0.01


def test_a_client_that_was_not_started_is_degraded_and_has_counted_nothing(bus: ws.Bus) -> None:
    """With all its keys, as in every other state."""
    client = ws.Client("ws://127.0.0.1:1", client_id="a", bus=bus)
    assert client.health() == {"client_id": "a", "status": "degraded", "state": "idle", **NOTHING, **NONE_YET}
    assert list(client.health()) == list(Health.__annotations__)


def test_health_of_a_connected_client_has_its_time_and_counts_what_it_sends_and_receives(bus: ws.Bus) -> None:
    """Exactly, at once, and without a handler on the bus; ready for JSON."""
    began = time.time()
    with WebSocketServer(echo) as server, ws.Client(server.url, client_id="a", bus=bus) as client:
        assert client.health()["last_message_at"] is None
        for number in range(1, 4):
            client.send({"n": number})
            client.receive(timeout=5)
            reported = client.health()
            assert (reported["received"], reported["sent"]) == (number, number)
        assert (reported["status"], reported["state"], reported["disconnected_since"]) == ("ok", "connected", None)
        assert (reported["waiting"], reported["behind"], reported["reconnects"]) == (0, 0.0, 0)
        assert _since(reported["connected_since"], began)
        assert _since(reported["last_message_at"], reported["connected_since"] or 0)
        assert json.loads(json.dumps(reported)) == reported
    closed = client.health()
    assert (closed["status"], closed["state"], closed["connected_since"]) == ("degraded", "closed", None)
    assert (closed["received"], closed["sent"], closed["disconnected_since"]) == (3, 3, None)


def test_messages_that_are_delivered_in_bulk_are_counted_one_by_one(bus: ws.Bus) -> None:
    """Also within the body of a loop."""
    messages = [json.dumps({"type": "tick", "n": number}) for number in range(2000)]
    with WebSocketServer(send_messages(messages)) as server, ws.Client(server.url, bus=bus) as client:
        for number, _ in enumerate(client, 1):
            if number in (1, 1000, 2000):
                reported = client.health()
                assert reported["received"] - reported["waiting"] == number
                assert reported["status"] == "ok"
            if number == 2000:
                break


def test_a_lost_link_is_in_health_with_its_time_and_the_next_one_goes_on_counting(bus: ws.Bus) -> None:
    """`received` and `sent` are since the start, `connected_since` is that of the link."""
    with WebSocketServer(echo) as server:
        got: list[object] = []
        client = ws.Client(server.url, client_id="a", profile=QUICK, on_message=got.append, bus=bus).start(timeout=5)
        client.send({"n": 1})
        until(lambda: len(got) == 1)
        first = client.health()
        server.stop(drop=True)
        until(lambda: client.health()["disconnected_since"] is not None)
        lost = client.health()
        assert (lost["status"], lost["connected_since"], lost["received"]) == ("degraded", None, 1)
        assert lost["error"]
        assert _since(lost["disconnected_since"], first["connected_since"] or 0)
        assert lost["last_message_at"] == pytest.approx(first["last_message_at"], abs=0.05)
        server.start()
        until(lambda: client.health()["status"] == "ok")
        client.send({"n": 2})
        until(lambda: len(got) == 2)
        again = client.health()
        assert (again["received"], again["sent"], again["reconnects"], again["error"]) == (2, 2, 1, None)
        assert _since(again["connected_since"], lost["disconnected_since"] or 0)
        client.close()
        restarted = client.start(timeout=5).health()
        client.close()
    assert (restarted["received"], restarted["reconnects"], restarted["last_message_at"]) == (0, 0, None)


def test_a_client_that_falls_behind_is_degraded_until_it_has_caught_up(bus: ws.Bus) -> None:
    """In a slow handler, by how long the first message has waited."""
    let_go = threading.Event()
    with (
        WebSocketServer(send_messages(["{}"] * 5)) as server,
        ws.Client(server.url, on_message=lambda message: let_go.wait(20), bus=bus) as client,
    ):
        until(lambda: client.health()["status"] == "degraded")
        reported = client.health()
        assert (reported["state"], reported["received"], reported["waiting"]) == ("connected", 5, 4)
        assert 1.0 <= reported["behind"] < 20
        let_go.set()
        until(lambda: client.health()["status"] == "ok")
        assert client.health()["behind"] == 0.0


def test_a_fast_callback_without_a_handler_is_never_behind(bus: ws.Bus) -> None:
    """Untimed runs count as handled, too: a second of a flood, then another."""
    stop = time.monotonic() + 2.5

    def flood(connection: object) -> None:
        while time.monotonic() < stop:
            connection.send('{"type":"tick"}')  # type: ignore[attr-defined]

    with WebSocketServer(flood) as server, ws.Client(server.url, on_message=lambda _: None, bus=bus) as client:
        until(lambda: client.health()["received"] > 100)
        while time.monotonic() < stop - 0.2:
            assert client.health()["behind"] < 1.0
            time.sleep(0.02)


def test_why_a_client_ended_by_itself_is_in_health_without_secrets_and_a_close_is_no_error(bus: ws.Bus) -> None:
    """A try that was refused for good, a link without reconnect, a handler that exits; then close()."""

    def leave(message: object) -> None:
        raise SystemExit(3)

    with WebSocketServer(closes(4000, "token=S3cret")) as server, WebSocketServer(send_messages(["{}"])) as other:
        refused = ws.Client(f"{server.url}/?token=S3cret", unix_socket="/nowhere", reconnect=False, bus=bus)
        with pytest.raises(ws.errors.ConnectionFailed):
            refused.start(timeout=5)
        once = ws.Client(server.url, on_message=print, reconnect=False, bus=bus).start(timeout=5)
        exits = ws.Client(other.url, on_message=leave, bus=bus).start(timeout=5)
        closed = ws.Client(other.url, on_message=lambda _: None, bus=bus).start(timeout=5)
        closed.close()
        for client in (once, exits):
            assert client.wait(5)
    reported = [client.health()["error"] or "" for client in (refused, once, exits)]
    assert "/nowhere" in reported[0]
    assert "close_4000" in reported[1]
    assert "SystemExit" in reported[2]
    assert not any("S3cret" in one for one in reported)
    assert closed.health()["error"] is None


def test_health_in_a_forked_child_says_so(bus: ws.Bus) -> None:
    """And has none of its parent's figures."""
    with WebSocketServer(silent) as server, ws.Client(server.url, client_id="a", bus=bus) as client:
        reading, writing = os.pipe()
        if not (child := os.fork()):
            os.write(writing, json.dumps(client.health()).encode())
            os._exit(0)
        os.waitpid(child, 0)
        reported = json.loads(os.read(reading, 4096))
        os.close(reading)
        os.close(writing)
        assert reported == {"client_id": "a", "status": "degraded", "state": "forked", **NOTHING, **NONE_YET}
        assert client.health()["status"] == "ok"
