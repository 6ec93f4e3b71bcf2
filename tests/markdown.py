"""Markdown as GitHub reads it, as far as the project's pages use it: headings and their anchors, links, tables.

Pure functions of a page's text. What stands in a fenced block or in code is no heading, link or table.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from tests.support import ROOT

_FENCE: Final = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_HEADING: Final = re.compile(r"^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$")
_CODE: Final = re.compile(r"(`+)(?:(?!\1).)+?\1", re.DOTALL)
_PICTURE: Final = re.compile(r"!\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)")
_LINK: Final = re.compile(r"\[[^\[\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)")
_REFERENCE: Final = re.compile(r"^ {0,3}\[[^\]]+\]:\s*<?(\S+?)>?\s*$", re.MULTILINE)
_ATTRIBUTE: Final = re.compile(r"<(?:a|img|source)\b[^>]*?\b(?:href|src|srcset)=\"([^\"\s]+)[^\"]*\"", re.IGNORECASE)
_ELSEWHERE: Final = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)
_DELIMITER: Final = re.compile(r"^\s*\|?(\s*:?-+:?\s*\|)*\s*:?-+:?\s*\|?\s*$")
_NOT_OURS: Final = (".*", "*.egg-info", "build", "dist", "htmlcov", "node_modules")

Table = list[list[str]]  # rows of cells, the header first


def pages() -> list[Path]:
    """Every page of the project, in order; what is built or installed beside it is none."""
    folders = (one for one in ROOT.iterdir() if one.is_dir() and not any(one.match(name) for name in _NOT_OURS))
    return sorted([*ROOT.glob("*.md"), *(page for folder in folders for page in folder.rglob("*.md"))])


def lines(text: str) -> Iterator[str]:
    """The lines outside of fenced blocks; one that is inside is empty, so that nothing goes on over a block."""
    fence = ""
    for line in text.splitlines():
        found = _FENCE.match(line)
        if fence:
            if found and found[1].startswith(fence) and not line.strip(" `~"):
                fence = ""
            yield ""
        elif found:
            fence = found[1]
            yield ""
        else:
            yield line


def headings(text: str) -> list[str]:
    """The texts of all headings, in order."""
    return [found[2] for line in lines(text) if (found := _HEADING.match(line))]


def anchors(text: str) -> set[str]:
    """What a `#` may be followed by: each heading in lower case, without punctuation, blanks as hyphens; the second of
    the same name has `-1` behind it."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in headings(text):
        shown = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return found


def links(text: str) -> list[str]:
    """The targets of links and pictures, without those that lead out of the project."""
    found = []
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines(text))):
        plain = _CODE.sub(lambda code: "`" * len(code[0]), paragraph)  # code in a link's text is no target
        found += _PICTURE.findall(plain) + _LINK.findall(_PICTURE.sub("", plain))  # a picture may stand in a link
        found += _REFERENCE.findall(plain) + _ATTRIBUTE.findall(plain)
    return [unquote(one) for one in found if not _ELSEWHERE.match(one)]


def cells(line: str) -> list[str]:
    """The cells of a row. A bar is escaped by a backslash, also in code."""
    inner = line.strip().removeprefix("|")
    inner = inner[:-1] if inner.endswith("|") and not inner.endswith("\\|") else inner
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", inner)]


def tables(text: str) -> list[tuple[str, Table]]:
    """All tables, each with the heading above it. A block of lines that begin with a bar is one, even if it has no
    delimiter row."""
    found: list[tuple[str, Table]] = []
    heading, block = "", list[str]()
    for line in [*lines(text), ""]:
        if line.lstrip().startswith("|"):
            block.append(line)
            continue
        if block:
            found.append((heading, [cells(one) for one in block]))
            block = []
        if title := _HEADING.match(line):
            heading = title[2]
    return found


def is_delimiter(row: list[str]) -> bool:
    """Whether a row is the one below the header: hyphens alone, with colons at their ends."""
    return bool(_DELIMITER.match("|".join(row)))
