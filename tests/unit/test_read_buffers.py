"""The buffers of long reads: lent while what was read is needed, few in number, and never lost for good."""

import gc
import mmap

from wsnova_statsd.link.read_buffers import FLOOD, ReadBuffers


def _both(buffers: ReadBuffers) -> tuple[mmap.mmap, mmap.mmap]:
    """All existing buffers."""
    one, other = buffers.take(), buffers.take()
    assert one is not None
    assert other is not None
    assert one is not other
    assert len(one) == len(other) == FLOOD
    return one, other


def test_no_more_are_made_than_threads_read_at_the_same_time() -> None:
    """A reader without a buffer reads into its own bytes."""
    buffers = ReadBuffers()
    held = _both(buffers)
    assert buffers.take() is None
    buffers.give_back(held[0])
    assert buffers.take() is held[0]
    assert buffers.take() is None


def test_a_lent_buffer_is_free_again_when_its_view_is_gone() -> None:
    """Not before: what was read stays as it is until then."""
    buffers = ReadBuffers()
    one, _other = _both(buffers)
    one[:4] = b"tick"
    view = memoryview(one)[:4]
    lent = buffers.lend(one, view)
    assert buffers.take() is None
    assert bytes(view) == b"tick"
    del view
    assert lent() is None
    assert buffers.take() is one


def test_a_buffer_that_was_neither_lent_nor_returned_is_replaced() -> None:
    """Its reader was interrupted, and is gone."""
    buffers = ReadBuffers()
    held = _both(buffers)
    assert buffers.take() is None
    del held
    gc.collect()
    _both(buffers)


def test_a_forked_child_has_its_own_buffers() -> None:
    """A thread that does not exist in the child may have held the parent's."""
    buffers = ReadBuffers()
    held = _both(buffers)
    buffers.after_fork()
    assert not {id(one) for one in _both(buffers)} & {id(one) for one in held}
