"""The pages of examples/ on platforms, feeds and the client: each has its parts, and what it names is there."""

import re
from pathlib import Path

import pytest

import wsnova_statsd as ws
from tests.faults.pages import files
from tests.stories.page_blocks import Page
from tests.stories.test_examples import ROOT

EXAMPLES = ROOT / "examples"
# A page for each place where programs run, and what its heading calls the numbers.
PLATFORMS = ["asgi", "celery", "docker", "gunicorn", "kubernetes", "plain_statsd", "rq", "systemd", "uwsgi"]
FEEDS = ["10_json_rpc_exchange", "12_combined_streams", "13_binary_gateway", "recorder"]
GUIDES = ["client", "logging", "protocols", "secrets", "testing"]
PAGES = pytest.mark.parametrize("name", [*PLATFORMS, *FEEDS])
NAMING = pytest.mark.parametrize("name", [*PLATFORMS, *FEEDS, *GUIDES])
SOURCES = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "wsnova_statsd").rglob("*.py"))
_METRIC = re.compile(r"`(?:[a-z0-9_(]*[(:])?(websocket\.[a-z_.]+)")


def _page(name: str) -> str:
    return (EXAMPLES / f"{name}.md").read_text(encoding="utf-8")


@PAGES
def test_a_page_says_what_it_shows_what_is_seen_and_what_goes_wrong(name: str) -> None:
    """In this order, on a screen or two."""
    headings = re.findall(r"^(#+ .*)$", re.sub(r"```.*?```", "", _page(name), flags=re.DOTALL), re.MULTILINE)
    assert [heading.split()[0] for heading in headings] == ["#", "##", "##"]
    assert headings[1].startswith("## What you see")
    assert headings[2] == "## What goes wrong, and how it looks"
    assert len(_page(name).splitlines()) <= 110


@pytest.mark.parametrize("name", PLATFORMS)
def test_a_program_of_a_page_has_at_most_40_lines(name: str) -> None:
    """Those that run in the tests of each platform."""
    programs = {file: text for file, text in files(f"{name}.md").items() if file.endswith(".py")}
    assert programs or name == "kubernetes"
    for file, text in programs.items():
        assert len(text.splitlines()) <= 40, file
        compile(text, file, "exec")


@pytest.mark.parametrize("name", FEEDS)
def test_a_page_on_a_program_names_it(name: str) -> None:
    """The file of the same name."""
    assert f"`{name}.py`" in _page(name)
    assert (EXAMPLES / f"{name}.py").is_file()


@NAMING
def test_the_variables_that_a_page_names_are_read(name: str) -> None:
    """By the package; but for those of the Agent itself."""
    named = set(re.findall(r"\b(?:DD|WSNOVA_STATSD)_[A-Z_]+[A-Z]\b", _page(name))) - {"DD_DOGSTATSD_ORIGIN_DETECTION"}
    missing = {one for one in named if one not in SOURCES and one.removeprefix("WSNOVA_STATSD_") not in SOURCES.upper()}
    assert missing == set()


@NAMING
def test_the_metrics_that_a_page_names_are_sent(name: str) -> None:
    """By the default list."""
    known = {definition.name for definition in ws.statsd_metrics()}
    for metric in set(_METRIC.findall(_page(name))):
        assert {metric, metric.removesuffix(".distribution"), metric.removesuffix(".count")} & known, metric


@NAMING
def test_what_a_page_refers_to_is_there(name: str) -> None:
    """Other pages, and files of examples/."""
    written = files(f"{name}.md")
    for other in set(re.findall(r"`([\w.]+\.(?:md|py))`", _page(name))):
        assert other in written or Path(EXAMPLES / other).is_file(), other


@pytest.mark.parametrize("name", GUIDES)
def test_a_block_of_a_guide_has_at_most_40_lines(name: str) -> None:
    """As a program of examples/ has."""
    sizes = [len(block.splitlines()) for block in Page(name).python]
    assert sizes
    assert max(sizes) <= 40
