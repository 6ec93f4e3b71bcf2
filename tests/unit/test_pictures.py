"""The pictures of the live view: drawn at three sizes, and those of the README are there."""

import asyncio
from xml.etree import ElementTree

import pytest

from tests.pictures import EXAMPLES, SIZES, draw
from tests.unit.watching import snapshot


@pytest.mark.parametrize("size", SIZES)
def test_a_picture_is_drawn_of_a_moment(size: tuple[int, int]) -> None:
    """As SVG, with the metrics in it."""
    text = asyncio.run(draw(snapshot("websocket.message.received:3|c|#type:trade"), size))
    assert ElementTree.fromstring(text).tag.endswith("svg")
    assert "received" in text


@pytest.mark.parametrize(("columns", "rows"), SIZES)
def test_each_picture_is_in_the_repository(columns: int, rows: int) -> None:
    ElementTree.parse(EXAMPLES / f"watch_{columns}x{rows}.svg")
