"""The pages hold together: every link leads to a file and a heading, every table has as many cells in each row, and the
index of examples/ names each page and program once."""

from collections import Counter
from pathlib import Path

import pytest

from tests.markdown import anchors, cells, is_delimiter, links, pages, tables
from tests.support import ROOT

PAGES = pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
EXAMPLES = ROOT / "examples"


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def _missing(page: Path) -> list[str]:
    """The links of a page that lead to no file of the project, or to no heading of it."""
    return [link for link in links(_text(page)) if not _leads_somewhere(page, link)]


def _leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists() or not target.is_relative_to(ROOT):
        return False
    return not anchor or (target.suffix == ".md" and anchor in anchors(_text(target)))


@PAGES
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    """To a file of the project and, behind `#`, to one of its headings as GitHub names them."""
    assert _missing(page) == []


@PAGES
def test_every_table_of_a_page_is_one(page: Path) -> None:
    """A header, a delimiter row, and rows of as many cells."""
    for heading, rows in tables(_text(page)):
        assert len(rows) >= 3, f"{heading}: {rows[0]}"
        assert is_delimiter(rows[1]), f"{heading}: {rows[0]}"
        assert {len(row) for row in rows} == {len(rows[0])}, f"{heading}: {rows[0]}"


def test_the_index_names_every_page_and_program_of_the_examples_once() -> None:
    """As links."""
    index = Counter(links(_text(EXAMPLES / "README.md")))
    there = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".md", ".py")} - {"README.md"}
    assert {name: count for name, count in index.items() if "/" not in name} == dict.fromkeys(there, 1)


def test_the_pages_that_are_checked_are_all_there_are() -> None:
    """Those of the top level, of examples/ and of tests/ among them, and nothing that is installed."""
    found = {page.relative_to(ROOT).as_posix() for page in pages()}
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md"} <= found
    assert not any("site-packages" in name or name.startswith(".") for name in found)


def test_anchors_are_those_of_github() -> None:
    """Lower case, no punctuation, hyphens for blanks; the second of a name is numbered; a block has no headings."""
    text = "# A `b.c`: d-e_f\n\n## Same\n\n```sh\n# none\n```\n\n## Same\n\n### [Linked](x.md) & more\n"
    assert anchors(text) == {"a-bc-d-e_f", "same", "same-1", "linked--more"}


def test_links_are_found_where_github_finds_them() -> None:
    """In text, around pictures, as references and in HTML; not in code, and not those to other places."""
    text = (
        "[a](a.md) and ![b](b.svg) and [![c](c.svg)](c.md#x) `[no](no.md)` [d](https://d.example/) [`e`](e.md)\n"
        "and [one over\ntwo lines](h.md)\n\n"
        "[f]: f.md\n"
        '<img src="g.svg" alt="">\n'
        "```\n[no](no.md)\n```\n"
    )
    assert sorted(links(text)) == ["a.md", "b.svg", "c.md#x", "c.svg", "e.md", "f.md", "g.svg", "h.md"]


def test_a_bar_in_a_cell_is_escaped_also_in_code() -> None:
    assert cells(r"| `a\|b` | c |") == [r"`a\|b`", "c"]
    assert cells("| `a|b` | c |") == ["`a", "b`", "c"]
    assert cells(r"| a | b \|") == ["a", r"b \|"]


def test_a_table_without_a_delimiter_row_is_none() -> None:
    (heading, rows), (_, others) = tables("## T\n\n| a | b |\n| c | d |\n\n| a |\n|:-:|\n| b |\n")
    assert heading == "T"
    assert not is_delimiter(rows[1])
    assert is_delimiter(others[1])
