"""Where generated tables stand in a page, and the table of each name. Pure but for the list of pages.

A table stands between two comments, `<!-- table: NAME -->` and `<!-- end -->`, which no reader of a page sees.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from . import metrics, options

ROOT: Final = Path(__file__).resolve().parents[2]
TABLES: Final[Mapping[str, Callable[[], str]]] = {**metrics.TABLES, **options.TABLES}
_PLACE: Final = re.compile(r"(<!-- table: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def pages() -> list[Path]:
    """The pages that may have such tables."""
    return [ROOT / "README.md", *sorted((ROOT / "examples").glob("*.md"))]


def places(text: str) -> list[str]:
    """The names of the tables of a page."""
    return [name for _, name, _ in _PLACE.findall(text)]


def rendered(text: str) -> str:
    """The page with its tables as the code has them now. Raises KeyError for a name that no table has."""
    return _PLACE.sub(lambda place: f"{place[1]}\n{TABLES[place[2]]()}\n{place[3]}", text)
