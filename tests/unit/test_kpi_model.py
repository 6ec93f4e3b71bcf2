"""The tracker against a plain recomputation from the full list of events: any history of three clients."""

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kpis import MS, S, Scene

WINDOW, SLICE = 300.0, 10.0
Told = tuple[float, str, str, dict[str, Any]]  # when, client, event, with which values

_amounts = st.integers(0, 20)
_words = st.one_of(
    st.sampled_from(
        [
            ("started", {}),
            ("failed", {"final": True}),
            ("failed", {"final": False}),
            ("lost", {"reason": "close_1006", "lived": 3600}),
            ("lost", {"reason": "close_1006", "lived": 1}),
            ("lost", {"reason": "local", "lived": 1}),
            ("closed", {}),
        ]
    ),
    st.builds(lambda ms, retry: ("completed", {"ms": ms, "reconnect": retry}), _amounts, st.booleans()),
    st.builds(lambda seconds: ("back", {"seconds": seconds}), _amounts),
    st.builds(
        lambda good, bad, ms, way: ("batch", {"count": good + bad, "errors": bad, "ms": ms, "way": way}),
        *(_amounts, _amounts, _amounts),
        st.sampled_from(["received", "sent"]),
    ),
    st.builds(
        lambda severity, kind: ("error", {"severity": severity, "kind": kind}),
        st.sampled_from(["warning", "error", "critical"]),
        st.sampled_from(["handler", "connection", "decode"]),
    ),
    st.builds(lambda back: ("handled", {"back": back}), st.integers(1, 4)),
    st.builds(lambda ms: ("alerted", {"ms": ms}), _amounts),
)
histories = st.lists(
    st.tuples(st.sampled_from([0.0, 0.5, 3.0, 10.0, 45.0, 160.0]), st.sampled_from("abc"), _words), max_size=40
)


class Naive:
    """What the notes say, computed from all that ever happened."""

    def __init__(self, reported: list[Told], now: float, client: str | None) -> None:
        self.reported = [one for one in reported if client in (None, one[1])]
        self.now = now
        self.began = (now // SLICE) * SLICE - WINDOW + SLICE
        self.since = 1000.0 if client is None else min((one[0] for one in self.reported), default=now)
        self.clients = sorted({one[1] for one in self.reported})

    def of(self, client: str) -> list[Told]:
        return [one for one in self.reported if one[1] == client]

    def within(self, what: str) -> list[dict[str, Any]]:
        return [values for when, _, word, values in self.reported if word == what and when >= self.began]

    def success(self) -> float | None:
        ended = 0
        for client in self.clients:
            dial = False
            for when, _, what, values in self.of(client):
                over = what in ("started", "completed", "failed", "closed")
                over = over or (what == "error" and values["kind"] == "connection")
                if dial and over:
                    ended += when >= self.began and what != "closed"
                    dial = False
                dial = dial or what == "started"
        return min(len(self.within("completed")), ended) / ended if ended else None

    def reconnection(self) -> float | None:
        good = bad = 0
        for client in self.clients:
            alarmed = shaky = False
            for when, _, what, values in self.of(client):
                if what == "back":
                    good += when >= self.began and not alarmed
                    alarmed, shaky = False, alarmed
                elif what == "lost":
                    alarmed = alarmed or (shaky and values["reason"] != "local" and values["lived"] < 5)
                    shaky = False
                elif what == "closed":
                    alarmed = shaky = False
                elif what == "failed" and values["final"]:
                    bad += when >= self.began and not alarmed
                    alarmed = True
        return good / (good + bad) if good + bad else None

    def recovery(self) -> float | None:
        errors = [one for one in self.within("error") if one["severity"] != "critical"]
        done = {(one[1], one[3]["id"]) for one in self.reported if one[2] == "handled"}
        handled = sum((one["client"], one["id"]) in done for one in errors)
        return handled / len(errors) if errors else None

    def blind(self) -> float | None:
        spans, known = [], False
        for client in self.clients:
            since, left, up, closed, gone = None, False, None, False, False
            for when, _, what, values in self.of(client):
                if what == "started":
                    left = closed = gone = False
                    since, up = (since, up) if up else (when if since is None else since, False)
                elif what == "lost":
                    left = values["reason"] == "local"
                    since, up = (since, up) if closed else (when if since is None else since, False)
                elif closed:
                    up = None if what == "closed" and left else up
                    gone = when < self.began if what == "closed" else gone
                elif what == "back" or (what == "completed" and not values["reconnect"]):
                    spans += [] if since is None else [(since, when)]
                    since, up = None, True
                elif what == "closed":
                    spans += [] if since is None or left else [(since, when)]
                    since, up, closed = None, None if up or left else up, True
                    gone = when < self.began
            spans += [] if since is None else [(since, self.now)]
            known = known or (up is not None and not gone)
        spans = [(max(since, self.began), until) for since, until in spans if until >= self.began]
        return sum(until - since for since, until in spans) if known or spans else None

    def values(self) -> dict[str, float | None]:
        dials, backs, batches, alerts = (self.within(one) for one in ("completed", "back", "batch", "alerted"))
        received = [one for one in batches if one["way"] == "received"]
        timed = [one for one in received if one["ms"]]
        ordered = sorted(one["seconds"] for one in backs)

        def mean(total: float, count: float) -> float | None:
            return total / count if count else None

        def amount(key: str, batches: list[dict[str, Any]]) -> float:
            return float(sum(one[key] for one in batches))

        messages = amount("count", received)
        span = max(1.0, self.now - max(self.since, self.began))
        return {
            "connection_success_rate": self.success(),
            "connection_time_ms": mean(amount("ms", dials), len(dials)),
            "reconnection_success_rate": self.reconnection(),
            "time_to_reconnect_s": ordered[math.ceil(0.95 * len(ordered)) - 1] if ordered else None,
            "processing_time_ms": mean(amount("ms", timed), amount("count", timed)),
            "throughput_per_s": messages / span if messages else None,
            "message_error_rate": mean(amount("errors", batches), amount("count", batches)),
            "error_recovery_rate": self.recovery(),
            "error_to_alert_s": max((one["ms"] / 1000 for one in alerts), default=None),
            "blind_s": self.blind(),
        }


def _tell(scene: Scene, client: str, what: str, values: dict[str, Any], number: int) -> dict[str, Any]:
    """Emit it for the tracker; returns the values as the list keeps them. A handled error is one of the last few."""
    if what == "error":
        scene.error(f"e{number}", client, **values)
        return {**values, "id": number, "client": client}
    if what == "handled":
        scene.handled(f"e{number - values['back']}", client)
        return {"id": number - values["back"]}
    if what == "alerted":
        scene.tracker.alerted(client, values["ms"] * MS)
    elif what == "back":
        scene.emit("websockex_nova.connection.reconnect.success", client, {"duration": values["seconds"] * S})
    else:
        getattr(scene, what)(client=client, **values)
    return values


@given(histories)
def test_the_tracker_reports_what_the_full_list_gives(
    history: list[tuple[float, str, tuple[str, dict[str, Any]]]],
) -> None:
    scene, reported = Scene(), []
    for number, (pause, client, (what, values)) in enumerate(history):
        scene.clock.advance(pause)
        if what == "batch" and not values["count"]:
            values = {**values, "ms": 0}
        known = client in scene.tracker._clients
        entry = _tell(scene, client, what, values, number)
        if what == "closed" and not known:
            continue  # the end of an unknown client does not count
        reported.append((scene.clock(), client, what, entry))
    now = scene.clock()
    assert scene.values() == Naive(reported, now, None).values()
    for client in scene.tracker._clients:
        ours, naive = scene.values(client), Naive(reported, now, client)
        naive.since = scene.tracker._clients[client].first_ns / S
        assert ours == naive.values()
