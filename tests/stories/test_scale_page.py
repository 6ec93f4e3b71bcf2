"""The page on many workers: its figures are those that the simulation gives, its block runs, its commands are there."""

import re
from collections.abc import Iterator

import pytest

import wsnova_statsd as ws
from tests.benchmarks import scale, soak
from tests.benchmarks.scale_storm import CONNECT_TIMEOUT, Listener, Setting, simulate
from tests.stories.test_examples import ROOT

PAGE = (ROOT / "tests" / "benchmarks" / "scale.md").read_text(encoding="utf-8")
LONG_QUEUE = Listener(backlog=4095, accepts=250.0)


def _tables() -> list[dict[str, list[str]]]:
    """The cells of each storm on the page, by the name of the way."""
    found: list[dict[str, list[str]]] = []
    for block in re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL):
        for line in block.splitlines():
            cells = re.split(r" {2,}", line.strip())
            if cells[:2] == ["way", "back"]:
                found.append({})
            elif len(cells) == 12 and not line.startswith("-"):
                found[-1][cells[0]] = cells
    return found


def _storms() -> Iterator[tuple[int, Listener, Setting, float, list[str]]]:
    """Those of the page, but for the ways that take long: by table, with the ways to simulate."""
    shipped = ["financial", "standard", "lightweight"]
    sized = [*shipped, "standard, first_retry=20", "fixed 1 s", "fixed 5 s"]
    yield 0, Listener(), Setting(), CONNECT_TIMEOUT, sized
    yield 1, Listener(), Setting(away=10.0), CONNECT_TIMEOUT, sized
    yield 2, LONG_QUEUE, Setting(horizon=600.0), CONNECT_TIMEOUT, shipped[1:]
    yield 3, LONG_QUEUE, Setting(horizon=600.0), 30.0, shipped


@pytest.mark.parametrize(("table", "listener", "setting", "timeout", "names"), list(_storms()))
def test_the_figures_of_the_page_are_those_of_the_shipped_policy_and_profiles(
    table: int, listener: Listener, setting: Setting, timeout: float, names: list[str]
) -> None:
    """Each line as the command prints it with its own seed."""
    found = _tables()
    assert len(found) == 4
    ways = {way.name: way for way in scale.ways(timeout, 20.0)}
    assert found[table].keys() >= set(names)
    for name in names:
        outcome = simulate(ways[name], listener, setting)
        assert found[table][name] == [*scale.storm_cells(name, outcome, setting.horizon)], name


def test_the_profile_of_the_page_is_the_one_of_its_tables() -> None:
    """Its block runs, and makes the client that the fourth row is about."""
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(block, "scale.md", "exec"), names)
    assert names["profile"] == ws.STANDARD.replace(first_retry=20.0)
    assert isinstance(names["client"], ws.Client)


@pytest.mark.parametrize(
    "command", sorted(set(re.findall(r"python -m tests\.benchmarks\.(.*?)(?: *#.*| --json.*)?$", PAGE, re.MULTILINE)))
)
def test_a_command_of_the_page_is_understood(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With its options; --help keeps it from running."""
    name, *arguments = command.split()
    with pytest.raises(SystemExit) as ended:
        {"scale": scale.main, "soak": soak.main}[name]([*arguments, "--help"])
    assert ended.value.code == 0
    assert "usage: python -m tests.benchmarks." in capsys.readouterr().out
