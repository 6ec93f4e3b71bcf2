"""The table of channels: wanted outlives a link, confirmed does not, and what failed is retried ever more rarely."""

from collections.abc import Callable

import pytest

import wsnova_statsd as ws
from wsnova_statsd.client.channels import ChannelTable
from wsnova_statsd.client.faults import Fault
from wsnova_statsd.client.protocol import check_channel


@pytest.fixture
def channels() -> ChannelTable:
    """Two wanted channels, the first of them confirmed."""
    table = ChannelTable()
    table.want("a")
    table.want("b")
    table.made("a", 0, confirmed=True)
    return table


def test_wanted_keeps_the_order_and_each_channel_once(channels: ChannelTable) -> None:
    """A second request changes nothing, and does not move a channel."""
    assert [channels.want("a"), channels.want("c")] == [False, True]
    assert channels.wanted == ["a", "b", "c"]


def test_a_lost_link_takes_the_confirmations_only(channels: ChannelTable) -> None:
    """Every channel is still wanted, none is confirmed."""
    assert channels.confirmed == ["a"]
    channels.lost()
    assert (channels.wanted, channels.confirmed) == (["a", "b"], [])


def test_a_confirmation_counts_for_its_own_link(channels: ChannelTable) -> None:
    """A confirmation that a slow thread reports after the loss does not count on the next link."""
    channels.lost()
    channels.made("b", 0, confirmed=True)
    assert channels.confirmed == []
    channels.made("b", 1, confirmed=True)
    assert channels.confirmed == ["b"]


def test_an_unwanted_channel_is_not_confirmed(channels: ChannelTable) -> None:
    """An acknowledgement after the unsubscribe changes nothing."""
    channels.unwant("b")
    channels.made("b", 0, confirmed=True)
    assert (channels.wanted, channels.confirmed) == (["a"], ["a"])


def test_a_refusal_applies_to_its_own_request(channels: ChannelTable) -> None:
    """A refusal of an older request leaves the channel wanted; that of the latest removes it."""
    first, second = channels.claim("b"), channels.claim("b")
    channels.refused("b", first)
    assert channels.wanted == ["a", "b"]
    channels.refused("b", second)
    assert channels.wanted == ["a"]


def test_without_acknowledgements_a_channel_is_made_and_not_confirmed(channels: ChannelTable) -> None:
    """A request that was only sent ends the retries, and does not count as confirmed."""
    channels.failed("b", 0, 100.0, None)
    channels.made("b", 0, confirmed=False)
    assert (channels.next_due(), channels.confirmed) == (None, ["a"])


def _fail_until(channels: ChannelTable, times: int, now: float) -> list[float]:
    pauses = []
    for _ in range(times):
        channels.failed("b", 0, now, None)
        due = channels.next_due()
        assert due is not None
        assert channels.due(due - 0.001) == []
        assert channels.due(due) == ["b"]
        pauses.append(due - now)
        now = due
    return pauses


def test_the_pauses_double_up_to_a_minute_and_never_end(channels: ChannelTable) -> None:
    """A channel that fails a hundred times is requested once a minute."""
    pauses = _fail_until(channels, 100, 1_000.0)
    assert pauses[:7] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0]
    assert set(pauses[7:]) == {60.0}


def test_a_retry_under_way_is_not_due_again(channels: ChannelTable) -> None:
    """Until its outcome is known nothing is due."""
    channels.failed("b", 0, 1_000.0, None)
    assert channels.due(1_001.0) == ["b"]
    assert (channels.due(9_000.0), channels.next_due()) == ([], None)


@pytest.mark.parametrize(
    "end",
    [
        lambda channels: channels.made("b", 0, confirmed=True),
        lambda channels: channels.unwant("b"),
        lambda channels: channels.lost(),
    ],
    ids=["made", "unwanted", "lost"],
)
def test_retries_end_with_their_cause(channels: ChannelTable, end: Callable[[ChannelTable], object]) -> None:
    """A channel that is subscribed, unwanted, or left to the next link's restore is not requested again."""
    channels.failed("b", 0, 1_000.0, None)
    end(channels)
    assert (channels.next_due(), channels.due(9_000.0)) == (None, [])


def test_a_failure_of_a_lost_link_is_left_to_the_next_ones_restore(channels: ChannelTable) -> None:
    """It is not retried, but its fault is remembered until the channel is subscribed."""
    fault = Fault("e1", "subscription", 0)
    channels.lost()
    channels.failed("b", 0, 1_000.0, fault)
    assert channels.next_due() is None
    assert channels.made("b", 1, confirmed=True) == [fault]


def test_every_fault_of_a_channel_is_over_once_it_is_subscribed(channels: ChannelTable) -> None:
    """They are returned once, in order, and those of other channels stay."""
    faults = [Fault(f"e{number}", "subscription", 0) for number in range(3)]
    for channel, fault in zip("bba", faults, strict=True):
        channels.failed(channel, 0, 1_000.0, fault)
    assert channels.made("b", 0, confirmed=True) == faults[:2]
    assert channels.made("b", 0, confirmed=True) == []
    assert channels.made("a", 0, confirmed=True) == faults[2:]


def test_a_message_requests_as_many_channels_as_it_can_hold(channels: ChannelTable) -> None:
    """In their order; the last message has the rest."""
    assert channels.batches("abcde", 2) == [["a", "b"], ["c", "d"], ["e"]]
    assert (channels.batches("abc", 1), channels.batches("abc", 3)) == ([["a"], ["b"], ["c"]], [["a", "b", "c"]])
    assert channels.batches("", 5) == []


def test_channels_of_a_message_that_failed_are_due_at_once_and_alone(channels: ChannelTable) -> None:
    """After the others, and on later links too, until each is subscribed; unwanted ones are not requested."""
    for channel in "axb":
        channels.divide(channel, 0, now=5.0)
    assert channels.due(5.0) == ["a", "b"]
    channels.made("a", 0, confirmed=True)
    channels.failed("b", 0, 6.0, None)
    assert channels.next_due() == 7.0
    channels.lost()
    assert channels.next_due() is None
    assert channels.batches("bac", 3) == [["a", "c"], ["b"]]
    channels.divide("b", 0, now=8.0)  # a slow thread's report on the previous link
    assert channels.due(9.0) == []
    channels.unwant("b")
    channels.want("b")
    assert channels.batches("bac", 3) == [["b", "a", "c"]]


def test_the_faults_of_a_channel_are_bounded(channels: ChannelTable) -> None:
    """A server that refuses for days leaves the last hundred."""
    for number in range(500):
        channels.failed("b", 0, 1_000.0, Fault(f"e{number}", "subscription", 0))
    kept = channels.made("b", 0, confirmed=True)
    assert [kept[0].error_id, kept[-1].error_id, len(kept)] == ["e400", "e499", 100]


@pytest.mark.parametrize("channel", [["a"], {"name": "a"}, {"a"}, (["a"],)])
def test_an_unhashable_channel_is_refused(channel: object) -> None:
    """It is an error where it is written, in the constructor too."""
    with pytest.raises(ws.errors.ConfigurationError, match="not hashable"):
        check_channel(channel)
    with pytest.raises(ws.errors.ConfigurationError, match="not hashable"):
        ws.Client("ws://localhost", subscriptions=[channel])


def test_a_protocol_that_cannot_subscribe_is_refused_with_subscriptions() -> None:
    """The base protocol has no subscribe message, which is known before the client starts."""
    with pytest.raises(ws.errors.ConfigurationError, match="subscribe_message"):
        ws.Client("ws://localhost", protocol=ws.Protocol(), subscriptions=["a"])


def test_a_single_string_is_not_a_list_of_channels() -> None:
    """It would be split into letters."""
    with pytest.raises(ws.errors.ConfigurationError, match="list of channels"):
        ws.Client("ws://localhost", subscriptions="trades")
