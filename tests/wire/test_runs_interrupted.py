"""Many messages in one read, and what interrupts them: a signal's handler that raises, a decoder that raises
what it should not, a client that is closed meanwhile. None is lost, none comes twice. A KeyboardInterrupt raised by a
decoder or a telemetry handler stands for Ctrl-C at that moment."""

import threading
from collections.abc import Iterable
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.support import until
from tests.wire.test_runs import MANY, N, _frames, _sent
from wsnova_statsd.link.frames import TEXT
from wsnova_statsd.link.link import Driver
from wsnova_statsd.testing.tcp import CLOSE, Connection, TcpServer, server_frame


def _numbers(client: ws.Client) -> list[int]:
    return [message["n"] for message in client]


def _collect(messages: Iterable[Any], numbers: list[int]) -> None:
    for message in messages:
        numbers.append(message["n"])  # what came before an interruption counts


class _Interrupted(ws.JsonProtocol):
    """Decoding message 40 is interrupted, once."""

    def __init__(self) -> None:
        super().__init__()
        self.interrupted = False

    def decode(self, data: str | bytes) -> Any:
        message = super().decode(data)
        if message["n"] == 40 and not self.interrupted:
            self.interrupted = True
            raise KeyboardInterrupt
        return message

    def text_decoder(self) -> Any:
        return lambda payload: self.decode(payload.decode())


@pytest.mark.parametrize("profile", [ws.STANDARD, ws.FINANCIAL], ids=["runs", "one by one"])
def test_a_loop_interrupted_while_a_message_is_decoded_loses_none(profile: ws.Profile) -> None:
    got: list[int] = []
    with _sent(MANY, observed=[ws.events.MESSAGE_RECEIVED], profile=profile, protocol=_Interrupted()) as (client, *_):
        client.start()
        with pytest.raises(KeyboardInterrupt):
            _collect(client, got)
        assert got + _numbers(client) == [*range(N)]


def test_receive_interrupted_while_a_message_is_decoded_loses_none() -> None:
    got: list[int] = []
    with _sent(MANY, protocol=_Interrupted()) as (client, _log, _bus):
        client.start()
        with pytest.raises(KeyboardInterrupt):
            _collect(iter(lambda: client.receive(5), None), got)
        assert got + _numbers(client) == [*range(N)]


def test_a_loop_interrupted_while_its_sums_are_emitted_loses_none() -> None:
    """When it is left: messages that it did not reach are put back first."""

    def interrupt(*_: object) -> None:
        bus.detach("interrupt")
        raise KeyboardInterrupt

    with _sent(MANY, profile=ws.STANDARD.replace(slow_after=1e-9)) as (client, _log, bus):
        bus.attach("interrupt", ws.events.MESSAGE_PROCESS_SLOW, interrupt)
        client.start()
        messages = iter(client)
        got = [next(messages)["n"]]
        with pytest.raises(KeyboardInterrupt):
            messages.close()  # type: ignore[attr-defined]
        assert got + _numbers(client) == [*range(N)]


def test_a_decoder_that_raises_stop_iteration_costs_its_message_only() -> None:
    """It ends no loop, and causes no endless one."""

    def decode(text: str) -> Any:
        return next(iter(())) if '"n":40}' in text else text

    got: list[Any] = []
    protocol = ws.JsonProtocol(loads=decode)
    with _sent(MANY, protocol=protocol, on_message=got.append) as (client, log, _bus):
        client.start()
        assert client.wait(10)
    assert got == MANY[:40] + MANY[41:]
    assert [one.metadata["error_type"] for one in log.of(ws.events.ERROR_OCCURRED)].count("decode") == 1


def test_a_client_closed_by_on_error_gets_no_more_messages() -> None:
    """One by one, too, and after the server's close frame was read."""
    got: list[int] = []
    broken = [*MANY[:40], "{", *MANY[41:80]]  # in one read with the close frame

    def close(*_: object) -> None:
        client.close(0.5)

    with _sent(
        broken,
        observed=[ws.events.MESSAGE_RECEIVED],
        profile=ws.FINANCIAL,
        client_id="closed-by-on-error",
        on_message=lambda message: got.append(message["n"]),
        on_error=close,
    ) as (client, _log, _bus):
        client.start()
        assert client.wait(10)
        assert until(lambda: not any("closed-by-on-error" in thread.name for thread in threading.enumerate()))
    assert got == [*range(40)]


def test_what_came_before_a_breach_may_be_answered_by_a_slow_handler() -> None:
    """The keeper reads on meanwhile; the link is ended for the breach once the last message is processed."""
    some, kept = MANY[:10], threading.Event()
    observed: list[tuple[int, bytes]] = []

    def script(connection: Connection) -> None:
        connection.accept_upgrade()
        connection.send(_frames(some) + server_frame(0x3, b""))  # a reserved opcode
        kept.wait(10)
        connection.send(_frames(some))
        while not observed or observed[-1][0] != CLOSE:
            observed.append(connection.read_frame())

    def on_message(message: Any) -> None:
        link: Any = client._lifecycle and client._lifecycle.connection.link
        if message["n"] == 0:
            assert until(lambda: link.driver is Driver.KEEPER)
            read = link.session.arrived_bytes
            kept.set()
            assert until(lambda: link.session.arrived_bytes > read)
        client.send_text(str(message["n"]))

    with TcpServer(script) as server:
        client = ws.Client(server.url, protocol=ws.JsonProtocol(), on_message=on_message, reconnect=False, bus=ws.Bus())
        client.start()
        assert client.wait(10)
        assert until(lambda: bool(observed) and observed[-1][0] == CLOSE)
    assert observed == [*((TEXT, str(n).encode()) for n in range(10)), (CLOSE, (1002).to_bytes(2, "big"))]
