"""--push against a stand-in for Datadog's API: what is created, updated, left alone, and what is printed when it
fails."""

import itertools
import json
import os
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.datadog_api import API_KEY, APP_KEY, DatadogApi
from wsnova_statsd import FINANCIAL
from wsnova_statsd.cli.main import main
from wsnova_statsd.dashboards.metadata import metadata
from wsnova_statsd.dashboards.push import Api
from wsnova_statsd.dashboards.pushing import PushFailed

MONITORS = 17


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[DatadogApi]:
    """A running stand-in, which the environment names."""
    for name in ("DD_SITE", "DATADOG_API_KEY", "DATADOG_APP_KEY"):
        monkeypatch.delenv(name, raising=False)
    with DatadogApi().running() as api:
        monkeypatch.setenv("DATADOG_HOST", api.url)
        monkeypatch.setenv("DD_API_KEY", API_KEY)
        monkeypatch.setenv("DD_APP_KEY", APP_KEY)
        yield api


class Run:
    """One command line: its status, and what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
        try:
            self.status: object = main(arguments)
        except SystemExit as ended:
            self.status = ended.code
        self.out, self.err = capsys.readouterr()

    @property
    def words(self) -> list[str]:
        """The first word of each line that names an object."""
        return re.findall(r"^(?:would be )?(\w+) +(?:dashboard|metadata|monitor|slo) ", self.out, re.MULTILINE)


def _only(objects: dict[str, Any]) -> Any:
    (one,) = objects.values()
    return one


def test_a_board_is_created_marked_and_then_known(api: DatadogApi, capsys: pytest.CaptureFixture[str]) -> None:
    """Keys that Datadog adds are no change: a second push writes nothing."""
    first = Run(capsys, "dashboards", "datadog", "--push")
    assert (first.status, first.words, first.err) == (0, ["created"], "")
    made = _only(api.objects["dashboard"])
    assert re.search(r"\n\nwsnova-statsd:board-financial:[0-9a-f]{16}\Z", made["description"])
    assert "tags" not in json.loads(Run(capsys, "dashboards", "datadog").out)
    api.requests.clear()
    second = Run(capsys, "dashboards", "datadog", "--push")
    assert (second.status, second.words, api.writes) == (0, ["unchanged"], [])


def test_percentiles_are_explained_and_never_switched_on(api: DatadogApi, capsys: pytest.CaptureFixture[str]) -> None:
    """The place, the price, and the metrics; nothing but the board is written."""
    out = Run(capsys, "dashboards", "datadog", "--push").out
    assert "Metrics > Summary" in out
    assert "ten metrics instead of five" in out
    assert "\n  websocket.message.process.duration.distribution\n" in out
    assert api.writes == ["POST dashboard"]


def test_all_are_sent_in_an_order_in_which_each_finds_what_it_needs(
    api: DatadogApi, capsys: pytest.CaptureFixture[str]
) -> None:
    """Metadata, monitors, SLOs, the board."""
    api.seen(*metadata(FINANCIAL))
    run = Run(capsys, "dashboards", "datadog", "--all", "--push")
    assert run.status == 0
    kinds = [one.split()[1].partition("/")[0] for one in api.writes]
    wanted = {"metrics": len(metadata(FINANCIAL)), "monitor": MONITORS, "slo": 2, "dashboard": 1}
    assert kinds == [kind for kind, number in wanted.items() for _ in range(number)]
    api.requests.clear()
    again = Run(capsys, "dashboards", "datadog", "--all", "--push")
    assert (again.status, set(again.words), api.writes) == (0, {"unchanged"}, [])


def test_a_metric_that_datadog_has_not_seen_is_left_for_later(
    api: DatadogApi, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are described at once, this one by a later push."""
    late = "websocket.auth.failed"
    api.seen(*(name for name in metadata(FINANCIAL) if name != late))
    run = Run(capsys, "metadata", "--push")
    assert (run.status, run.words.count("later")) == (0, 1)
    assert f"{late}: Datadog has not seen it yet" in run.out
    assert "1 later" in run.out.splitlines()[-1]
    assert api.metrics["websocket.connection.started"]["statsd_interval"] == 10
    api.metrics["websocket.auth.started"]["unit"] = None
    api.requests.clear()
    assert Run(capsys, "metadata", "--push").words.count("updated") == 1
    assert api.writes == ["PUT metrics/websocket.auth.started"]
    assert api.bodies[-1] == {"unit": "occurrence"}  # what is right already is not sent again
    api.seen(late)
    assert Run(capsys, "metadata", "--push").words.count("updated") == 1


@pytest.mark.parametrize(
    ("command", "kind", "edit", "named"),
    [
        (["dashboards", "datadog"], "dashboard", lambda one: one.update(title="Mine"), "title"),
        (
            ["dashboards", "datadog"],
            "dashboard",
            lambda one: one["widgets"][1]["definition"]["widgets"].pop(),
            "widgets[1].definition.widgets",
        ),
        (["slos"], "slo", lambda one: one["thresholds"][0].update(target=95.0), "thresholds[0].target"),
        (
            ["monitors"],
            "monitor",
            lambda one: one["options"]["thresholds"].update(critical=7),
            "options.thresholds.critical",
        ),
        (["monitors"], "monitor", lambda one: one.update(message="@me"), "message"),
        (["monitors"], "monitor", lambda one: one["tags"].append("team:x"), "tags"),
    ],
)
def test_what_was_edited_in_datadog_is_named_and_left_alone(
    api: DatadogApi, capsys: pytest.CaptureFixture[str], command: list[str], kind: str, edit: Any, named: str
) -> None:
    """Until it is forced; the other objects are still pushed."""
    Run(capsys, *command, "--push")
    edited = next(iter(api.objects[kind].values()))
    edit(edited)
    before = json.dumps(edited)
    run = Run(capsys, *command, "--push")
    assert (run.status, run.words.count("refused")) == (1, 1)
    (line,) = [line for line in run.out.splitlines() if line.startswith("refused")]
    assert str(edited["id"]) in line
    assert f"was changed in Datadog: {named}; use --force" in line
    assert json.dumps(edited) == before
    forced = Run(capsys, *command, "--push", "--force")
    assert (forced.status, forced.words.count("overwritten")) == (0, 1)
    assert set(Run(capsys, *command, "--push").words) == {"unchanged"}


def test_a_description_that_is_not_ours_is_left_alone(api: DatadogApi, capsys: pytest.CaptureFixture[str]) -> None:
    """Metadata has no mark, so any text that is not ours counts as an edit."""
    api.seen(*metadata(FINANCIAL))
    api.metrics["websocket.error.occurred"]["description"] = "Our errors"
    run = Run(capsys, "metadata", "--push")
    assert (run.status, run.words.count("refused")) == (1, 1)
    assert "websocket.error.occurred has another description; use --force to overwrite it" in run.out
    assert Run(capsys, "metadata", "--push", "--force").status == 0
    assert api.metrics["websocket.error.occurred"]["description"].startswith("Occurrences of")


def test_another_version_updates_what_was_not_edited(api: DatadogApi, capsys: pytest.CaptureFixture[str]) -> None:
    """The mark has the hash of what was sent: an older board of ours is replaced, an edited one is not."""
    from wsnova_statsd.dashboards.datadog import board
    from wsnova_statsd.dashboards.marks import marked

    older = board(FINANCIAL)
    older["widgets"][0]["definition"]["title"] = "Before"
    older["widgets"][3]["definition"]["widgets"].pop()
    api.answer("POST", "dashboard", {}, marked("board-financial", older, by_tag=False))
    assert Run(capsys, "dashboards", "datadog", "--push").words == ["updated"]
    assert Run(capsys, "dashboards", "datadog", "--push").words == ["unchanged"]
    api.objects["dashboard"].clear()
    api.answer("POST", "dashboard", {}, marked("board-financial", older, by_tag=False))
    _only(api.objects["dashboard"])["widgets"][1]["definition"]["title"] = "Mine"
    run = Run(capsys, "dashboards", "datadog", "--push")
    assert (run.status, run.words) == (1, ["refused"])
    assert "or made by another version: widgets[0].definition.title, widgets[1].definition.title, " in run.out


def test_a_missing_answer_is_reported_after_a_timeout(api: DatadogApi) -> None:
    """With the request; the next request is still made."""
    api.seen("websocket.connection.up")
    asked = Api(timeout=0.2)
    api.fail("hang", "GET", "metrics")
    with pytest.raises(PushFailed, match=r"no answer to GET .*/metrics/websocket\.connection\.up within 0\.2 s; run"):
        asked.metadata("websocket.connection.up")
    api.fails = lambda *asked: None
    assert asked.metadata("websocket.connection.up") is not None


def test_only_an_unknown_metric_is_left_for_later(api: DatadogApi, capsys: pytest.CaptureFixture[str]) -> None:
    """Any other answer of Datadog is a failure."""
    api.fail(403, "GET", "metrics")
    run = Run(capsys, "metadata", "--push")
    assert (run.status, run.words) == (1, [])
    assert "with 403" in run.err


def test_two_objects_with_one_mark_are_both_named(api: DatadogApi, capsys: pytest.CaptureFixture[str]) -> None:
    """It is unknown which of them is ours: neither is touched, forced or not."""
    Run(capsys, "dashboards", "datadog", "--push")
    copy = dict(_only(api.objects["dashboard"]), title="A copy", id="abc-999-xyz")
    api.objects["dashboard"]["abc-999-xyz"] = copy
    api.requests.clear()
    run = Run(capsys, "dashboards", "datadog", "--push", "--force")
    assert (run.status, run.words, api.writes) == (1, ["refused"], [])
    assert all(f"{one['title']} ({name})" in run.out for name, one in api.objects["dashboard"].items())


def test_a_title_that_is_taken_is_no_board_of_ours(api: DatadogApi, capsys: pytest.CaptureFixture[str]) -> None:
    """A board without a mark: it is named, and no second one with that title is made."""
    Run(capsys, "dashboards", "datadog", "--push")
    _only(api.objects["dashboard"])["description"] = "A board"
    run = Run(capsys, "dashboards", "datadog", "--push")
    assert (run.status, run.words, len(api.objects["dashboard"])) == (1, ["refused"], 1)
    assert "which is not ours" in run.out


def test_profiles_namespaces_and_envs_have_separate_objects(
    api: DatadogApi, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second profile does not replace the first; a namespace may have the name of an env."""
    standard = ["--profile", "standard"]
    for more in ([], standard, [*standard, "--namespace", "Feeds"], [*standard, "--env", "feeds"]):
        assert Run(capsys, "slos", "--push", *more).words == ["created"] * 2
    assert len(api.objects["slo"]) == 8
    numerators = [one["query"]["numerator"] for one in api.objects["slo"].values() if "query" in one]
    assert numerators[2] == "sum:Feeds.websocket.connection.completed{*}.as_count()"


def test_a_dry_run_writes_nothing(api: DatadogApi, capsys: pytest.CaptureFixture[str]) -> None:
    """It reads, and says what a push would do."""
    run = Run(capsys, "dashboards", "datadog", "--all", "--push", "--dry-run")
    assert (run.status, api.writes) == (0, [])
    assert run.out.count("would be created") == MONITORS + 3
    assert "none sent" in run.out.splitlines()[-1]


def test_every_page_of_a_list_is_read(api: DatadogApi, capsys: pytest.CaptureFixture[str]) -> None:
    """Ours are found after two hundred others, in each kind."""
    for number in range(220):
        api.answer("POST", "monitor", {}, {"name": f"m{number}", "type": "rum alert", "options": {}, "tags": []})
        api.answer("POST", "slo", {}, {"name": f"s{number}", "thresholds": [], "tags": []})
        other: dict[str, Any] = {"title": f"d{number}", "description": None, "template_variables": [], "widgets": []}
        api.answer("POST", "dashboard", {}, other)
    Run(capsys, "dashboards", "datadog", "--all", "--push")
    for command in (["monitors"], ["slos"], ["dashboards", "datadog"]):
        assert set(Run(capsys, *command, "--push").words) == {"unchanged"}


@pytest.mark.parametrize(
    ("how", "reported"),
    [
        (403, r"refused .*/api/v1/slo with 403 \(Failed\): both keys have to be"),
        (429, r"with 429 \(Too many requests\): its rate limit is reached; run the same command again in 17 s"),
        (500, r"Datadog answered 500 to .*its servers failed"),
        (503, r"Datadog answered 503 to"),
        ("break", r"incomplete answer to POST .*/api/v1/slo: "),
        (413, r"refused .*/api/v1/slo with 413 \(no reason given\)"),
        ("<html>Sign in</html>", r"incomplete answer to POST .*Sign in.*check DD_SITE, DATADOG_HOST and the proxy"),
        ('{"errors": ["No such thing"]}', r"refused .*/api/v1/slo with 200 \(No such thing\)"),
        ('{"data": [{}]}', r"the answer to POST .*/slo is not Datadog's: {'data': \[{}\]}; check DD_SITE"),
    ],
)
def test_a_push_that_fails_halfway_says_how_far_it_came_and_a_second_one_completes_it(
    api: DatadogApi, capsys: pytest.CaptureFixture[str], how: int | str, reported: str
) -> None:
    """One sentence, status 1; what was done is printed before, and not done again."""
    api.fail(how, "POST", "slo", after=1)
    run = Run(capsys, "dashboards", "datadog", "--all", "--push")
    assert run.status == 1
    said = r"wsnova-statsd dashboards: slo WebSocket clients \(financial\): Reconnects in time: "
    so_far = rf"\. {MONITORS + 1} done, .* later: .*, and nothing after that was sent\n"
    assert re.fullmatch(f"{said}.*{reported}.*{so_far}", run.err)
    assert run.words.count("created") == MONITORS + 1
    assert (len(api.objects["slo"]), len(api.objects["dashboard"])) == (1, 0)
    api.fails = lambda *asked: None
    again = Run(capsys, "dashboards", "datadog", "--all", "--push")
    assert (again.status, again.words.count("unchanged"), again.words.count("created")) == (0, MONITORS + 1, 2)


_ODD = ("", "null", "[null]", "7", '"a"')  # for any request


@pytest.mark.parametrize(
    ("command", "kind", "body"),
    [
        *(("dashboards datadog", "dashboard", body) for body in (*_ODD, "[]", "{}", '{"dashboards": [{}]}')),
        *(("slos", "slo", body) for body in (*_ODD, "[]", "{}", '{"data": {}}')),
        *(("monitors", "monitor", body) for body in (*_ODD, "{}", "[{}]")),
        *(("metadata", "metrics", body) for body in (*_ODD, "[]")),
    ],
)
def test_an_answer_that_is_not_one_of_datadogs_is_one_sentence(
    api: DatadogApi, capsys: pytest.CaptureFixture[str], command: str, kind: str, body: str
) -> None:
    """Another program may answer at the API's address: its answer counts neither as an empty list nor as success."""
    api.fail(body, "GET", kind)
    run = Run(capsys, *command.split(), "--push")
    assert (run.status, run.out, api.writes) == (1, "", [])
    assert f"/api/v1/{kind}" in run.err
    assert "is not Datadog's: " in run.err
    assert run.err.endswith("; check DD_SITE, DATADOG_HOST and the proxy. 0 done, and nothing after that was sent\n")
    assert run.err.count("\n") == 1


def test_a_push_that_is_interrupted_says_how_far_it_came(api: DatadogApi, capsys: pytest.CaptureFixture[str]) -> None:
    """By Ctrl-C while Datadog is asked for the second SLO: one was made, and a second push makes the other."""

    def interrupted(method: str, path: str) -> str | None:
        if (method, path) == ("POST", "slo") and api.objects["slo"]:
            os.kill(os.getpid(), signal.SIGINT)
            return "hang"
        return None

    api.fails = interrupted
    run = Run(capsys, "slos", "--push")
    assert (run.status, run.words) == (130, ["created"])
    assert run.err == "wsnova-statsd slos: interrupted. 1 done; run it again to continue\n"
    api.fails = lambda *asked: None
    assert Run(capsys, "slos", "--push").words == ["unchanged", "created"]


def test_an_object_that_was_made_although_its_answer_was_lost_is_not_made_again(
    api: DatadogApi, capsys: pytest.CaptureFixture[str]
) -> None:
    """The push says that it got no answer; the next one finds the object by its mark."""
    api.fail("lose", "POST", "slo", after=1)
    run = Run(capsys, "slos", "--push")
    assert (run.status, run.words, len(api.objects["slo"])) == (1, ["created"], 2)
    assert "incomplete answer to POST" in run.err
    api.fails = lambda *asked: None
    assert Run(capsys, "slos", "--push").words == ["unchanged"] * 2
    assert len(api.objects["slo"]) == 2


@pytest.mark.parametrize(("method", "kind"), [("PUT", "metrics"), ("POST", "monitor"), ("POST", "slo")])
def test_a_document_that_datadog_refuses_delays_nothing_else(
    api: DatadogApi, capsys: pytest.CaptureFixture[str], method: str, kind: str
) -> None:
    """It is named with Datadog's reason, the others are sent, and the status is 1: a second try would not help."""
    api.seen(*metadata(FINANCIAL))
    numbers = itertools.count()
    api.fails = lambda *asked: 400 if asked == (method, kind) and next(numbers) == 1 else None
    run = Run(capsys, "dashboards", "datadog", "--all", "--push")
    assert (run.status, run.err) == (1, "")
    (line,) = [line for line in run.out.splitlines() if line.startswith("refused")]
    assert re.search(rf" was not accepted: Datadog refused {method} .*/api/v1/{kind}.* with 400 \(Failed\)$", line)
    made = {"monitor": MONITORS, "slo": 2, "dashboard": 1}
    assert {name: len(known) for name, known in api.objects.items()} == {
        name: number - (name == kind) for name, number in made.items()
    }
    assert run.out.splitlines()[-1] == f"{len(metadata(FINANCIAL)) + MONITORS + 2} done, 1 refused."
    api.fails = lambda *asked: None
    assert Run(capsys, "dashboards", "datadog", "--all", "--push").words.count("unchanged") == run.words.count(
        "created"
    ) + run.words.count("updated")


@pytest.mark.parametrize("missing", ["DD_API_KEY", "DD_APP_KEY"])
def test_a_missing_key_is_bad_input(
    api: DatadogApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """Before any request."""
    monkeypatch.setenv(missing, "")
    run = Run(capsys, "monitors", "--push")
    assert (run.status, run.out, api.requests) == (2, "", [])
    assert re.fullmatch(rf"wsnova-statsd monitors: {missing} not set; .*\n", run.err)


def test_a_wrong_key_is_reported_and_never_shown(
    api: DatadogApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """403, with the permissions that both keys need."""
    monkeypatch.setenv("DD_APP_KEY", "another-key-of-mine")
    run = Run(capsys, "monitors", "--push")
    assert run.status == 1
    assert "with 403 (Forbidden)" in run.err
    assert "monitors_write" in run.err
    assert "another-key-of-mine" not in run.out + run.err
    assert run.err.count("\n") == 1


@pytest.mark.parametrize("key", ["SECRET\nMORE", "SECRET\rMORE", "SECRETЮ", "SECRET MORE", "SECRET\x7f"])
def test_an_unusable_key_is_bad_input_and_never_shown(
    api: DatadogApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """The error of the library that refuses it as a header would show it."""
    monkeypatch.setenv("DD_APP_KEY", key)
    run = Run(capsys, "monitors", "--push")
    assert (run.status, run.out, api.requests) == (2, "", [])
    assert run.err == "wsnova-statsd monitors: DD_APP_KEY contains a character that no key has; copy the key again\n"


def test_a_password_in_the_url_of_the_api_is_never_shown(
    api: DatadogApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused, as every error shows the URL."""
    monkeypatch.setenv("DATADOG_HOST", "http://ops:hunter2@proxy.example/dd")
    run = Run(capsys, "monitors", "--push")
    assert (run.status, run.out) == (2, "")
    assert "DATADOG_HOST is 'proxy.example/dd'; set it to a URL such as" in run.err
    assert "hunter2" not in run.err


def test_a_site_that_does_not_exist(
    api: DatadogApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence with the name that was looked up, status 1."""
    monkeypatch.delenv("DATADOG_HOST")
    monkeypatch.setenv("DD_SITE", "nowhere.invalid")
    run = Run(capsys, "slos", "--push")
    assert run.status == 1
    assert run.err.startswith("wsnova-statsd slos: cannot reach https://api.nowhere.invalid: ")
    assert not re.search("HTTPS?Connection|Max retries|object at|Caused", run.err)  # what libraries wrap around it
    assert run.err.count("\n") == 1
    assert "check DD_SITE" in run.err


def test_the_host_that_is_named_wins_over_the_site(
    api: DatadogApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The site is not even looked up."""
    monkeypatch.setenv("DD_SITE", "nowhere.invalid")
    assert Run(capsys, "slos", "--push").words == ["created"] * 2
    assert len(api.objects["slo"]) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("DD_SITE", value) for value in ("https://app.datadoghq.eu", "eu", "a..eu", ".eu", "-a.eu", "a b.eu")),
        *(
            ("DATADOG_HOST", value)
            for value in ("localhost:80", "https://", "http://[::1", "http://a:99999", "ftp://a")
        ),
    ],
)
def test_an_unusable_site_is_bad_input(
    api: DatadogApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """The variable, what it holds, and what is allowed."""
    monkeypatch.delenv("DATADOG_HOST")
    monkeypatch.setenv(name, value)
    run = Run(capsys, "slos", "--push")
    assert run.status == 2
    assert f"{name} is {value!r}; set it to a " in run.err


def test_force_alone_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    """It would have no effect."""
    run = Run(capsys, "slos", "--force")
    assert (run.status, run.out) == (2, "")
    assert "--force is given without --push" in run.err


def test_the_stand_in_refuses_what_datadog_refuses(api: DatadogApi) -> None:
    """Tags of a dashboard other than team, and a threshold that is not that of the query."""
    assert api.answer("POST", "dashboard", {}, {"tags": ["env:prod"]})[0] == 400
    monitor = {"type": "query alert", "query": "sum(last_5m):x > 1", "options": {"thresholds": {"critical": 2}}}
    assert api.answer("POST", "monitor", {}, monitor)[0] == 400
