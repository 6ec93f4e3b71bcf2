"""UTF-8 as tables, from RFC 3629 section 3 and 4: what is text (RFC 6455 section 8.1) and what is not.

The families are those of the Autobahn suite, by its numbers, and so is the order inside each of them.
"""

from typing import Final

_KOSME: Final = "\u03ba\u1f79\u03c3\u03bc\u03b5"  # the five letters of the classic UTF-8 test file
_START_BYTES: Final = [(0xC0, 0xDF), (0xE0, 0xEF), (0xF0, 0xF7), (0xF8, 0xFB), (0xFC, 0xFD)]
_CUT_SHORT: Final = (
    "c0 e080 f08080 f8808080 fc80808080 df efbf f7bfbf fbbfbfbf fdbfbfbfbf"  # 2 to 6 bytes less the last
)


def _each(spelled: str) -> list[bytes]:
    return [bytes.fromhex(each) for each in spelled.split()]


def _prefixes(text: bytes, valid: bool) -> list[bytes]:
    """The beginnings of a text that end after a character, or inside one."""
    whole = {len(_KOSME[:count].encode()) for count in range(1, len(_KOSME) + 1)}
    return [text[:end] for end in range(1, len(text) + 1) if (end in whole) is valid]


VALID: Final[dict[str, list[bytes]]] = {
    "6.1 empty": [b""],
    "6.5 text": [
        *(f"hello{sign}world".encode() for sign in "$\u00a2\u20ac\U00024b62"),
        _KOSME.encode(),
    ],
    "6.6 prefixes that end after a character": _prefixes(_KOSME.encode(), valid=True),
    "6.7 the first of each length": _each("00 c280 e0a080 f0908080"),
    "6.9 the last of each length": _each("7f dfbf efbfbf f48fbfbf"),
    "6.11 boundaries": _each("ed9fbf ee8080 efbfbd f48fbfbf"),
    "6.22 non-characters": [
        *(chr(plane * 0x10000 + 0xFFFE + last).encode() for plane in range(17) for last in (0, 1)),
    ],
    "6.23 specials": [chr(code).encode() for code in range(0xFFF9, 0x10000)],
    "6.x a byte order mark": _each("efbbbf61"),
}

INVALID: Final[dict[str, list[bytes]]] = {
    "6.3 text around a surrogate": [_KOSME.encode() + b"\xed\xa0\x80edited"],
    "6.4 text around U+110000": [_KOSME.encode() + b"\xf4\x90\x80\x80edited"],
    "6.6 prefixes that end inside a character": _prefixes(_KOSME.encode(), valid=False),
    "6.8 the first of five and six bytes": _each("f888808080 fc8480808080"),
    "6.10 the last of four, five and six bytes": _each("f7bfbfbf fbbfbfbfbf fdbfbfbfbfbf"),
    "6.11 beyond U+10FFFF": _each("f4908080"),
    "6.12 continuation bytes alone": [
        *_each("80 bf 80bf 80bf80 80bf80bf 80bf80bf80 80bf80bf80bf"),
        bytes(range(0x80, 0xBF)),
    ],
    "6.13 start bytes alone": [
        b"".join(bytes([start, 0x20]) for start in range(first, last)) for first, last in _START_BYTES
    ],
    "6.14 the last byte missing": _each(_CUT_SHORT),
    "6.15 torn characters in a row": [b"".join(_each(_CUT_SHORT))],
    "6.16 bytes that never occur": _each("fe ff fefeffff"),
    "6.17 overlong ASCII": _each("c0af e080af f08080af f8808080af fc80808080af"),
    "6.18 the longest overlong": _each("c1bf e09fbf f08fbfbf f887bfbfbf fc83bfbfbfbf"),
    "6.19 overlong NUL": _each("c080 e08080 f0808080 f880808080 fc8080808080"),
    "6.20 surrogates": _each("eda080 edadbf edae80 edafbf edb080 edbe80 edbfbf"),
    "6.21 pairs of surrogates": [
        high + low for high in _each("eda080 edadbf edae80 edafbf") for low in _each("edb080 edbfbf")
    ],
    "6.x invalid after much that is valid": [b"a" * 70_000 + b"\x80", b"a" * 70_000 + b"\xf0\x9f\x98"],
}


def numbered(families: dict[str, list[bytes]]) -> dict[str, bytes]:
    """Each text under its family's name and its place in it."""
    return {
        f"{family}, {place}": text for family, texts in families.items() for place, text in enumerate(texts, start=1)
    }
