"""The benchmarks' server, plain and with TLS, and how ours and the peer connect to it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import trustme
import websocket

import wsnova_statsd as ws

from .harness import Child

SIZE = 330  # bytes of a message


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A running feed; `scheme` is ws or wss, and `context` what a client has to trust."""

    scheme: str
    port: int
    context: ssl.SSLContext | None

    def url(self, query: str) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/?{query}"

    def client(self, query: str, bus: ws.Bus, **options: Any) -> ws.Client:
        """Ours: the financial profile, orjson both ways unless `protocol` is passed."""
        options.setdefault("protocol", ws.JsonProtocol(loads=orjson.loads, dumps=orjson.dumps))
        return ws.Client(self.url(query), client_id="bench", profile=ws.FINANCIAL, ssl=self.context, bus=bus, **options)

    def peer(self, query: str) -> Any:
        """websocket-client's connection, in its fast setting."""
        options: dict[str, Any] = {} if self.context is None else {"sslopt": {"context": self.context}}
        return websocket.create_connection(self.url(query), timeout=60, skip_utf8_validation=True, **options)


@contextmanager
def endpoints() -> Iterator[tuple[Endpoint, Endpoint]]:
    """Start both, the plain one first."""
    authority = trustme.CA()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with ExitStack() as stack:
        certificate = Path(stack.enter_context(TemporaryDirectory())) / "certificate.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
        plain = stack.enter_context(Child("feed"))
        secure = stack.enter_context(Child("feed", str(certificate)))
        yield Endpoint("ws", plain.port, None), Endpoint("wss", secure.port, context)
