"""Incidents of any rule, with events in any order: nothing is lost, and a recovery comes last."""

from collections import defaultdict
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from wsnova_statsd.insight.incidents import Incidents
from wsnova_statsd.insight.rules import Breach, Calm, Rule
from wsnova_statsd.insight.sinks import Alert

COOL_DOWN = 10.0


class Lasting(Rule):
    passes = False


class Passing(Rule):
    pass


class Run:
    """Incidents of one rule, checked when they ask for it, with what was reported of each, and what should have
    been."""

    def __init__(self, rule: Rule) -> None:
        self.now = 0.0
        self.due: float | None = None
        self.log: dict[str, list[tuple[float, Alert]]] = defaultdict(list)
        self.breaches: dict[str, list[float]] = defaultdict(list)
        self.incidents = Incidents(rule, lambda alert: self.log[alert.type].append((self.now, alert)))

    def _arm(self, due: float | None) -> None:
        if due is not None and (self.due is None or due < self.due):
            self.due = due

    def breach(self, kind: str) -> None:
        self.breaches[kind].append(self.now)
        self._arm(self.incidents.fired("a", Breach("t", "x", float(len(self.breaches[kind])), kind), self.now))

    def calm(self, kind: str | None, after: float) -> None:
        self._arm(self.incidents.calm("a", Calm(kind, after=after), self.now))

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self.due is not None and self.due <= end:
            self.now, self.due = self.due, None
            self._arm(self.incidents.look(self.now))
        self.now = end


_KINDS = st.sampled_from(["", "b"])
_STEPS = st.one_of(
    st.tuples(st.just("breach"), _KINDS),
    st.tuples(st.just("calm"), st.one_of(_KINDS, st.none()), st.sampled_from([0.0, 3.0, float("inf")])),
    st.tuples(st.just("advance"), st.sampled_from([0.0, 1.0, 4.0, 9.0, 10.0, 25.0])),
)


@given(st.sampled_from([Lasting, Passing]), st.lists(_STEPS, max_size=40))
def test_every_breach_is_reported_and_every_incident_ends_with_its_only_recovery(
    kind: type[Rule], steps: list[tuple[object, ...]]
) -> None:
    """No alert within a cool-down of the last one; no alert after a recovery except for what came after it, or was
    reported by none; the recoveries count all breaches; an end leaves nothing to check."""
    run = Run(kind(cool_down=COOL_DOWN))
    for step, *arguments in steps:
        getattr(run, str(step))(*arguments)
    run.calm(None, 0.0)
    run.advance(2 * COOL_DOWN)
    assert (run.due, run.incidents.open) == (None, 0)
    for name, breaches in run.breaches.items():
        reported = run.log[name]
        assert reported[-1][1].alert_type == "success"
        alerts = [at for at, alert in reported if alert.alert_type != "success"]
        assert all(later - earlier >= COOL_DOWN for earlier, later in pairwise(alerts))
        assert alerts[0] == breaches[0]  # the first at once
        total, since = 0, 0
        for at, alert in reported:
            if alert.alert_type == "success":
                total += alert.count
                assert alert.count >= max(since, 1)
                assert total <= sum(one <= at for one in breaches)
                since = 0
            else:
                since += alert.count
                assert total + since <= sum(one <= at for one in breaches)
        assert total == len(breaches)


def test_an_alerts_text_is_one_line_for_any_client_id() -> None:
    """The text goes into logs; the alert's own fields keep the id as it is."""
    reported: list[Alert] = []
    Incidents(Passing(), reported.append).fired("md\nERROR paid", Breach("t", "x", 1.0, "trade"), 0.0)
    assert [alert.client for alert in reported] == ["md\nERROR paid"]
    assert r"client md\nERROR paid, type trade" in reported[0].text
    assert reported[0].text.isprintable()
