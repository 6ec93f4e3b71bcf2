"""At most one log record for each kind of fault and minute."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.faults.interrupting import re_entering
from wsnova_statsd.log_limit import LOG_EVERY, LogLimit
from wsnova_statsd.testing.clock import FakeClock


def test_a_kind_is_due_once_a_minute() -> None:
    """The first time at once; other kinds have their own minutes."""
    clock = FakeClock()
    limit = LogLimit(clock)
    assert [limit.due(kind) for kind in ("a", "a", "b", None)] == [True, False, True, True]
    assert not limit.due()


def test_a_kind_that_is_forgotten_is_due_at_once() -> None:
    """Forgetting one that was never logged does nothing."""
    limit = LogLimit(FakeClock())
    limit.forget("a")
    assert limit.due("a")
    limit.forget("a")
    assert limit.due("a")


def test_another_interval() -> None:
    """In seconds."""
    clock = FakeClock()
    limit = LogLimit(clock, every=5)
    assert limit.due()
    clock.advance(4)
    assert not limit.due()
    clock.advance(1)
    assert limit.due()


def _raised(act: Callable[[], object]) -> Exception:
    try:
        act()
    except Exception as error:
        return error
    raise AssertionError


def _number(text: str) -> object:
    return int(text)


def _another_number() -> object:
    return int("bad")


def _look_up(things: dict[str, int]) -> object:
    return things["a"] + len(things["b"])  # type: ignore[arg-type]


def test_a_fault_of_another_class_or_line_is_another_kind() -> None:
    """The same line with another text is not; a minute later all are due again, and are forgotten together."""
    clock = FakeClock()
    limit = LogLimit(clock)
    acts: list[Callable[[], object]] = [
        *(partial(_number, "bad"), partial(_number, "bad"), partial(_number, "worse"), _another_number),
        *(partial(_look_up, {}), partial(_look_up, {"a": 1, "b": 2}), _another_number),
    ]
    for _ in range(2):
        assert [limit.due("handler", _raised(act)) for act in acts] == [True, False, False, True, True, True, False]
        assert limit.due("another handler", _raised(_another_number))
        clock.advance(LOG_EVERY)
    assert limit.due("handler", _raised(_another_number))
    assert limit.due("handler", ValueError("was never raised"))
    assert limit.due("another handler", _raised(_another_number))
    limit.forget("handler")
    assert [limit.due(kind, _raised(_another_number)) for kind in ("handler", "another handler")] == [True, False]


def test_an_error_whose_attributes_raise_is_known_by_its_class() -> None:
    class Hostile(Exception):
        @property
        def __traceback__(self) -> Any:  # type: ignore[override]
            raise RuntimeError

    limit = LogLimit(FakeClock())
    assert [limit.due("a", Hostile()), limit.due("a", Hostile()), limit.due("a", ValueError())] == [True, False, True]


def test_endless_kinds_take_no_memory_and_log_at_most_a_thousand_records() -> None:
    """A minute later new kinds are logged, and the old ones are forgotten."""
    clock = FakeClock()
    limit = LogLimit(clock)
    assert sum(limit.due(number) for number in range(5_000)) == 1_000
    clock.advance(LOG_EVERY)
    assert sum(limit.due(number) for number in range(5_000, 10_000)) == 1_000


def test_a_signals_handler_may_ask_at_any_line() -> None:
    """Nothing hangs, and the answer it got still holds afterwards."""

    def interrupted_at(line: int) -> bool:
        limit = LogLimit(lambda: 1000.0)
        found = re_entering(lambda: limit.due("a"), lambda: limit.due("a"), line)
        assert not limit.due("a")
        return found

    assert next(line for line in itertools.count(1) if not interrupted_at(line)) > 4
