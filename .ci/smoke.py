"""Runs with an installed wsnova_statsd and no extra: a feed, a client, an Agent, the command. Exits 0 if all work."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import wsnova_statsd as ws
from wsnova_statsd.testing import DogStatsDReceiver
from wsnova_statsd.testing.tcp import CLOSE, TEXT, Connection, TcpServer, server_frame

COUNT = 100


def feed(connection: Connection) -> None:
    """Send 100 trades, and answer the client's close frame."""
    connection.accept_upgrade()
    connection.send(b"".join(server_frame(TEXT, b'{"type":"trade","n":%d}' % number) for number in range(COUNT)))
    opcode, payload = connection.read_frame()
    while opcode != CLOSE:
        opcode, payload = connection.read_frame()
    connection.send(server_frame(CLOSE, payload))


def main() -> int:
    """Check the package, a connection and its metrics, and the command."""
    prefix = Path(sys.prefix)
    assert Path(ws.__file__).is_relative_to(prefix), f"{ws.__file__} is not what was installed into {prefix}"
    assert importlib.metadata.version("wsnova-statsd") == ws.__version__
    with DogStatsDReceiver() as agent, TcpServer(feed) as server:
        os.environ["DD_DOGSTATSD_URL"] = f"udp://{agent.host}:{agent.port}"
        with ws.Monitor(profile="financial"), ws.Client(server.url, client_id="smoke", profile="financial") as client:
            received = [client.receive(timeout=10) for _ in range(COUNT)]
    assert [message["n"] for message in received] == list(range(COUNT))
    counted = agent.count("websocket.message.received", ["client:smoke", "type:trade"])
    assert counted == COUNT, f"{counted:g} of {COUNT} messages counted"
    assert not agent.malformed, agent.malformed
    shown = subprocess.run([prefix / "bin" / "wsnova-statsd", "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout == f"wsnova-statsd {ws.__version__}\n", shown
    print(f"wsnova-statsd {ws.__version__}: {COUNT} messages sent, received and counted")
    return 0


if __name__ == "__main__":
    sys.exit(main())
