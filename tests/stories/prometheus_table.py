"""`python -m tests.stories.prometheus_table [PROFILE]`: each query of Grafana's board, what happened in a run of two
processes that a real Prometheus scraped, and what it answers; by the guide's names and by the conventional ones.
"""

import sys
import tempfile
from pathlib import Path

from tests.prometheus import program_of
from tests.stories.prometheus_service import Scraped
from tests.stories.test_prometheus_answers import rows
from wsnova_statsd.dashboards.exposed import Page
from wsnova_statsd.profiles import resolve
from wsnova_statsd.reporters.families import NAMINGS


def main(profile: str = "financial") -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        service = Scraped(program_of("prometheus"), Path(folder), resolve(profile))
        try:
            service.live()
            for naming in NAMINGS:
                print(f"naming={naming!r}, over {service.seconds} s\n{'happened':>14} {'answered':>14}  query [group]")
                for row in rows(service, Page(naming)):
                    known, reported = ("-" if value is None else f"{value:.6g}" for value in (row.known, row.reported))
                    wrong = "" if row.right else "  WRONG"
                    print(f"{known:>14} {reported:>14}  {row.text} {list(row.group) or ''}{wrong}".rstrip())
        finally:
            service.end()


if __name__ == "__main__":
    main(*sys.argv[1:])
