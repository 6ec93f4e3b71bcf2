"""Lines for pipes and documents for programs: what is new, once; the same document read back is the same snapshot."""

import io
import json

from tests.unit.watching import snapshot
from wsnova_statsd.watch.plain import Lines, Printer
from wsnova_statsd.watch.snapshot import Snapshot, Traffic, from_json, to_json

SHOWN = snapshot(
    "shop.orders:3|c|#shop:one",
    "shop.zero:0|c",
    "shop.time_ms:1:2:9|d",
    "shop.level:4|g",
    "_e{4,8}:slow|one\\ntwo|t:warning|#x:1|k:key",
    "_sc|shop.up|2|m:it is down",
    "rubbish",
)


def test_a_line_has_the_time_the_name_the_value_its_figures_and_its_tags() -> None:
    """Events and checks come first; a count of 0 is not printed again after the first time."""
    lines = Lines()
    first = [" ".join(line.split()[1:]) for line in lines.of(SHOWN)]
    assert first == [
        "event warning slow one two x:1",
        "check CRITICAL shop.up it is down",
        "shop.level gauge 4",
        "shop.orders count 3 3/s shop:one",
        "shop.time_ms distribution 4 ms 3/s n=3 p50=2.06ms p95=9ms max=9ms",
        "shop.zero count 0 0/s",
        "watch: 1 lines not read",
    ]
    assert list(lines.of(SHOWN)) == []


def test_only_lines_with_the_words_of_the_filter_are_printed() -> None:
    assert [line.split()[1] for line in Lines("ORDERS").of(SHOWN)] == ["shop.orders", "watch:"]


def test_a_document_holds_everything_but_the_history_which_earlier_ones_held() -> None:
    document = json.loads(to_json(SHOWN, history=False))
    (orders,) = (row for row in document["rows"] if row["name"] == "shop.orders")
    assert (orders["value"], orders["rate"], orders["tags"]) == (3.0, 3.0, ["shop:one"])
    assert "history" not in orders
    assert (document["events"][0]["text"], document["events"][0]["aggregation_key"]) == ("one\ntwo", "key")
    assert document["rejected"][0]["example"] == "rubbish"


def test_a_document_read_back_is_the_same_snapshot() -> None:
    """Keys that another version has added do not matter."""
    shown = snapshot("a:1:2|d", "b:1|g", output=("one",), traffic=Traffic(lines=5, dropped=None))
    assert from_json(to_json(shown)) == shown
    assert from_json(to_json(shown)[:-1] + ',"later":[{"x":1}]}') == shown


class _Source:
    def __init__(self) -> None:
        self.asked = 0

    def snapshot(self) -> Snapshot:
        self.asked += 1
        return snapshot(f"a:{self.asked}|g")

    def clear(self) -> None:
        raise AssertionError


class _Out(io.StringIO):
    flushed = 0

    def flush(self) -> None:
        self.flushed += 1


def test_it_prints_a_document_a_second_until_it_is_over_and_flushes_each() -> None:
    out, slept = _Out(), list[float]()
    Printer(_Source(), out, document=True).run(lambda: len(slept) == 2, slept.append)
    documents = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [document["rows"][0]["value"] for document in documents] == [1.0, 2.0]
    assert slept == [1.0, 1.0]
    assert out.flushed >= 2


def test_ctrl_c_ends_it_and_what_has_come_since_can_be_printed() -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    out = io.StringIO()
    printer = Printer(_Source(), out)
    printer.run(lambda: False, interrupt)
    assert out.getvalue() == ""
    printer.tell()
    assert out.getvalue().split()[1] == "a"
