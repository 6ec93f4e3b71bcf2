"""The KPIs of connections and outages, on scripted histories under a fake clock: every value exact."""

import pytest

from tests.unit.kpis import S, Scene
from wsnova_statsd import events


@pytest.fixture
def scene() -> Scene:
    return Scene()


# Connections


def test_the_success_rate_leaves_dials_under_way_out(scene: Scene) -> None:
    """Three dials: one made, one failed, one under way."""
    scene.connected()
    scene.lost()
    scene.started(reconnect=True)
    scene.failed()
    scene.started(reconnect=True)
    row = scene.row("connection_success_rate")
    assert (row.value, row.n) == (1 / 2, 2)
    scene.completed(reconnect=True)
    row = scene.row("connection_success_rate")
    assert (row.value, row.n) == (2 / 3, 3)


def test_a_dial_whose_failure_the_profile_leaves_out_ends_with_the_next_one(scene: Scene) -> None:
    """The minimal level does not emit the failure of a retry."""
    for _ in range(4):
        scene.started()
    scene.completed()
    assert scene.row("connection_success_rate")[1:] == (1 / 4, (">", 0.999), False, 4, None, None)


def test_a_failed_first_dial_is_known_by_its_error_alone(scene: Scene) -> None:
    scene.started()
    assert scene.value("connection_success_rate") is None
    scene.error("e1", kind="connection", severity="warning")
    assert scene.value("connection_success_rate") == 0
    scene.started()
    scene.error("e2", kind="handler")  # says nothing of the dial
    assert scene.row("connection_success_rate").n == 1


def test_a_dial_that_closing_cut_short_does_not_count(scene: Scene) -> None:
    """Closing on purpose is no error."""
    scene.connected()
    scene.lost()
    scene.started(reconnect=True)
    scene.closed()
    assert scene.row("connection_success_rate")[1:] == (1.0, (">", 0.999), True, 1, None, None)
    scene.connected()
    assert scene.row("connection_success_rate")[1:] == (1.0, (">", 0.999), True, 2, None, None)


def test_a_dial_that_began_before_the_tracker_does_not_exceed_the_total(scene: Scene) -> None:
    scene.completed()
    assert scene.value("connection_success_rate") is None
    scene.connected()
    assert scene.value("connection_success_rate") == 1.0


def test_dials_of_several_clients_do_not_end_each_other(scene: Scene) -> None:
    for client in "abc":
        scene.started(client)
    assert scene.value("connection_success_rate") is None
    scene.completed("a")
    scene.completed("b")
    assert (scene.value("connection_success_rate"), scene.row("connection_success_rate").n) == (1.0, 2)


def test_connection_time_is_the_mean_of_single_durations(scene: Scene) -> None:
    for client, ms in (("a", 100), ("a", 200), ("b", 900)):
        scene.connected(client, ms)
    assert scene.row("connection_time_ms")[1:5] == (400.0, ("<", 500.0), True, 3)
    assert scene.value("connection_time_ms", "a") == 150.0
    assert scene.row("connection_time_ms", "b")[1:5] == (900.0, ("<", 500.0), False, 1)


def test_exactly_on_target_is_a_miss(scene: Scene) -> None:
    """The targets are strict, in both directions."""
    scene.connected(ms=500)
    scene.batch(10_000, errors=1)
    scene.back(seconds=2)
    for key, value in (("connection_time_ms", 300), ("message_error_rate", 0.0001), ("time_to_reconnect_s", 2)):
        assert scene.value(key) == value
    assert [scene.row(key).ok for key in ("message_error_rate", "time_to_reconnect_s")] == [False, False]
    scene = Scene()
    for number in range(1000):
        scene.started()
        if number:
            scene.completed()
    scene.started()
    assert (scene.value("connection_success_rate"), scene.row("connection_success_rate").ok) == (0.999, False)


# Outages


def test_an_outage_that_passed_the_alarm_is_no_success_however_it_ends(scene: Scene) -> None:
    """One in time; one with the alarm, emitted twice, and then a link."""
    scene.connected()
    scene.lost()
    scene.back()
    scene.lost()
    scene.failed(final=True)
    scene.failed(final=True)
    scene.failed(final=False)
    assert scene.row("reconnection_success_rate")[1:5] == (1 / 2, (">", 0.99), False, 2)
    scene.back(seconds=90)
    assert scene.row("reconnection_success_rate").n == 2
    scene.lost()
    scene.back()
    assert (scene.value("reconnection_success_rate"), scene.row("reconnection_success_rate").n) == (2 / 3, 3)


def test_a_link_that_flaps_after_the_alarm_is_in_the_same_outage(scene: Scene) -> None:
    """The client emits its alarm once until a link was stable (5 s in this profile), or was closed on purpose."""
    scene.connected()
    scene.lost()
    scene.failed(final=True)
    for _ in range(50):
        scene.back()
        scene.lost(lived=4.9)
    assert scene.row("reconnection_success_rate")[1:5] == (0.0, (">", 0.99), False, 1)
    scene.back()
    scene.lost(lived=5)
    scene.back()
    assert (scene.value("reconnection_success_rate"), scene.row("reconnection_success_rate").n) == (1 / 2, 2)
    scene.lost()
    scene.failed(final=True)
    scene.back()
    scene.lost(reason="local", lived=1)
    scene.back()
    assert (scene.value("reconnection_success_rate"), scene.row("reconnection_success_rate").n) == (1 / 2, 4)


def test_the_alarm_of_one_client_is_not_that_of_another(scene: Scene) -> None:
    for client in "ab":
        scene.connected(client)
        scene.lost(client)
    scene.failed("a", final=True)
    scene.back("b")
    assert [scene.value("reconnection_success_rate", client) for client in (None, "a", "b")] == [0.5, 0.0, 1.0]


def test_an_outage_that_closing_ends_is_neither_a_success_nor_a_failure(scene: Scene) -> None:
    scene.connected()
    scene.lost()
    scene.closed()
    assert scene.value("reconnection_success_rate") is None


def test_time_to_reconnect_is_the_nearest_rank_p95(scene: Scene) -> None:
    """Exact, up to 256 reconnects in a slice."""
    for seconds in range(1, 101):
        scene.back(seconds=seconds)
    assert scene.row("time_to_reconnect_s")[1:5] == (95.0, ("<", 2.0), False, 100)
    scene = Scene()
    scene.back(seconds=0.25)
    assert scene.value("time_to_reconnect_s") == 0.25


def test_blind_seconds_run_from_the_first_dial_and_from_each_loss_to_a_usable_link(scene: Scene) -> None:
    """A retry is usable at reconnect.success, after its login."""
    scene.started()
    scene.clock.advance(0.5)
    assert scene.row("blind_s")[1:5] == (0.5, None, None, 1)
    scene.completed()
    scene.clock.advance(20)
    assert scene.value("blind_s") == 0.5
    scene.lost()
    scene.clock.advance(3)
    scene.started(reconnect=True)
    scene.completed(reconnect=True)
    scene.clock.advance(1)
    assert scene.row("blind_s")[1:5] == (4.5, None, None, 2)
    scene.emit(events.CONNECTION_RECONNECT_SUCCESS, "a", {"duration": 4 * S})
    scene.clock.advance(9)
    assert scene.row("blind_s")[1:5] == (4.5, None, None, 2)


def test_blind_seconds_of_all_are_those_of_each_together(scene: Scene) -> None:
    for client in "ab":
        scene.connected(client)
        scene.lost(client)
    scene.clock.advance(7)
    scene.back("a")
    scene.clock.advance(5)
    assert [scene.value("blind_s", client) for client in (None, "a", "b")] == [19.0, 7.0, 12.0]


def test_a_long_outage_is_blind_for_the_whole_window_and_leaves_it_slice_by_slice(scene: Scene) -> None:
    scene.connected()
    scene.lost()
    scene.clock.advance(400)
    assert scene.row("blind_s")[1:5] == (290.0, None, None, 1)  # the slice under way has just begun
    scene.clock.advance(7)
    assert scene.value("blind_s") == 297.0
    scene.back()
    assert scene.value("blind_s") == scene.value("blind_s", "a") == 297.0
    scene.clock.advance(275)
    assert scene.value("blind_s") == 17.0
    scene.clock.advance(20)
    assert (scene.value("blind_s"), scene.row("blind_s").n) == (0.0, 0)


def test_a_client_that_was_closed_on_purpose_is_not_blind(scene: Scene) -> None:
    """A client that is closed during an outage was blind until then."""
    for client in "ab":
        scene.connected(client)
    scene.lost("a", "local")
    scene.lost("b")
    scene.clock.advance(2)
    for client in "ab":
        scene.closed(client)
    scene.clock.advance(50)
    assert [scene.value("blind_s", client) for client in (None, "a", "b")] == [2.0, 0.0, 2.0]
    scene.lost("a")  # emitted late: this link ended with its client
    scene.clock.advance(50)
    assert scene.value("blind_s", "a") == 0.0
    scene.started("a")
    scene.clock.advance(1)
    assert scene.value("blind_s", "a") == 1.0


@pytest.mark.parametrize("reason", ["ping_timeout", "idle"])
def test_a_link_that_fell_silent_was_blind_since_its_last_byte(scene: Scene, reason: str) -> None:
    """The time to reconnect is as long: eight seconds without a byte, four more, and a retry of one."""
    scene.connected()
    scene.clock.advance(60)
    scene.lost(reason=reason, lived=60, silent=8 * S)
    assert scene.row("blind_s")[1:5] == (8.0, None, None, 2)  # the first dial's, and this one
    scene.clock.advance(4)
    scene.back(seconds=5)
    assert scene.row("blind_s")[1:5] == (12.0, None, None, 2)
    assert scene.value("time_to_reconnect_s") == 13.0
    scene.lost(silent=2 * S)
    scene.back(seconds=1)
    assert [scene.value("blind_s"), scene.row("time_to_reconnect_s").n] == [12.0, 2]


def test_a_link_that_ended_for_another_reason_was_good_until_then(scene: Scene) -> None:
    """A feed may be quiet; an end by the server or by us is known at once."""
    for reason in ("close_1006", "close_1000", "error", "protocol_error", "local"):
        scene.connected()
        scene.lost(reason=reason, silent=8 * S)
        scene.back(seconds=1)
    assert (scene.value("blind_s"), scene.value("time_to_reconnect_s")) == (0.0, 1.0)


def test_the_silence_of_a_link_during_an_outage_counts_once(scene: Scene) -> None:
    """The link was upgraded and fell silent before its login: no second outage, and the time counts once."""
    scene.connected()
    scene.clock.advance(60)
    scene.lost(reason="ping_timeout", silent=8 * S)
    scene.started(reconnect=True)
    scene.completed(reconnect=True)
    scene.clock.advance(6)
    scene.lost(reason="ping_timeout", lived=6, silent=5 * S)
    scene.back(seconds=6)
    assert (scene.value("blind_s"), scene.value("time_to_reconnect_s")) == (14.0, 14.0)


@pytest.mark.parametrize("silent", [None, -1, float("nan"), "x", 10**30])
def test_an_unusable_silence_counts_as_none(scene: Scene, silent: object) -> None:
    """Nor can it be longer than the link lived."""
    scene.connected()
    scene.lost(reason="idle", lived=2, silent=silent)
    scene.clock.advance(1)
    assert scene.value("blind_s") == 1.0
    scene.back()
    scene.clock.advance(60)
    scene.lost(reason="idle", lived=2, silent=9 * S)
    assert scene.value("blind_s") == 3.0
