"""What a hostile caller or server may pass, each with the text it is meant to become; and the cleaning rules a second
time.

The rules are written from the protocol, character by character, and share no line with the emitter.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from itertools import count, repeat
from numbers import Real
from typing import Any

from hypothesis import strategies as st


class Raises:
    """Raises in every method, even when asked for its class."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    def _raise(self, *_: object) -> Any:
        raise RuntimeError("no")

    __str__ = __repr__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _raise
    __bool__ = __len__ = __iter__ = __int__ = __index__ = __float__ = __add__ = __radd__ = _raise
    __hash__ = _raise


class Says:
    """Returns any text, and raises when compared."""

    def __init__(self, said: object) -> None:
        self._said = said

    def __str__(self) -> Any:
        return self._said

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    __hash__ = object.__hash__


class LyingText(str):
    """Holds one text and returns another, in every method."""

    def __str__(self) -> str:
        return "lie\nforged:1|c"

    def __getitem__(self, index: Any) -> Any:
        return "lie\nforged:1|c"

    def encode(self, *_: Any, **__: Any) -> Any:
        return b"lie\nforged:1|c"

    def isascii(self) -> bool:
        return True

    def __len__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return hash("lie")


class LyingBytes(bytes):
    """Holds one text and returns another."""

    def decode(self, *_: Any, **__: Any) -> str:
        return "lie\nforged:1|c"


class LyingInt(int):
    """Compares as within any limits."""

    def __le__(self, other: object) -> bool:
        return True

    __lt__ = __ge__ = __gt__ = __le__


class LyingFloat(float):
    """Compares as within any limits."""

    def __le__(self, other: object) -> bool:
        return True

    __lt__ = __ge__ = __gt__ = __le__


class Pretends:
    """Claims to be of another class."""

    def __init__(self, kind: type) -> None:
        self.kind = kind

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return self.kind

    def __str__(self) -> str:
        return "pretends"


class _Unnamed(type):
    @property
    def __name__(cls) -> Any:  # type: ignore[override]
        raise RuntimeError("no name")


class Nameless(metaclass=_Unnamed):
    """Raises when asked for its text, as does its class when asked for its name."""

    def __str__(self) -> str:
        raise RuntimeError("no")


@Real.register
class Scalar:
    """A number of another library, as numpy's are: neither int nor float, but registered as Real."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __float__(self) -> float:
        return self.value


class LyingMapping(Mapping[Any, Any]):
    """Claims to hold what it cannot give."""

    def __getitem__(self, key: Any) -> Any:
        raise RuntimeError("no")

    def __iter__(self) -> Iterator[Any]:
        return iter(("a", "b"))

    def __len__(self) -> int:
        raise RuntimeError("no")


Rude = type("Ru\nde|c", (), {"__str__": lambda self: 1 / 0})

# Each with the text that it is meant to become.
OBJECTS: list[tuple[Any, str]] = [
    (Raises(), "Raises"),
    (Nameless(), "Nameless"),
    (Rude(), "Ru\nde|c"),
    (Says(5), "Says"),
    (Says(LyingText("a|b\nforged:1|c")), "a|b\nforged:1|c"),
    (LyingText("true|text"), "true|text"),
    (LyingBytes(b"true|text"), "true|text"),
    (Pretends(str), "Pretends"),
    (Pretends(bytes), "Pretends"),
    (Pretends(dict), "pretends"),
    (ValueError("a|b\nforged:1|c"), "a|b\nforged:1|c"),
    (b"half \xc3", "half \ufffd"),
    (b"a\nforged:1|c", "a\nforged:1|c"),
    (bytearray(b"x"), "bytearray(b'x')"),
    (10**5000, "int"),  # Python refuses so many digits
    (float("nan"), "nan"),
    (Decimal("1.5"), "1.5"),
    (None, "None"),
    (True, "true"),
    (["a", "b|c"], "['a', 'b|c']"),
    ({"k": "v\n"}, "{'k': 'v\\n'}"),
]

TEXTS = [
    *("a|@0.001", "a|#x:y", "x\nforged:1|c", "\r\nforged:1|c\r\n", "a,b,,c", "#", "@", "|", ",", ":", "::", "\n", ""),
    *("_e{1,1}:a|b", "_sc|forged|0", "m:forged", "|m:forged", "\\n", "T1700000000", "|T1700000000", "|d:1|h:evil"),
    *("c:ci-forged", "e:it-forged", "|c:in-1", "|e:forged", "card:none", "|card:high", "cardinality:none"),
    *("host", "host:evil", "HOST:evil", ":host:evil", "host::", "device:eth0", "dd.internal.entity_id:forged"),
    *("dd.internal.card:none", "Dd.Internal.resource:a:b", "\ud800", "a\udc80b", "\x00", "\x7f\x85", "\u2028\u2029"),
    *("e\u0301", "\u202eLTR", "\ufeff", "ﬀ", "\u0661", "2\u2075", "é" * 300, "💥" * 300, "日" * 5_000, "x" * 1_000_000),
]

texts = st.one_of(
    st.sampled_from(TEXTS),
    st.text("ab|:,#@\n\r\\_{}.T0é💥\ud800 ", max_size=30),
    st.text(alphabet=st.characters(exclude_categories=()), max_size=300),
)


@dataclass(frozen=True, eq=False)
class Thing:
    """What is passed, and the text it stands for."""

    given: Any = field(repr=False)  # it may raise when shown
    said: str


things = st.one_of(
    texts.map(lambda text: Thing(text, text)), st.integers(0, len(OBJECTS) - 1).map(lambda n: Thing(*OBJECTS[n]))
)


def endless() -> dict[str, Any]:
    """Tags that go on for ever, or end in an error, made anew each time."""

    def breaks_off() -> Iterator[str]:
        yield "kept:1"
        raise RuntimeError("no more")

    return {"numbers": count(), "nothing": repeat(None), "breaks off": breaks_off(), "mapping": LyingMapping()}


def utf8(text: str) -> str:
    """The text without what UTF-8 cannot carry."""
    return "".join("?" if unicodedata.category(char) == "Cs" else char for char in text)


def name_of(text: str, prefix: str = "") -> str:
    """The metric name that a text becomes after a prefix; '' if it becomes none."""
    clean = "".join(char if char.isascii() and (char.isalnum() or char in "_.") else "_" for char in text[:250])
    while clean and (clean[0] == "." if prefix else not clean[0].isalpha()):
        clean = clean[1:]
    return clean[: 200 - len(prefix)]


def is_collection(given: Any) -> bool:
    """A list in a list of tags, or what claims to be one: such tags are refused."""
    return issubclass(type(given), (list, tuple, set, frozenset, Mapping))


def tag_of(text: str, *, own: bool = False) -> str:
    """The tag that a text becomes; '' if it becomes none, or is not allowed. `own`: of the program itself."""
    clean = "".join(char if char.isalnum() or char in "_-:./" else "_" for char in utf8(text[:200]))
    while clean[:1] == ":":
        clean = clean[1:]
    while clean[-1:] == ":":
        clean = clean[:-1]
    key, _, rest = clean.partition(":")
    moves = (key.lower() == "host" and (rest or clean == key)) or clean.lower().startswith("dd.internal.")
    if own and rest and text.startswith("host:"):
        moves = False
    return "" if moves else clean


def tags_of(texts: list[str], *, own: bool = False) -> tuple[str, ...]:
    """The tags that these texts become, each once."""
    found: list[str] = []
    for text in texts:
        tag = tag_of(text, own=own)
        if tag and tag not in found:
            found.append(tag)
    return tuple(found)


_NO_NUMBERS: list[Any] = [
    *(LyingInt(10**400), LyingFloat("nan"), LyingFloat("inf"), Scalar(float("nan")), Decimal("sNaN"), Decimal("1e999")),
    *(Fraction(10**400), 10**400, float("nan"), True, None, "5", "1|c\nforged:1|c", b"5", 1j, [1], {}),
    *(Raises(), Pretends(int), Pretends(float), Pretends(Real), LyingText("5"), Says("5")),
]
# Each with the plain number that it is; None if it is none.
NUMBERS: list[tuple[Any, float | None]] = [
    *((5, 5), (-2.5, -2.5), (2**960, 2**960), (LyingInt(7), 7), (LyingFloat(0.5), 0.5), (Decimal("1.5"), 1.5)),
    *((Fraction(1, 4), 0.25), (Scalar(3.5), 3.5)),
    *((one, None) for one in _NO_NUMBERS),
]
