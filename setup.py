"""The description for a package index. All other metadata is in setup.cfg, also for tools that still call setup.py."""

import re
from pathlib import Path

from setuptools import setup

_ROOT = Path(__file__).parent
_LINK = re.compile(r"(!?)\[([^\]]+)\]\(([^)\s:#]+)(?:#[^)\s]*)?\)")


def _as_text(link: re.Match[str]) -> str:
    """A link to a file of the repository as text that names the file: an index does not have it."""
    is_picture, text, path = link.groups()
    if not (_ROOT / path).exists() and not path.startswith("tests/"):  # a source distribution has no tests
        return link[0]
    return f"*Picture: {text}*" if is_picture else text if path in text else f"{text} (`{path}`)"


setup(long_description=_LINK.sub(_as_text, (_ROOT / "README.md").read_text(encoding="utf-8")))
