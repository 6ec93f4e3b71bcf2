"""What a page of examples/ holds: its blocks by language, its tables by heading; and its Python, executed."""

import re
from typing import Any

from tests.stories.test_examples import ROOT

URL = "wss://feed.example/ws"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def page(name: str) -> str:
    """The text of a page."""
    return (ROOT / "examples" / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of this language, in their order."""
    return [body for found, body in _BLOCK.findall(text) if found == language]


def block(text: str, mark: str) -> str:
    """The one Python block that has this mark in it."""
    (found,) = [one for one in blocks(text, "python") if mark in one]
    return found


def run(code: str, url: str = URL, **names: Any) -> dict[str, Any]:
    """Execute a block, against the feed at `url`; its names afterwards."""
    namespace: dict[str, Any] = dict(names)
    exec(compile(code.replace(URL, url), "a page", "exec"), namespace)
    return namespace


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading of level 2, without its head."""
    section = f"\n{text}".split(f"\n## {heading}\n")[1].split("\n## ")[0]
    table = re.search(r"^\|.*?(?=^[^|]|\Z)", section, re.DOTALL | re.MULTILINE)
    assert table is not None, heading
    lines = [re.split(r"(?<!\\)\|", line.strip().strip("|")) for line in table[0].splitlines()]
    return [[cell.strip() for cell in line] for line in lines[2:]]
