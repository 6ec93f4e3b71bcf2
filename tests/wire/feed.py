"""A scripted feed for the tests of subscriptions: JsonProtocol's messages, answered per channel by a policy."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import wsnova_statsd as ws
from wsnova_statsd.testing.capture import EventLog, capture_events
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer

SUBSCRIPTION = "websockex_nova.subscription"


class Feed:
    """`policy[channel]` is ok (the default), busy (ok, after a message), refuse, silent or drop; or a list of these,
    one for each request."""

    def __init__(self) -> None:
        self.policy: dict[Any, str | list[str]] = {}
        self.asked: list[tuple[str, Any]] = []
        self._changed = threading.Condition()
        self.server = WebSocketServer(self._script)

    def _script(self, connection: ScriptedConnection) -> None:
        for text in connection:
            message = json.loads(text)
            verb, channel = message["type"], message.get("channel")
            policy = self.policy.get(channel, "ok")
            how = policy if isinstance(policy, str) else policy.pop(0) if policy else "ok"
            with self._changed:
                self.asked.append((verb, channel))
                self._changed.notify_all()
            if how == "drop":
                connection.drop()
            elif how == "refuse":
                connection.send(json.dumps({"type": "error", "channel": channel, "message": "no such channel"}))
            elif how in ("ok", "busy"):
                if how == "busy":
                    connection.send('{"type": "work"}')
                connection.send(json.dumps({"type": f"{verb}d", "channel": channel}))

    def wait(self, count: int, timeout: float = 5.0) -> bool:
        """Until so many requests came."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.asked) >= count, timeout)


def wants(*channels: Any) -> list[tuple[str, Any]]:
    """The requests to the feed, if each of these was subscribed to."""
    return [("subscribe", channel) for channel in channels]


@contextmanager
def feeding(feed: Feed, **options: Any) -> Iterator[tuple[ws.Client, EventLog]]:
    """A started client of the feed, financial by default, and its subscription and error events."""
    bus = ws.Bus()
    options = {"profile": "financial", **options}
    prefixes = (SUBSCRIPTION, "websockex_nova.error", ws.events.CONNECTION_RECONNECT_SUCCESS)
    with (
        feed.server,
        capture_events(*prefixes, bus=bus) as log,
        ws.Client(feed.server.url, bus=bus, **options) as client,
    ):
        yield client, log


def outcomes(log: EventLog, verb: str = "subscribe") -> list[tuple[Any, ...]]:
    """Channel, result, confirmed and restored of every conversation that was completed."""
    keys = ("channel", "result", "confirmed", "restored")
    return [tuple(one.metadata[key] for key in keys) for one in log.of(f"{SUBSCRIPTION}.{verb}.completed")]


def faults(log: EventLog) -> list[tuple[str, str, str]]:
    """Type, severity, and the action of every error but those of the connection; an empty text if it was not
    handled."""
    actions = {one.metadata["error_id"]: one.metadata["action"] for one in log.of(ws.events.ERROR_HANDLED)}
    reported = [one.metadata for one in log.of(ws.events.ERROR_OCCURRED) if one.metadata["error_type"] != "connection"]
    return [(one["error_type"], one["severity"], actions.get(one["error_id"], "")) for one in reported]
