"""The blocks and tables of a page of examples/, and how a block is run: as it stands there, but for the feed's URL."""

import inspect
import re
from typing import Any

from tests.support import ROOT

EXAMPLES = ROOT / "examples"
URL = "wss://feed.example/ws"


class Page:
    """A page of examples/, by its name."""

    def __init__(self, name: str) -> None:
        self.name: str = f"{name}.md"
        self.text: str = (EXAMPLES / self.name).read_text(encoding="utf-8")
        self.python: list[str] = self.blocks("python")

    def blocks(self, language: str) -> list[str]:
        """Its blocks of this language, in their order."""
        return re.findall(rf"^```{language}\n(.*?)^```$", self.text, re.DOTALL | re.MULTILINE)

    def marked_once(self, *marks: str) -> bool:
        """Whether each block of Python has one of these marks, and each mark one block: so none is left out."""
        return [[mark in block for mark in marks].count(True) for block in self.python] == [1] * len(marks)

    def run(self, mark: str, url: str = URL, **names: Any) -> dict[str, Any]:
        """Execute the block with this mark against the feed at this URL, given these names; its names afterwards."""
        [block] = [block for block in self.python if mark in block]
        assert "import wsnova_statsd as ws\n" in block
        exec(compile(block.replace(URL, url), self.name, "exec"), names)
        return names

    def table(self, heading: str) -> list[list[str]]:
        """The rows of the table whose first heading is this."""
        rows = self.text.split(f"\n| {heading} |")[1].split("\n\n")[0].splitlines()
        return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip("|"))] for row in rows[2:]]


def code(cells: list[str]) -> list[str]:
    """What stands in these cells as code, in order."""
    return [word for cell in cells for word in re.findall(r"`([^`]+)`", cell)]


def shown_and_closed(shown: list[Any]) -> Any:
    """A `print` that keeps what it is given, and closes the `client` of the function that called it."""

    def printed(*what: Any) -> None:
        shown.extend(what)
        frame = inspect.currentframe()
        assert frame is not None
        assert frame.f_back is not None
        frame.f_back.f_locals["client"].close()

    return printed
