"""A fork beside a link through an https:// proxy: the child has none of it, the parent's goes on."""

import os

import wsnova_statsd as ws
from tests.faults.forking import Child
from tests.support import descriptors_to, tls_contexts, until, what_is
from wsnova_statsd.testing.server import WebSocketServer, echo
from wsnova_statsd.testing.tcp import ConnectProxy


def test_a_child_closes_its_copy_of_the_connection_to_the_proxy() -> None:
    """The parent's link is used further, and the proxy gets its end from the parent alone."""
    serving, trusting = tls_contexts()
    with WebSocketServer(echo, ssl=serving) as server, ConnectProxy(ssl=serving) as proxy:
        client = ws.Client(server.url, proxy=proxy.url, ssl=trusting, reconnect=False, bus=ws.Bus()).start()
        (descriptor,) = descriptors_to(proxy.port)
        before = what_is(descriptor)
        child = Child(os.fork)
        if child.pid == 0:
            child.tell("state", client.state.name, what_is(descriptor) == before)
            child.end()
        assert child.said() == [["state", "FORKED", False]]
        client.send({"n": 1})
        assert client.receive(5.0) == {"n": 1}
        client.close()
        assert until(lambda: not descriptors_to(proxy.port))
