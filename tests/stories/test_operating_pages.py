"""The pages for operators - Monitor, operations, troubleshooting, plain StatsD - say what the code does.

Quoted log lines and errors are in the code, what they name exists, their Python runs, and each row on what is lost has
the tests that show it.
"""

import ast
import os
import re
import shlex
import signal
from collections.abc import Iterator
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.stories.page_blocks import EXAMPLES, Page
from tests.stories.quoted import is_said, nearest
from tests.stories.test_examples import ROOT
from tests.support import until
from wsnova_statsd import environment
from wsnova_statsd.cli.main import build_parser
from wsnova_statsd.dashboards.lint import lint
from wsnova_statsd.testing.capture import capture_events
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import WebSocketServer

OPERATIONS, TROUBLESHOOTING = Page("operations"), Page("troubleshooting")
PAGES = (Page("monitor"), OPERATIONS, TROUBLESHOOTING, Page("plain_statsd"))
PACKAGE = ROOT / "wsnova_statsd"
SOURCES = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
QUOTED = [
    (name, line)
    for name in sorted(path.stem for path in EXAMPLES.glob("*.md"))
    for block in Page(name).blocks("log")
    for line in block.splitlines()
]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def _inline(page: Page) -> list[str]:
    """The text between backticks in the prose of a page, without code blocks."""
    prose = re.sub(r"^```.*?^```$", "", page.text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", prose)


# -- what is quoted ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "line"), QUOTED, ids=lambda one: str(one)[:60])
def test_a_quoted_line_is_in_the_code(name: str, line: str) -> None:
    """Word by word; if the code has changed, correct the page."""
    assert is_said(line), f"{name} quotes: {line}\nthe code says: {nearest(line)}"


def test_a_line_that_is_not_in_the_code_is_found() -> None:
    """One word more, a place too few, or a text of few letters that would fit anything."""
    said = "client <client>: no connection: HandshakeRefused: <error>"
    assert is_said(said)
    for wrong in (
        said.replace("no ", "no good "),
        said.replace("client <", "clients <"),
        "a: b",
        "x <y> z",
        "hello there",
    ):
        assert not is_said(wrong), wrong


def test_there_are_quoted_lines_and_troubleshooting_has_most() -> None:
    """So that no test above is vacuous."""
    assert len([name for name, _ in QUOTED if name == "troubleshooting"]) >= 40


def test_the_monitor_for_silence_queries_what_datadog_has() -> None:
    """By the package's own lint."""
    (query,) = [text for text in TROUBLESHOOTING.blocks("text") if text.startswith("sum(")]
    assert lint({"silence": query.strip()}).findings == ()


# -- what is named ----------------------------------------------------------------------------------------------------


@each_page
def test_the_metrics_that_a_page_names_are_sent(page: Page) -> None:
    """By the default list, or by the reporter or the KPIs themselves."""
    known = {one.name for one in ws.statsd_metrics()} | {f"websocket.kpi.{key}" for key in ws.FINANCIAL.kpi_targets}
    own = (
        "websocket.health",
        "websocket.can_connect",
        "websocket.doctor",
        "websocket.alert.fired",
        "websocket.kpi.<key>",
    )
    for metric in (one.partition("{")[0] for one in _inline(page) if re.fullmatch(r"websocket\.[a-z_.<>]+", one)):
        assert metric in known or metric in own or f'"{metric.removeprefix("websocket.reporter.")}"' in SOURCES, metric


@each_page
def test_the_variables_that_a_page_names_are_read(page: Page) -> None:
    """By the package; those after the prefix by from_env, or by an integration."""
    for variable in set(re.findall(r"\b(?:DD|DATADOG|WSNOVA_STATSD)_[A-Z_]+[A-Z]\b", page.text)):
        short = variable.removeprefix(environment.PREFIX)
        assert variable in SOURCES or short in environment.NAMES or f'"{short}"' in SOURCES, variable


@each_page
def test_the_attributes_and_arguments_that_a_page_names_exist(page: Page) -> None:
    """Of the package, a client, a Monitor and its parts, a reporter and its stats; and `name=` somewhere."""
    monitor = ws.Monitor()
    client = ws.Client("ws://127.0.0.1:1", client_id="named")
    things = {"ws": ws, "client": client, "monitor": monitor, "reporter": monitor.reporter}
    things["stats"] = monitor.reporter.stats
    for text in _inline(page):
        dotted = re.match(r"(?:print\()?(ws|client|monitor|reporter|stats)((?:\.\w+)+)", text)
        if dotted is not None and not text.endswith((".py", ".md")):
            thing: Any = things[dotted[1]]
            for attribute in dotted[2].split(".")[1:]:
                assert hasattr(thing, attribute), text
                thing = getattr(thing, attribute)
        for argument in re.findall(r"^([a-z_]+)=", text):
            assert re.search(rf"\b{argument}\b\s*[:=]", SOURCES), text


@each_page
def test_the_commands_that_a_page_names_are_parsed(page: Page) -> None:
    """Ours, with their arguments; a module or program after `--` is the reader's."""
    commands = [text for text in _inline(page) if text.startswith("wsnova-statsd ") and "..." not in text]
    commands += [line for block in page.blocks("sh") for line in block.splitlines() if line.startswith("wsnova")]
    for command in commands:
        build_parser().parse_args(shlex.split(command)[1:])
    assert commands or page.name == "monitor.md"


def test_the_links_at_the_top_lead_to_every_symptom() -> None:
    """Each heading once, by GitHub's rule for anchors."""
    headings = re.findall(r"^## (.*)$", TROUBLESHOOTING.text, re.MULTILINE)
    anchors = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    top = TROUBLESHOOTING.text.split("\n## ")[0]
    named = [one for one in _in_order_of(top, anchors) if one != "report-a-fault"]
    assert re.findall(r"\(#([^)]+)\)", top) == named
    assert len(anchors) == len(set(anchors))


def _in_order_of(text: str, anchors: list[str]) -> list[str]:
    return sorted(anchors, key=lambda one: text.find(f"(#{one})"))


# -- what is lost -----------------------------------------------------------------------------------------------------


def _causes() -> Iterator[str]:
    """What the reporter's files pass as the cause of a loss."""
    for path in (PACKAGE / "reporters").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("lose", "_log_once"):
                texts = (one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str))
                yield from (text for text in texts if text.isalpha())


def test_every_cause_of_a_loss_is_listed() -> None:
    """And each that is listed exists; the store counts `invalid`."""
    listed = [re.findall("`(.*?)`", row[0])[0] for row in OPERATIONS.table("cause")]
    assert sorted(listed) == sorted({*_causes(), "invalid"})
    named = {cause for row in OPERATIONS.table("what happens") for cause in re.findall("cause `(.*?)`", " ".join(row))}
    assert named <= set(listed)


# The tests that show each row, by its first words.
SHOWN = {
    "the Agent is away": [
        "faults/test_agent_restarts.py::test_fifty_restarts_of_an_agent_that_drains_lose_nothing_and_double_nothing",
        "wire/test_statsd_reporter_delivery.py::test_events_and_gauges_wait_and_samples_are_counted_as_lost",
        "unit/test_outbox.py::test_a_full_queue_keeps_the_first_of_an_incident",
        "unit/test_outbox.py::test_what_is_too_old_is_counted_and_not_sent",
    ],
    "the Agent is killed": [
        "faults/test_agent_restarts.py::test_an_agent_that_is_killed_loses_at_most_its_unread_queue",
    ],
    "the Agent is across": [],  # no test on one machine can show what a network loses
    "the connection to the feed": [
        "faults/test_keeper.py::test_unread_messages_survive_a_redial",
        "faults/test_keeper.py::test_unread_messages_of_a_client_that_does_not_reconnect_are_delivered_before_it_ends",
    ],
    "your handler raises": ["wire/test_client_events.py::test_a_handler_that_raises_costs_one_message"],
    "your handler is slow": [
        "faults/test_keeper.py::test_a_full_buffer_stops_the_reading_is_emitted_and_reading_goes_on"
    ],
    "a process ends in order |": ["faults/test_exit.py::test_a_sigterm_whose_handler_exits_loses_nothing"],
    "a process ends in order while": [
        "wire/test_statsd_reporter_life.py::test_a_program_whose_agent_was_unreachable_at_the_end_logs_why",
    ],
    "a process is killed": [
        "faults/test_exit.py::test_a_signal_without_a_handler_loses_what_was_counted_since_the_last_flush_and_no_more",
        "faults/test_exit_sigterm.py::test_a_feed_loses_at_most_an_interval_of_what_was_counted_of_its_messages",
    ],
    "a fork": [
        "faults/test_fork_reporter.py::test_a_child_counts_afresh_and_the_parent_goes_on",
        "faults/test_fork_client.py::test_a_child_has_a_forked_client_and_the_parents_connection_lives_on",
    ],
    "a metric has more": ["unit/test_store_caps.py"],
    "more than `max_samples`": ["unit/test_store_caps.py::test_half_of_the_samples_are_kept_if_there_is_no_room"],
    "a reporter that was never": [
        "wire/test_statsd_reporter_life.py::test_a_reporter_that_never_started_flushes",
        "wire/test_statsd_reporter_life.py::test_a_program_that_ends_with_something_pending_logs_it",
    ],
    "plain StatsD": ["wire/test_plain_statsd.py::test_without_a_format_the_first_gauge_of_a_name_is_sent"],
}


# The same for how processes end, by the first words of the first two cells.
ENDS = {
    "any process | last line": [
        "faults/test_exit.py::test_a_program_that_ends_has_shipped_everything_to_a_unix_socket",
        "faults/test_exit.py::test_an_interrupt_loses_nothing",
    ],
    "any process | SIGTERM after": [
        "faults/test_exit_sigterm.py::test_what_was_counted_arrives_and_the_program_ends_by_the_signal",
    ],
    "gunicorn's": ["faults/test_prefork.py::test_workers_that_are_recycled_and_reloaded_ship_what_they_counted"],
    "uvicorn": ["faults/test_exit_asgi.py::test_of_a_thousand_requests_each_is_counted"],
    "uWSGI's workers | a graceful": [
        "faults/test_uwsgi.py::test_what_workers_count_arrives_at_their_end_without_a_thread",
    ],
    "Celery's": ["faults/test_exit_celery.py::test_what_prefork_children_count_arrives"],
    "RQ's": ["faults/test_exit_rq.py::test_of_a_thousand_counts_in_twenty_jobs_each_arrives"],
    "`multiprocessing`": ["faults/test_exit_workers.py::test_what_children_count_arrives_for_every_start_method"],
    "a `multiprocessing.Pool`": [
        "faults/test_exit_workers.py::test_a_pool_that_is_terminated_loses_at_most_what_no_flush_delivered",
    ],
    "uWSGI's workers | killed": [],  # no code of the process runs any more
    "any process | SIGTERM without": [
        "faults/test_exit.py::test_a_signal_without_a_handler_loses_what_was_counted_since_the_last_flush_and_no_more",
    ],
}


@pytest.mark.parametrize(("heading", "shown"), [("what happens", SHOWN), ("what ends", ENDS)])
def test_each_row_on_what_is_lost_has_its_tests(heading: str, shown: dict[str, list[str]]) -> None:
    """The tests exist; a row without one would be a mere promise."""
    firsts = [f"{row[0]} | {row[1]}" for row in OPERATIONS.table(heading)]
    assert [sum(first.startswith(row) for row in shown) for first in firsts] == [1] * len(shown)
    for place in (place for places in shown.values() for place in places):
        file, _, function = place.partition("::")
        source = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert not function or f"def {function}(" in source, place


# -- what runs --------------------------------------------------------------------------------------------------------


def test_every_python_block_is_run_by_one_of_the_tests_below() -> None:
    assert OPERATIONS.marked_once("reporter.stats", "end_on_sigterm", "state_tags")
    assert TROUBLESHOOTING.marked_once("SIGUSR1")


def test_the_accounting_adds_up(agent: DogStatsDReceiver, capsys: pytest.CaptureFixture[str]) -> None:
    OPERATIONS.run("reporter.stats")
    assert capsys.readouterr().out == "True\n3 0 {}\n0 0 {} None\n"
    agent.stop()
    assert agent.count("orders") == 3


def test_a_sigterm_is_handled_on_request() -> None:
    """The previous handler is restored afterwards, for the other tests."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        OPERATIONS.run("end_on_sigterm")
        assert callable(signal.getsignal(signal.SIGTERM))
        assert signal.getsignal(signal.SIGTERM) is not before
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_gauge_of_your_own_has_the_worker_if_it_is_passed(agent: DogStatsDReceiver) -> None:
    OPERATIONS.run("state_tags")
    agent.stop()
    assert agent.last("shop.queue", ["queue:orders", "worker:web-1"]) == 12


def test_a_running_program_can_be_queried(agent: DogStatsDReceiver, capfd: pytest.CaptureFixture[str]) -> None:
    """By a signal: health, accounting and alerts, and every event for a while."""
    before = signal.getsignal(signal.SIGUSR1)
    with WebSocketServer() as echo, capture_events("telemetry.detail") as events:
        names = TROUBLESHOOTING.run("SIGUSR1", echo.url)
        try:
            assert until(lambda: names["client"].state is ws.State.CONNECTED)
            os.kill(os.getpid(), signal.SIGUSR1)
            events.assert_count(ws.events.DETAIL_STARTED, 1)
        finally:
            signal.signal(signal.SIGUSR1, before)
            names["client"].close()
            names["monitor"].stop()
    reported = capfd.readouterr().err
    for text in ("'client_id': 'md-1'", "'state': 'connected'", "\ncounts: ", "Figures(told=0"):
        assert text in reported


def test_the_pages_are_as_short_as_a_file_may_be() -> None:
    """At most 500 lines: their readers are in a hurry."""
    for page in PAGES:
        assert len(page.text.splitlines()) <= 500, page.name
