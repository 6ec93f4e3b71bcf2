"""The receiver on real sockets: it stores what arrives, reads it strictly, and stops on request."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsnova_statsd.testing.dogstatsd import Message, Metric
from wsnova_statsd.testing.receiver import DogStatsDReceiver


@pytest.fixture(params=["udp", "udp6", "unix"])
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DogStatsDReceiver]:
    if request.param == "unix":
        made = DogStatsDReceiver(str(tmp_path / "dsd.socket"))
    else:
        made = DogStatsDReceiver(host="::1" if request.param == "udp6" else "127.0.0.1")
    with made:
        yield made


def _send(receiver: DogStatsDReceiver, *datagrams: bytes) -> None:
    internet = socket.AF_INET6 if ":" in receiver.host else socket.AF_INET
    with socket.socket(internet if receiver.path is None else socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        for datagram in datagrams:
            sock.sendto(datagram, receiver.address)


def test_metrics_events_and_checks_arrive(receiver: DogStatsDReceiver) -> None:
    """With any transport, a datagram is kept raw and parsed."""
    _send(receiver, b"a:1|c|#x:y\nb:2|g", b"_e{1,1}:t|x", b"_sc|up|0")
    assert receiver.wait_for(lambda r: r.checks)
    assert receiver.datagrams == [b"a:1|c|#x:y\nb:2|g", b"_e{1,1}:t|x", b"_sc|up|0"]
    assert [type(m).__name__ for m in receiver.messages] == ["Metric", "Metric", "Event", "ServiceCheck"]
    assert [m.name for m in receiver.metrics()] == ["a", "b"]
    assert (receiver.events[0].title, receiver.checks[0].name) == ("t", "up")


def test_a_malformed_datagram_is_kept_apart(receiver: DogStatsDReceiver) -> None:
    """It ends neither the thread nor the test: it is in `malformed` with its reason, and none of it counts."""
    _send(receiver, b"a:1|c\nb:nan|c", b"c:1|c")
    assert receiver.wait_for(lambda r: r.count("c") == 1)
    assert receiver.malformed == [(b"a:1|c\nb:nan|c", "bad number 'nan': 'b:nan|c'")]
    assert receiver.count("a") == 0
    assert len(receiver.datagrams) == 2


def test_totals_values_and_last_are_returned_by_name_and_tags(receiver: DogStatsDReceiver) -> None:
    """Tags match as a subset, passed as a list, as a mapping or as one text."""
    _send(
        receiver,
        b"n:2:3|c|#client:a,type:t\nn:5|c|@0.5|#client:b\nd:1:2:3|d|@0.5|#client:a",
        b"g:1|g|#client:a\ng:2|g|#client:b\ng:3|g|#client:a",
    )
    assert receiver.wait_for(lambda r: r.last("g") == 3)
    assert receiver.count("n") == 15
    assert receiver.count("n", ["client:a"]) == receiver.count("n", {"client": "a", "type": "t"}) == 5
    assert receiver.count("n", "client:b") == 10
    assert receiver.count("d") == 6
    assert receiver.values("n") == [2, 3, 5]
    assert receiver.values("d", {"client": "b"}) == []
    assert receiver.last("g", {"client": "b"}) == 2
    assert receiver.last("n") is None
    assert [m.type for m in receiver.metrics(tags={"client": "a"})] == ["c", "d", "g", "g"]


def test_what_arrived_before_stop_still_counts(receiver: DogStatsDReceiver) -> None:
    """The kernel's buffer is read to its end before the thread ends."""
    _send(receiver, *[b"a:1|c"] * 5)
    receiver.stop()
    assert receiver.count("a") == 5


def test_waiting_ends_with_the_deadline(receiver: DogStatsDReceiver) -> None:
    """For a condition that does not come true it returns False."""
    assert receiver.wait_for(lambda r: r.events, timeout=0.01) is False


def test_clear_forgets(receiver: DogStatsDReceiver) -> None:
    """After clear() the receiver is as new, and goes on receiving."""
    _send(receiver, b"a:1|c", b"broken")
    assert receiver.wait_for(lambda r: r.malformed)
    receiver.clear()
    assert (receiver.datagrams, receiver.messages, receiver.malformed) == ([], [], [])
    _send(receiver, b"a:1|c")
    assert receiver.wait_for(lambda r: r.count("a") == 1)


def test_it_can_be_stopped_and_started_again_at_the_same_address(receiver: DogStatsDReceiver) -> None:
    """An Agent that stops and comes back: same address, and the same memory."""
    address = receiver.address
    receiver.stop()
    receiver.stop()
    receiver.start()
    assert receiver.start() is receiver
    assert receiver.address == address
    _send(receiver, b"a:1|c")
    assert receiver.wait_for(lambda r: r.count("a") == 1)


def test_the_thread_is_a_named_daemon_that_ends_with_stop() -> None:
    """One thread, `wsnova-receiver`, from start() to stop() and not before."""

    def mine() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "wsnova-receiver"]

    receiver = DogStatsDReceiver()
    assert mine() == []
    with receiver:
        (thread,) = mine()
        assert thread.daemon
        assert receiver.port > 0
    assert not thread.is_alive()


def test_the_callback_sees_every_message_and_its_error_ends_nothing() -> None:
    """`on_message` runs in the receiver's thread; what it raises is kept, and the next message still comes."""
    seen: list[tuple[str, Message]] = []

    def on_message(message: Message) -> None:
        seen.append((threading.current_thread().name, message))
        raise ValueError(message.line)

    with DogStatsDReceiver(on_message=on_message) as receiver:
        _send(receiver, b"a:1|c\nb:1|c", b"c:1|c")
        assert receiver.wait_for(lambda r: len(r.callback_errors) == 3)
    assert {name for name, _ in seen} == {"wsnova-receiver"}
    assert [message.line for _, message in seen] == ["a:1|c", "b:1|c", "c:1|c"]
    assert list(map(str, receiver.callback_errors)) == ["a:1|c", "b:1|c", "c:1|c"]


def test_the_callback_may_stop_the_receiver() -> None:
    """stop() from the receiver's own thread does not wait for itself, and several batches are still read."""

    def on_message(message: Message) -> None:
        if message.line == "a:1|c":
            _send(made, *[b"b:1|c"] * 200)
            made.stop(timeout=20)

    made = DogStatsDReceiver(on_message=on_message)
    with made:
        _send(made, b"a:1|c")
        assert made.wait_for(lambda r: r.count("b") == 200)


def test_a_stuck_callback_does_not_hold_up_stop() -> None:
    """The deadline of stop() applies, whatever user code does."""
    entered, leave = threading.Event(), threading.Event()

    def on_message(_: Message) -> None:
        entered.set()
        leave.wait(10)

    before = set(threading.enumerate())  # a test before may have left one that ends just now
    receiver = DogStatsDReceiver(on_message=on_message).start()
    _send(receiver, b"a:1|c")
    assert entered.wait(5)
    (thread,) = [one for one in threading.enumerate() if one.name == "wsnova-receiver" and one not in before]
    receiver.stop(timeout=0.01)
    assert thread.is_alive()
    leave.set()
    thread.join(5)
    assert not thread.is_alive()


def test_keep_bounds_what_is_remembered() -> None:
    """A long demo sees every message and remembers only the newest."""
    seen: list[Message] = []
    with DogStatsDReceiver(keep=2, on_message=seen.append) as receiver:
        _send(receiver, *[b"a:%d|c" % n for n in range(10)])
        assert receiver.wait_for(lambda r: r.values("a") == [8, 9])
    assert len(seen) == 10
    assert len(receiver.datagrams) == 2


def test_an_oversize_datagram_is_malformed() -> None:
    """Over UDP it arrives whole, and is refused at the receiver's limit or at the Agent's."""
    with DogStatsDReceiver(max_datagram=1432) as receiver:
        _send(receiver, b"a:1|c|#" + b"t," * 720, b"b:1|c")
        assert receiver.wait_for(lambda r: r.count("b") == 1)
        assert [(len(data), why) for data, why in receiver.malformed] == [
            (1447, "datagram of 1447 bytes, at most 1432 fit")
        ]


def test_a_burst_is_received_whole(tmp_path: Path) -> None:
    """More than one batch at once: a Unix socket blocks the sender instead of losing anything."""
    with DogStatsDReceiver(str(tmp_path / "dsd.socket")) as receiver:
        _send(receiver, *[b"a:1|c"] * 2000)
        assert receiver.wait_for(lambda r: r.count("a") == 2000)
    assert receiver.malformed == []


def test_many_senders_and_readers_at_once_lose_nothing(tmp_path: Path) -> None:
    """Senders, waiting readers and the reading thread share the store: sent == counted."""
    with DogStatsDReceiver(str(tmp_path / "dsd.socket")) as receiver:
        reported: list[bool] = []
        threads = [threading.Thread(target=_send, args=(receiver, *[b"a:1|c|#t:%d" % n] * 300)) for n in range(4)]
        threads += [
            threading.Thread(target=lambda: reported.append(receiver.wait_for(lambda r: r.count("a") == 1200, 20)))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert reported == [True, True]
        assert [receiver.count("a", {"t": n}) for n in range(4)] == [300.0] * 4


def test_stop_removes_the_socket_file_it_made(tmp_path: Path) -> None:
    """The path is free afterwards, even if the file was removed before."""
    path = tmp_path / "dsd.socket"
    with DogStatsDReceiver(str(path)):
        assert path.is_socket()
    assert not path.exists()
    with DogStatsDReceiver(str(path)):
        path.unlink()
    assert not path.exists()


def test_stop_leaves_another_file_at_its_path_alone(tmp_path: Path) -> None:
    """A file that has replaced our socket stays there."""
    path = tmp_path / "dsd.socket"
    with DogStatsDReceiver(str(path)):
        path.rename(tmp_path / "moved")
        path.write_text("not ours")
    assert path.read_text() == "not ours"


def test_an_address_in_use_is_an_error_at_start(tmp_path: Path) -> None:
    """start() raises OSError, leaves the other's socket file alone, and may be tried again."""
    path = tmp_path / "dsd.socket"
    late = DogStatsDReceiver(str(path))
    with DogStatsDReceiver(str(path)) as first:
        with pytest.raises(OSError, match="in use"):
            late.start()
        late.stop()
        _send(first, b"a:1|c")
        assert first.wait_for(lambda r: r.count("a") == 1)
    with late:
        assert path.is_socket()


def test_the_official_client_is_understood(receiver: DogStatsDReceiver) -> None:
    """Lines of datadog's own client pass the strict reader, through UDP and Unix sockets."""
    datadog = pytest.importorskip("datadog.dogstatsd.base")
    client = datadog.DogStatsd(
        host=receiver.host,
        port=receiver.port,
        socket_path=receiver.path,
        disable_telemetry=True,
        disable_buffering=True,
        origin_detection_enabled=False,
    )
    client.increment("a", 3, tags=["x:y"])
    client.distribution("d", "1:2:3", sample_rate=1)
    client.event("T\u20ac", "one\ntwo", alert_type="error", aggregation_key="k")
    client.service_check("up", 1, message="slow")
    assert receiver.wait_for(lambda r: r.checks)
    client.close_socket()
    assert receiver.malformed == []
    assert (receiver.count("a", {"x": "y"}), receiver.values("d")) == (3, [1, 2, 3])
    assert receiver.events[0].text == "one\ntwo"
    assert all(isinstance(message, Metric) for message in receiver.messages[:2])
