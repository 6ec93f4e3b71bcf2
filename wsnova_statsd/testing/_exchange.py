"""The base of scripted exchanges: channels, credentials, heartbeats, and controls for tests.

Threads: each connection is served in its own thread; call every control from any thread. A session's lock makes an
answer and the change it causes atomic. Subclasses define the dialect: how a call is answered.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, ClassVar

from wsnova_statsd.errors import MissingExtra
from wsnova_statsd.testing.server import Message, ScriptedConnection, WebSocketServer

try:
    from websockets.exceptions import ConnectionClosed
except ImportError as error:
    raise MissingExtra("websockets", "testing") from error


class Session:
    """One connection's state. `lock` makes an answer and the change it causes atomic for publish()."""

    def __init__(self, connection: ScriptedConnection, interval: float) -> None:
        self.connection = connection
        self.lock: threading.RLock = threading.RLock()
        self.channels: set[str] = set()
        self.login_until: float = 0.0  # a time of time.monotonic()
        self.unanswered: bool = False  # whether a heartbeat has no answer yet
        self.asked: list[float] = []  # times of requests, if they are limited; also of time.monotonic()
        self.beat_every(interval)

    def say(self, message: Any) -> None:
        """Send text and bytes unchanged, anything else as JSON. Raises ConnectionClosed."""
        data = message if isinstance(message, str | bytes) else json.dumps(message, separators=(",", ":"))
        with self.lock:
            self.connection.send(data)

    def beat_every(self, interval: float) -> None:
        """Send heartbeats at this interval from now on; 0 sends none."""
        self.interval: float = interval
        self.unanswered = False
        self.due: float = time.monotonic() + interval

    def receive(self) -> Message | None:
        """The client's next message; None if a heartbeat is due before it comes."""
        try:
            return self.connection.recv(max(0.0, self.due - time.monotonic()) if self.interval else None)
        except TimeoutError:
            return None


class Exchange(WebSocketServer):
    """The base class: channels, credentials, heartbeats, and the controls for a test.

    `credentials` maps ids to secrets; None accepts any pair. With `login_required` a subscription needs a login that
    has not expired. `refused` lists channels to refuse, as `refuse` does. Further options are those of WebSocketServer
    except `script`.
    """

    beat: ClassVar[Any] = None  # the message of a heartbeat

    def __init__(
        self,
        *,
        credentials: Mapping[str, str] | None = None,
        login_required: bool = False,
        refused: Iterable[str] = (),
        beat_every: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(self._converse, **options)
        self.credentials = credentials
        self.login_required = login_required
        self._beat_every = beat_every
        self._refused = set(refused)  # _changed guards this field and those below
        self._sessions: list[Session] = []
        self._calls: list[Any] = []

    def publish(self, channel: str, data: Any) -> int:
        """Send data to every connection that is subscribed to the channel. Returns how many there were."""
        with self._changed:
            sessions = list(self._sessions)
        reached = 0
        for session in sessions:
            with session.lock, suppress(ConnectionClosed):
                if channel in session.channels:
                    session.say(self.notification(channel, data))
                    reached += 1
        return reached

    def refuse(self, *channels: str) -> None:
        """Refuse subscriptions to these channels from now on; existing ones continue."""
        with self._changed:
            self._refused.update(channels)

    def allow(self, *channels: str) -> None:
        """Stop refusing these channels."""
        with self._changed:
            self._refused.difference_update(channels)

    def subscribers(self, channel: str) -> int:
        """The number of open connections that are subscribed to the channel."""
        with self._changed:
            return sum(channel in session.channels for session in self._sessions)

    def calls(self, name: str | None = None) -> list[Any]:
        """What clients have sent so far, decoded, in order; with `name`, only requests with this method or op."""
        with self._changed:
            return [
                call
                for call in self._calls
                if name is None or (isinstance(call, dict) and name in (call.get("method"), call.get("op")))
            ]

    def opened(self, session: Session) -> None:
        """Called when a connection begins. Does nothing by default."""

    def notification(self, channel: str, data: Any) -> Any:
        """The message that carries a channel's data."""
        raise NotImplementedError

    def answer(self, session: Session, call: Any) -> None:
        """Answer a call; called with the session's lock held."""
        raise NotImplementedError

    def _converse(self, connection: ScriptedConnection) -> None:
        session = Session(connection, self._beat_every)
        self.opened(session)
        with self._changed:
            self._sessions.append(session)
        try:
            while True:
                if session.interval and time.monotonic() >= session.due:
                    if session.unanswered:
                        connection.close(1000, "a heartbeat was not answered")
                        return
                    session.beat_every(session.interval)
                    session.unanswered = True
                    session.say(self.beat)
                text = session.receive()
                if text is not None:
                    call = self._read(text)
                    with session.lock:
                        self.answer(session, call)
                        self._note(call)
        finally:
            with self._changed:
                self._sessions.remove(session)
                self._changed.notify_all()

    def _read(self, text: Message) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            return text

    def _note(self, call: Any) -> None:
        with self._changed:
            self._calls.append(call)
            self._changed.notify_all()

    def permits(self, channel: str) -> bool:
        """Whether clients may subscribe to a channel."""
        with self._changed:
            return channel not in self._refused

    def knows(self, name: Any, secret: Any) -> bool:
        """Whether these are valid credentials."""
        if self.credentials is None:
            return True
        return isinstance(name, str) and name in self.credentials and self.credentials[name] == secret

    def locks_out(self, session: Session) -> bool:
        """Whether the session needs a login but has none that is still valid."""
        return self.login_required and time.monotonic() >= session.login_until
