"""A reporter's figures as a person reads them."""

from wsnova_statsd.reporters.delivery_stats import Account
from wsnova_statsd.reporters.figures import Stats


def test_the_figures_are_printed_in_lines() -> None:
    """What is pending, delivered and lost by cause; counters of faults only if there were some."""
    stats = Stats(
        series=3,
        pending=7,
        delivered=40,
        packets=2,
        bytes=190,
        lost={"refused": 5, "invalid": 1},
        last_error="refused: Connection refused",
        counters=Account(7, 40),
        sums=Account(0.5, 2),
        samples=Account(0, 9),
        flush_ms=1.25,
        handler_errors=2,
    )
    assert str(stats).splitlines() == [
        "3 series, 2 packets, 190 bytes, last flush 1.2 ms",
        "counts: 7 pending, 40 delivered",
        "sums: 0.5 pending, 2 delivered",
        "samples: 0 pending, 9 delivered",
        "lost: 5 refused, 1 invalid",
        "handler_errors: 2",
        "last error: refused: Connection refused",
    ]
