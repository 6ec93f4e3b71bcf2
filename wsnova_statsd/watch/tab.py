"""One tab of the browser: `python -m wsnova_statsd.watch.tab PATH PROFILE`, started by web.py. It binds nothing."""

from __future__ import annotations

import sys

from ..profiles import PROFILES
from .board import run
from .share import Remote


def main(path: str, profile: str) -> None:
    """Show the snapshots shared at this path."""
    source = Remote(path)
    try:
        run(source, PROFILES[profile].kpi_targets, source.ended.is_set)
    finally:
        source.close()


if __name__ == "__main__":
    main(*sys.argv[1:3])
