"""The table of expected answers: each is settled once, by the thread that finds it; a late one is counted, not
delivered."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.support import until
from wsnova_statsd.client.protocol import Ack
from wsnova_statsd.client.replies import Pending, Replies

ENTRY = (1, b"", 0)


def _entry() -> tuple[int, bytes, int]:
    """An entry that a message was decoded from; only its identity matters."""
    return (1, b"", time.time_ns())


@pytest.fixture
def requests() -> Replies:
    return Replies(ws.JsonRpcProtocol())


def _asked(requests: Replies, key: Any = 1, **options: Any) -> Pending:
    pending = Pending(("reply", key), 10.0, **options)
    assert requests.add(pending)
    return pending


def _reply(key: Any, **fields: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": key, **(fields or {"result": "pong"})}


def test_a_reply_settles_its_request_and_no_other(requests: Replies) -> None:
    """The id decides, in any order."""
    first, second = _asked(requests, 1), _asked(requests, "two")
    assert requests.offer(_reply("two"), ENTRY, owner=True)
    assert (first.done, second.done, second.result, second.answer) == (False, True, "ok", _reply("two"))
    assert requests.offer(_reply(1), ENTRY, owner=True)
    assert (first.done, requests.active) == (True, False)


def test_an_error_reply_rejects_with_the_servers_message(requests: Replies) -> None:
    """The reply is kept, and its message becomes the detail, cut to a bounded length."""
    pending = _asked(requests)
    requests.offer(_reply(1, error={"code": 7, "message": "no" * 5_000}), ENTRY, owner=True)
    assert (pending.result, pending.answer["error"]["code"], len(pending.detail)) == ("rejected", 7, 500)


def test_a_waiting_thread_is_woken_by_the_answer_and_by_what_may_hold_it(requests: Replies) -> None:
    """The keeper wakes the threads that look for themselves."""
    pending, arrived, looks = _asked(requests), list[int](), list[bool]()

    def holds() -> bool:
        looks.append(pending.done or bool(arrived))
        return looks[-1]

    def waits() -> Future[bool]:
        looks.clear()
        waiting = pool.submit(pending.wait_for, holds, 30.0)
        assert until(lambda: len(looks) == 2)  # it has looked again, and sleeps
        return waiting

    with ThreadPoolExecutor(1) as pool:
        waiting = waits()
        arrived.append(1)
        requests.wake()
        assert waiting.result(10.0)
        arrived.clear()
        waiting = waits()
        requests.offer(_reply(1), ENTRY, owner=True)
        assert waiting.result(10.0)


@pytest.mark.parametrize(
    "key", [[1], {"id": 1}, None, True, 1.0, 10**4_000, "1", -1, float("nan"), [[[]]], ""], ids=lambda key: str(key)[:9]
)
def test_a_hostile_id_answers_nothing_and_raises_nothing(requests: Replies, key: object) -> None:
    """Such a message goes to the user like any other, and the request goes on waiting."""
    pending = _asked(requests, 1)
    assert not requests.offer(_reply(key), ENTRY, owner=True)
    assert not pending.done


def test_an_unsolicited_answer_is_delivered_to_the_user(requests: Replies) -> None:
    """A reply or an acknowledgement without a request is not swallowed."""
    assert not requests.offer(_reply(1), ENTRY, owner=True)
    acks = Replies(ws.JsonProtocol())
    acks.add(Pending(("subscribe", "a"), 10.0))
    for kind, channel in (("subscribed", "b"), ("unsubscribed", "a"), ("error", "b")):
        assert not acks.offer({"type": kind, "channel": channel}, ENTRY, owner=True)


def test_two_requests_of_one_key_are_not_expected_at_once(requests: Replies) -> None:
    """The second is refused while the first waits, and accepted after it."""
    pending = _asked(requests, 1)
    assert not requests.add(Pending(pending.key, 10.0))
    assert requests.expected(pending.key) is pending
    requests.offer(_reply(1), ENTRY, owner=True)
    assert requests.add(Pending(pending.key, 10.0))


def test_numbers_avoid_the_ids_that_are_under_way(requests: Replies) -> None:
    """The user's own id does not break a later request that gets a number."""
    _asked(requests, 2)
    assert [requests.number(), requests.number()] == [1, 3]


def test_a_late_reply_is_counted_and_swallowed_once(requests: Replies) -> None:
    """After a timeout the answer is swallowed; a second one of that id is an ordinary message."""
    pending = _asked(requests)
    assert requests.drop(pending, "timeout")
    assert not requests.offer(_reply(1), ENTRY, owner=False)  # a waiting thread leaves it to the owner
    assert requests.active
    assert requests.offer(_reply(1), ENTRY, owner=True)
    assert (requests.late, requests.active, pending.result) == (1, False, "timeout")
    assert not requests.offer(_reply(1), ENTRY, owner=True)
    assert requests.late == 1


def test_only_so_many_late_replies_are_remembered(requests: Replies) -> None:
    """A server that never answers costs a bounded table; the oldest keys are forgotten first."""
    for key in range(1_001):
        requests.drop(_asked(requests, key), "timeout")
    assert not requests.offer(_reply(0), ENTRY, owner=True)
    assert requests.offer(_reply(1_000), ENTRY, owner=True)


def test_an_answer_before_the_deadline_wins(requests: Replies) -> None:
    """A settled request is no longer dropped."""
    pending = _asked(requests)
    requests.offer(_reply(1), ENTRY, owner=True)
    assert not requests.drop(pending, "timeout")
    assert pending.result == "ok"


def test_what_a_waiting_thread_found_is_swallowed_by_the_owner(requests: Replies) -> None:
    """Both decode the same entry; the answer is returned once and never delivered."""
    pending, entry = _asked(requests), _entry()
    assert requests.offer(_reply(1), entry, owner=False)
    assert (pending.result, requests.active) == ("ok", True)
    again = _asked(requests)
    assert requests.offer(_reply(1), entry, owner=False)  # it answers nothing else, whichever thread sees it
    assert requests.offer(_reply(1), entry, owner=True)
    assert (requests.late, again.done) == (0, False)
    assert requests.offer(_reply(1), _entry(), owner=True)


def test_a_lost_link_interrupts_everything_at_once(requests: Replies) -> None:
    """Requests and logins end, and the keys of the old link are invalid on the next."""
    pending, login = _asked(requests), Pending(None, 10.0, lambda message: None)
    requests.add(login)
    requests.drop(_asked(requests, 2), "timeout")
    requests.interrupt()
    assert (pending.result, login.result, requests.active) == ("interrupted", "interrupted", False)
    assert not requests.offer(_reply(2), ENTRY, owner=True)


def test_what_was_found_before_the_loss_is_swallowed_after_it(requests: Replies) -> None:
    """The owner may reach it on the next link only."""
    entry = _entry()
    _asked(requests)
    requests.offer(_reply(1), entry, owner=False)
    requests.interrupt()
    assert requests.offer(_reply(1), entry, owner=True)
    assert not requests.active


def test_what_no_thread_waits_for_expires_and_the_rest_is_left_to_its_thread(requests: Replies) -> None:
    """A restore is dropped at its deadline, a request by the thread that waits for it; a late reply is known for 10
    s."""
    ended: list[Pending] = []
    restore, request = Pending(("reply", 1), 5.0, None, ended.append), _asked(requests, 2)
    requests.add(restore)
    assert requests.next_deadline() == 5.0
    requests.expire(4.999)
    requests.expire(5.0)
    assert (ended, restore.result, request.done) == ([restore], "timeout", False)
    until = requests.next_deadline()
    assert until is not None
    assert until == pytest.approx(time.monotonic() + 10.0, abs=1.0)
    requests.drop(request, "timeout")
    requests.expire(until + 1.0)
    assert (requests.next_deadline(), requests.active) == (None, False)


def test_a_request_that_was_never_sent_is_forgotten_without_an_event(requests: Replies) -> None:
    """Neither its end nor a late reply of it is emitted."""
    ended: list[Pending] = []
    pending = _asked(requests, 1, on_done=ended.append)
    requests.forget(pending)
    assert (ended, requests.active) == ([], False)


def test_a_reader_recognizes_its_answer_among_other_messages(requests: Replies) -> None:
    """None passes a message on, True and False settle the request."""
    verdicts = {"no": False, "yes": True}
    for word, result in (("no", "rejected"), ("yes", "ok")):
        login = Pending(None, 10.0, verdicts.get)
        requests.add(login)
        assert not requests.offer("something else", ENTRY, owner=True)
        assert requests.offer(word, ENTRY, owner=True)
        assert login.result == result


def test_a_reader_that_raises_has_not_found_its_answer(requests: Replies) -> None:
    """It got a message it did not expect; the fault is kept as the reason why no answer came."""
    login = Pending(None, 10.0, lambda message: message["ok"])
    requests.add(login)
    assert not requests.offer([1, 2], ENTRY, owner=True)
    assert isinstance(login.fault, TypeError)
    assert requests.offer({"ok": True}, ENTRY, owner=True)


def test_a_reader_may_use_the_table_itself(requests: Replies) -> None:
    """The user's code runs outside the lock."""
    login = Pending(None, 10.0, lambda message: requests.number() > 0)
    requests.add(login)
    thread = threading.Thread(target=requests.offer, args=("hello", ENTRY), kwargs={"owner": True}, daemon=True)
    thread.start()
    thread.join(5.0)
    assert (thread.is_alive(), login.result) == (False, "ok")


def test_a_late_answer_to_a_login_is_not_delivered_either(requests: Replies) -> None:
    """It may hold a token; it is counted like a late reply."""
    login = Pending(None, 10.0, lambda message: "token" in message or None)
    requests.add(login)
    requests.drop(login, "timeout")
    assert [requests.offer(one, ENTRY, owner=True) for one in ({"price": 1}, {"token": "t"})] == [False, True]
    assert (requests.late, requests.active) == (1, False)


def test_only_so_many_late_logins_are_remembered(requests: Replies) -> None:
    """The latest eight; each is swallowed once."""
    for number in range(9):
        login = Pending(None, 10.0, {number: True}.get)
        requests.add(login)
        requests.drop(login, "timeout")
    assert [requests.offer(number, ENTRY, owner=True) for number in (0, 1, 8, 8)] == [False, True, True, False]
    assert requests.late == 2


def test_an_acknowledgement_for_either_verb_answers_the_one_that_waits() -> None:
    """An error names the channel, not the request."""
    requests = Replies(ws.JsonProtocol())
    ending = Pending(("unsubscribe", "a"), 10.0)
    requests.add(ending)
    assert requests.offer({"type": "error", "channel": "a", "message": "unknown"}, ENTRY, owner=True)
    assert (ending.result, ending.detail) == ("rejected", "unknown")


class _Broken(ws.Protocol):
    def reply_key(self, message: Any) -> Any:
        return message["id"]

    def ack(self, message: Any) -> Ack | None:
        raise RuntimeError


@pytest.mark.parametrize("message", [{"id": [1]}, {"id": {}}, 5, {"id": None}])
def test_what_a_protocol_raises_leaves_the_table_usable(message: Any) -> None:
    """The message is at fault, not the requests under way: the caller reports it, and the next reply is found."""
    requests = Replies(_Broken())
    pending = _asked(requests, "a")
    with pytest.raises((TypeError, RuntimeError)):
        requests.offer(message, ENTRY, owner=True)
    assert requests.offer({"id": "a"}, ENTRY, owner=True)
    assert pending.result == "ok"


def test_every_request_of_many_threads_gets_its_own_reply(requests: Replies) -> None:
    """Eight threads add 200 requests each while their replies come in from a ninth, in any order."""
    asked: list[Pending] = []

    def ask() -> None:
        for _ in range(200):
            pending = Pending(("reply", requests.number()), 10.0)
            assert requests.add(pending)
            asked.append(pending)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    answered = 0
    while any(thread.is_alive() for thread in threads) or answered < len(asked):
        for pending in asked[answered:]:
            answered += requests.offer(_reply(pending.key[1]), ENTRY, owner=True)  # type: ignore[index]
    assert [pending.answer["id"] for pending in asked] == [pending.key[1] for pending in asked]  # type: ignore[index]
    assert (answered, requests.active) == (1_600, False)
