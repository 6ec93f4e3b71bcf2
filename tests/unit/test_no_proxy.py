"""NO_PROXY: which hosts and ports its entries name."""

import pytest

from wsnova_statsd.dial.no_proxy import bypasses


@pytest.mark.parametrize(
    ("no_proxy", "host", "port"),
    [
        ("*", "feed.example", 443),
        ("feed.example", "feed.example", 443),
        ("FEED.Example", "feed.example", 443),
        ("example", "feed.example", 443),
        (".example", "feed.example", 443),
        ("*.example", "feed.example", 443),
        (".feed.example", "feed.example", 443),
        ("feed.example.", "feed.example", 443),
        ("a.example b.example,\tfeed.example", "feed.example", 443),
        ("feed.example:8443", "feed.example", 8443),
        (".example:8443", "feed.example", 8443),
        ("*:8443", "feed.example", 8443),
        ("192.0.2.7", "192.0.2.7", 80),
        ("192.0.2.7:81", "192.0.2.7", 81),
        ("10.0.0.0/8", "10.200.3.4", 80),
        ("10.1.2.3/8", "10.200.3.4", 80),
        ("2001:db8::1", "2001:db8::1", 443),
        ("[2001:db8::1]", "2001:db8:0::1", 443),
        ("[2001:db8::1]:444", "2001:db8::1", 444),
        ("2001:db8::/32", "2001:db8:5::9", 443),
        ("fe80::/10", "fe80::1%eth0", 443),
    ],
)
def test_an_entry_names_a_host(no_proxy: str, host: str, port: int) -> None:
    """Names with all below them, addresses, networks, and any of them with a port."""
    assert bypasses(no_proxy, host, port)


@pytest.mark.parametrize(
    ("no_proxy", "host", "port"),
    [
        ("", "feed.example", 443),
        (" , ,", "feed.example", 443),
        (".", "feed.example", 443),
        ("feed.example", "myfeed.example", 443),
        ("ample", "feed.example", 443),
        ("feed.example", "example", 443),
        ("feed.example:8443", "feed.example", 443),
        ("*:8443", "feed.example", 443),
        ("192.0.2.7:81", "192.0.2.7", 80),
        ("2.7", "192.0.2.7", 80),
        ("10.0.0.0/8", "11.0.0.1", 80),
        ("10.0.0.0/99", "10.0.0.1", 80),
        ("10.0.0.0/8", "feed.example", 80),
        ("2001:db8::/32", "10.0.0.1", 443),
        ("[2001:db8::1]:444", "2001:db8::1", 443),
        ("[", "feed.example", 443),
        (":443", "feed.example", 443),
    ],
)
def test_another_host_goes_through_the_proxy(no_proxy: str, host: str, port: int) -> None:
    """Part of a label, another port or network, and an invalid entry match nothing."""
    assert not bypasses(no_proxy, host, port)
