"""`python -m tests.stories.board_table [PROFILE]`: each query of the board, what happened in a run of two workers, and
what the query answers over the same run. A row for each group of a query; percentiles, KPIs and all else alike.
"""

import sys

import pytest

from tests.stories import datadog_queries
from tests.stories.board_service import Service
from tests.stories.datadog_queries import parse
from tests.stories.test_board_answers import ANY, asked, overall, truth
from wsnova_statsd.profiles import resolve


def main(profile: str = "financial") -> None:
    """Print the table."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        service = Service(monkeypatch, resolve(profile))
        try:
            service.live()
        finally:
            service.end()
    print(f"{'happened':>16} {'answered':>16}  query [group]")
    for text in dict.fromkeys(one.text for one in asked(service.profile)):
        query = parse(text, ANY)
        reported = overall(query, text, datadog_queries.answer(service.agent, query), service.agent)
        known = truth(service, query)
        for group in sorted(reported.keys() | known.keys()):
            happened, answered = (f"{side[group]:.6g}" if group in side else "-" for side in (known, reported))
            print(f"{happened:>16} {answered:>16}  {text} {list(group) or ''}".rstrip())


if __name__ == "__main__":
    main(*sys.argv[1:])
