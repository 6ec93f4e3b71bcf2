"""What the metrics of wsnova_statsd say of a client: link, figures, KPIs against targets, the last error."""

from tests.unit.watching import snapshot, styles_of, texts, view
from wsnova_statsd.profiles import STANDARD
from wsnova_statsd.watch.clients import OVERALL, clients_of, tag_of

LINES = (
    "websocket.connection.completed:1|c|#client:md-1",
    "websocket.connection.up:1|g|#client:md-1,worker:0",
    "websocket.heartbeat.rtt:1.5|g|#client:md-1",
    "websocket.message.batch.count:30|c|#client:md-1,direction:received",
    "websocket.message.batch.count:2|c|#client:md-1,direction:sent",
    "websocket.message.waiting:5|g|#client:md-1,direction:received,worker:0",
    "websocket.message.behind:250|g|#client:md-1,direction:received,worker:0",
    "websocket.error.occurred:1|c|#client:md-1,type:decode,severity:warning",
    "websocket.connection.reconnect.success:2|c|#client:md-1",
    "websocket.kpi.processing_time_ms:12|g|#client:md-1,worker:0",
    "websocket.kpi.message_error_rate:0.5|g|#client:md-1,worker:0",
    "websocket.kpi.throughput_per_s:30|g|#scope:all,worker:0",
    "websocket.connection.up:0|g|#client:md-2,worker:1",
    "websocket.connection.disconnected:1|c|#client:md-2,reason:error",
    "shop.orders:1|c|#client:stranger",
)


def test_a_clients_figures_come_from_its_series() -> None:
    """In the order of names, those over all clients first; another program's metric makes no client."""
    overall, first, second = clients_of(snapshot(*LINES, seconds=3.0), STANDARD.kpi_targets)
    assert (overall.name, overall.up, [one.kpi.key for one in overall.kpis]) == (OVERALL, None, ["throughput_per_s"])
    assert (first.name, first.up, first.for_s, first.workers) == ("md-1", True, 3.0, ("0",))
    assert (first.rtt, first.received, first.sent) == (0.0015, 10.0, 2 / 3)
    assert (first.waiting, first.behind, first.reconnects) == (5.0, 0.25, 2.0)
    assert (first.error, first.error_age) == ("decode (warning)", 3.0)
    assert (second.name, second.up, second.for_s) == ("md-2", False, 3.0)


def test_kpis_are_held_against_targets_of_the_profile_or_those_that_the_check_names() -> None:
    """A client of another profile misses its own targets, and names them in its service check."""
    (client,) = clients_of(snapshot(*LINES[:11]), STANDARD.kpi_targets)
    assert {one.kpi.key: one.kpi.ok for one in client.kpis} == {"processing_time_ms": True, "message_error_rate": False}
    check = "_sc|websocket.health|1|#client:md-1,worker:0|m:processing_time_ms 12, target < 10, rubbish, target < x"
    (client,) = clients_of(snapshot(*LINES[:11], check), STANDARD.kpi_targets)
    judged = {one.kpi.key: (one.kpi.target, one.kpi.ok) for one in client.kpis}
    assert judged["processing_time_ms"] == (("<", 10.0), False)


def test_a_namespace_before_the_names_hides_no_client() -> None:
    (client,) = clients_of(snapshot("shop.websocket.connection.up:1|g|#client:a"), STANDARD.kpi_targets)
    assert (client.name, client.up) == ("a", True)


def test_a_tag_is_found_by_its_whole_key() -> None:
    assert tag_of(("clients:a", "client:b:c"), "client") == "b:c"
    assert tag_of((), "client") == ""


def test_the_screen_has_the_link_the_figures_and_the_kpis_of_the_chosen_client() -> None:
    board = view(snapshot(*LINES, seconds=3.0))
    board.show("clients")
    board.draw(80, 40)
    board.move(1)
    lines = board.draw(80, 40)
    reported = " ".join(" ".join(texts(lines)).split())
    for part in (
        "md-1 connected 3 s",
        "rtt 1.50 ms received/s 10 sent/s 0.667 waiting 5 behind 250 ms reconnects 2 worker 0",
        "last error: decode (warning), 3 s ago",
        "md-2 DOWN 3 s",
        "KPIs of md-1",
        "processing_time_ms 12 < 50 OK",
        "message_error_rate 0.5 < 0.001 CRITICAL",
    ):
        assert part in reported
    assert styles_of(lines, "DOWN") == {"bad"}
    assert "bad" in styles_of(lines, "CRITICAL")


def test_at_forty_columns_kpis_keep_value_target_and_verdict() -> None:
    board = view(snapshot(*LINES[:11]))
    board.show("clients")
    lines = texts(board.draw(40, 30))
    assert "message_error_rate 0.5 < 0.001 CRITICAL" in lines
    assert all(len(line) <= 40 for line in lines[2:])


def test_without_clients_the_screen_says_so() -> None:
    board = view(snapshot("a:1|c"))
    board.show("clients")
    assert "no client of wsnova_statsd has sent a metric yet" in texts(board.draw(80, 24))
