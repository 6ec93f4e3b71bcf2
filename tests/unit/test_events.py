"""The catalogue against a table written by hand: names, measurements with units, metadata, toggles, levels."""

import ast
import re
from pathlib import Path

import pytest

from wsnova_statsd import events
from wsnova_statsd.events import CATALOGUE, PREFIX, EventSpec

PACKAGE = Path(events.__file__).parent

NS, EPOCH, BYTES = "nanoseconds", "nanoseconds since the epoch", "bytes"
UNITS = {
    "system_time": EPOCH,
    **dict.fromkeys(("duration", "delay", "rtt", "cpu_time", "process_time", "process_time_max", "window"), NS),
    **dict.fromkeys(("silent", "idle", "behind", "lag", "lag_max"), NS),
    **dict.fromkeys(("size", "total_size", "rss_bytes", "waiting_bytes"), BYTES),
    **dict.fromkeys(("processed", "waiting", "untyped"), "messages"),
    "attempt": "attempts",
    "count": "messages",
    "errors": "messages",
    "cpu_percent": "percent",
    "threads": "threads",
    "open_fds": "descriptors",
    **dict.fromkeys(("gc_collections", "gc_collections_full"), "collections"),
    **dict.fromkeys(("ctx_switches", "ctx_switches_involuntary"), "switches"),
    **dict.fromkeys(("tcp_rtt", "tcp_rttvar", "heartbeat_rtt"), NS),
    "heartbeat_missed_share": "share",
    "tcp_retransmits": "segments",
    "tcp_lost": "segments",
}

# event | measurements | metadata besides client_id | toggle | level. Levels of messages are those of the profiles'
# table, which lets a standard profile with message_events on emit received, sent and process.completed.
TABLE = """
connection.started                 | system_time                   | uri reconnect                     | connection_events | minimal
connection.completed               | duration                      | uri reconnect                     | connection_events | minimal
connection.disconnected            | system_time duration silent   | uri reason detail                 | connection_events | minimal
connection.reconnect.attempt       | attempt delay system_time     | uri cause                         | connection_events | standard
connection.reconnect.success       | attempt duration              | uri                               | connection_events | minimal
connection.reconnect.failed        | attempt duration              | uri reason final                  | connection_events | standard
message.received                   | size system_time              | type                              | message_events    | standard
message.sent                       | size system_time              | type                              | message_events    | standard
message.decode.started             | system_time size              |                                   | message_events    | detailed
message.decode.completed           | duration size                 | type result                       | message_events    | detailed
message.encode.started             | system_time                   | type                              | message_events    | detailed
message.encode.completed           | duration size                 | type result                       | message_events    | detailed
message.process.started            | system_time                   | type                              | message_events    | detailed
message.process.completed          | duration                      | type result                       | message_events    | standard
message.process.slow               | duration                      | type result                       |                   | minimal
message.process.stuck              | duration cpu_time             | type stack                        |                   | minimal
message.batch_processed | count processed total_size errors untyped process_time process_time_max window waiting waiting_bytes idle behind lag lag_max | direction | | minimal
subscription.subscribe.started     | system_time                   | channel restored                  | connection_events | standard
subscription.subscribe.completed   | duration                      | channel result confirmed restored | connection_events | standard
subscription.unsubscribe.started   | system_time                   | channel restored                  | connection_events | standard
subscription.unsubscribe.completed | duration                      | channel result confirmed restored | connection_events | standard
error.occurred                     | system_time                   | error error_type severity error_id | error_events     | standard
error.handled                      | duration                      | error_type severity action error_id | error_events    | standard
auth.started                       | system_time                   |                                   | connection_events | standard
auth.completed                     | duration                      | expires_in                        | connection_events | standard
auth.failed                        | duration                      | reason phase                      | connection_events | minimal
auth.refresh.started               | system_time                   |                                   | connection_events | standard
auth.refresh.completed             | duration                      | expires_in                        | connection_events | standard
heartbeat.sent                     | system_time                   |                                   | heartbeat_events  | any
heartbeat.received                 | rtt                           |                                   | heartbeat_events  | any
heartbeat.missed                   | system_time                   |                                   | heartbeat_events  | any
system.sampled | cpu_percent rss_bytes threads open_fds gc_collections gc_collections_full ctx_switches ctx_switches_involuntary tcp_rtt tcp_rttvar tcp_retransmits tcp_lost heartbeat_rtt heartbeat_missed_share | worker | | any
"""  # noqa: E501  a table of the events is read as one
ROWS = [tuple(cell.strip() for cell in line.split("|")) for line in TABLE.strip().splitlines()]
SPECS = pytest.mark.parametrize("spec", CATALOGUE.values(), ids=list(CATALOGUE))

GUIDE = """
connection: started completed disconnected reconnect.attempt reconnect.success reconnect.failed
message: received sent decode.started decode.completed encode.started encode.completed process.started process.completed
subscription: subscribe.started subscribe.completed unsubscribe.started unsubscribe.completed
error: occurred handled
auth: started completed failed refresh.started refresh.completed
"""


def test_the_catalogue_holds_the_events_of_the_table_in_its_order() -> None:
    """No event is missing, none is too many, and each name is prefixed once."""
    assert list(CATALOGUE) == [f"websockex_nova.{row[0]}" for row in ROWS]


def test_the_guides_full_event_list_is_part_of_it() -> None:
    """All 25 events that the guide names are there under the guide's names."""
    lines = (line.split(":") for line in GUIDE.strip().splitlines())
    named = [f"websockex_nova.{category}.{rest}" for category, all_of in lines for rest in all_of.split()]
    assert len(named) == 25
    assert [name for name in named if name not in CATALOGUE] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_an_event_carries_and_obeys_what_its_row_says(row: tuple[str, ...]) -> None:
    """Measurements and metadata in the row's order, client_id first; toggle and level as written."""
    name, measurements, metadata, toggle, level = row
    spec = CATALOGUE[PREFIX + name]
    assert spec.name == PREFIX + name
    assert spec.category == name.split(".")[0]
    assert list(spec.measurements) == measurements.split()
    assert spec.metadata == ("client_id", *metadata.split())
    assert spec.toggle == (toggle or None)
    assert spec.level == level


@SPECS
def test_every_measurement_has_its_unit(spec: EventSpec) -> None:
    """Durations are nanoseconds, system_time nanoseconds since the epoch, sizes bytes; counts say of what."""
    assert dict(spec.measurements) == {key: UNITS[key] for key in spec.measurements}


@SPECS
def test_every_event_describes_its_moment_in_one_line(spec: EventSpec) -> None:
    """A short phrase, without a line break or space around it."""
    assert re.fullmatch(r"\S[^\n]{10,98}\S", spec.moment)


def test_only_three_events_are_major_by_a_value() -> None:
    """The final failure of an outage, severe errors and their recovery are at the minimal level, the rest not."""
    assert {spec.name: spec.minimal_when for spec in CATALOGUE.values() if spec.minimal_when} == {
        "websockex_nova.connection.reconnect.failed": ("final", {True}),
        "websockex_nova.error.occurred": ("severity", {"error", "critical"}),
        "websockex_nova.error.handled": ("severity", {"error", "critical"}),
    }


def test_a_constant_is_the_events_name_in_capitals_with_underscores() -> None:
    """Every event has its constant, and every constant of the prefix is an event of the catalogue."""
    constants = {
        key: value
        for key, value in vars(events).items()
        if isinstance(value, str) and value.startswith(PREFIX) and key != "PREFIX"
    }
    assert constants == {name.removeprefix(PREFIX).replace(".", "_").upper(): name for name in CATALOGUE}


def test_events_outside_the_guides_prefix_are_outside_the_catalogue() -> None:
    """The bus's own event, a client's begin and end, its time without a link, detail on demand carry other names."""
    assert (events.HANDLER_FAILURE, events.CLIENT_CLOSED) == ("telemetry.handler.failure", "telemetry.client.closed")
    assert events.CLIENT_STATE == "telemetry.client.state"
    assert (events.CLIENT_OPENED, events.CONNECTION_DOWN) == ("telemetry.client.opened", "telemetry.connection.down")
    assert (events.DETAIL_STARTED, events.DETAIL_ENDED) == ("telemetry.detail.started", "telemetry.detail.ended")
    ten = {
        events.HANDLER_FAILURE,
        events.CLIENT_STATE,
        events.CLIENT_OPENED,
        events.CLIENT_CLOSED,
        events.CONNECTION_DOWN,
        events.DETAIL_STARTED,
        events.DETAIL_ENDED,
        events.MESSAGE_LAG,
        events.ALERT_FIRED,
        events.KPI_SAMPLED,
    }
    assert set(events.UNLISTED) == ten
    assert not set(events.UNLISTED) & set(CATALOGUE)


def test_the_codes_of_errors_are_bounded_lists() -> None:
    """Error types and severities are the written ones, in rising order of severity."""
    assert " ".join(events.ERROR_TYPES) == (
        "connection handshake timeout decode encode handler auth rate_limit subscription protocol"
    )
    assert events.SEVERITIES == ("warning", "error", "critical")


def test_the_catalogue_cannot_be_changed() -> None:
    """Neither the catalogue nor an entry nor its measurements can be assigned to."""
    spec = CATALOGUE[events.MESSAGE_SENT]
    with pytest.raises(TypeError):
        CATALOGUE["x"] = spec  # type: ignore[index]
    with pytest.raises(TypeError):
        spec.measurements["x"] = "bytes"  # type: ignore[index]
    with pytest.raises(AttributeError):
        spec.level = "minimal"  # type: ignore[misc]


def _strings(path: Path) -> list[str]:
    """Every string constant of a file but its docstrings, which may show a user's code."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    prose = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, holders) and node.body and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
    ]


def test_event_names_are_spelled_in_one_file_only() -> None:
    """No other file of the package holds the prefix in a string, and events.py holds it once."""
    spelled = {
        path.relative_to(PACKAGE).as_posix(): [text for text in _strings(path) if "websockex_nova." in text]
        for path in PACKAGE.rglob("*.py")
    }
    assert {file: texts for file, texts in spelled.items() if texts} == {"events.py": ["websockex_nova."]}
