"""The upgrade against third-party servers: npm's ws, and nginx as a gateway before a feed."""

import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.benchmarks.agent import free_port
from tests.support import authority, tls_contexts
from tests.wire.programs import program, running
from wsnova_statsd import Bus, Client
from wsnova_statsd.errors import HandshakeRefused
from wsnova_statsd.testing.server import WebSocketServer, echo
from wsnova_statsd.testing.tcp import LoopbackPort

# Sends what it was asked for, then echoes; /refused is refused, /none gets no subprotocol.
_SCRIPT: Final = """
const { WebSocketServer } = require(process.argv[2]);
const server = new WebSocketServer({
  port: Number(process.argv[3]), host: '127.0.0.1', perMessageDeflate: { threshold: 0 },
  verifyClient: ({ req }, done) => done(req.url !== '/refused', 401, 'No', { 'X-Why': 'token=hunter2' }),
  handleProtocols: (names, req) => req.url === '/none' ? false : [...names].at(-1),
});
server.on('connection', (ws, req) => {
  ws.send(JSON.stringify({ url: req.url, headers: req.rawHeaders, extensions: ws.extensions }));
  ws.on('message', (data, binary) => ws.send(data, { binary }));
});
"""
_CONFIGURATION: Final = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.txt;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location /feed {{
      proxy_pass http://127.0.0.1:{feed}; proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; proxy_set_header Host $http_host;
    }}
    location /forgotten {{ proxy_pass http://127.0.0.1:{feed}; proxy_http_version 1.1; }}
    location /default {{ proxy_pass http://127.0.0.1:{feed}; }}
    location /away {{ proxy_pass http://127.0.0.1:{no_server}; }}
    location /busy {{ add_header Retry-After 3 always; return 503; }}
    location /moved {{ return 301 /feed?key=hunter2; }}
    location /forbidden {{ return 403; }}
  }}
  server {{
    listen 127.0.0.1:{secure} ssl; ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.pem;
    ssl_client_certificate {folder}/known.pem; ssl_verify_client on;
  }}
}}
"""


def _client(url: str, **options: Any) -> Client:
    return Client(url, reconnect=False, bus=Bus(), connect_timeout=5.0, **options)


# npm's ws


@pytest.fixture
def npm(tmp_path: Path) -> Iterator[str]:
    """The URL of a server of the npm package ws."""
    home = os.environ.get("WSNOVA_NPM_WS")
    if not home or shutil.which("node") is None:
        pytest.skip("no node, or WSNOVA_NPM_WS does not name the folder of the npm package ws")
    (tmp_path / "server.js").write_text(_SCRIPT)
    port = free_port(socket.SOCK_STREAM)
    with running(["node", str(tmp_path / "server.js"), home, str(port)], port):
        yield f"ws://127.0.0.1:{port}"


@pytest.mark.needs_npm_ws
def test_npm_ws_gets_the_request_of_the_url_and_the_headers(npm: str) -> None:
    """Path, parameters and query; our own Origin; a subprotocol and compression agreed on; messages both ways."""
    options: dict[str, Any] = {"subprotocols": ["v2.feed", "v1.feed"], "compression": "deflate"}
    headers = {"Origin": "https://app.example", "X-Name": "gr\xfc\xdf", "User-Agent": None}
    with _client(f"{npm}/feed;v=1/\xfc?a=b", headers=headers, **options) as client:
        asked = client.receive(5.0)
        assert client.subprotocol == "v1.feed"
        client.send({"text": "x" * 1000})
        assert client.receive(5.0) == {"text": "x" * 1000}
    sent = [*zip(asked["headers"][::2], asked["headers"][1::2], strict=True)]
    assert asked["url"] == "/feed;v=1/%C3%BC?a=b"
    assert [value for name, value in sent if name.lower() == "origin"] == ["https://app.example"]
    assert ("Host", npm.removeprefix("ws://")) in sent
    assert ("X-Name", "gr\xfc\xdf") in sent
    assert "User-Agent" not in dict(sent)
    assert asked["extensions"].startswith("permessage-deflate")


@pytest.mark.needs_npm_ws
def test_npm_ws_may_choose_no_subprotocol_and_refuse(npm: str) -> None:
    """The one connects, the other has its status and no text of the server's own."""
    with _client(f"{npm}/none", subprotocols=["v1.feed"]) as client:
        assert json.dumps(client.receive(5.0)["url"]) == '"/none"'
        assert client.subprotocol is None
    with pytest.raises(HandshakeRefused) as caught:
        _client(f"{npm}/refused").start(5.0)
    assert (caught.value.status, "hunter2" in str(caught.value)) == (401, False)


# nginx


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """The ports of an nginx before an echoing feed: plain, and TLS that asks for a client certificate."""
    nginx_program = program("WSNOVA_NGINX", "nginx")
    port, secure, no_server = free_port(socket.SOCK_STREAM), free_port(socket.SOCK_STREAM), LoopbackPort()
    authority().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    authority().cert_pem.write_to_path(str(tmp_path / "known.pem"))
    with WebSocketServer(echo) as feed:
        ports = {"port": port, "secure": secure, "feed": feed.port, "no_server": no_server.port}
        configuration = tmp_path / "nginx.conf"
        configuration.write_text(_CONFIGURATION.format(folder=tmp_path, **ports))
        with running([nginx_program, "-p", str(tmp_path), "-c", str(configuration)], port):
            yield port, secure


@pytest.mark.needs_nginx
def test_nginx_passes_the_upgrade_on(nginx: tuple[int, int]) -> None:
    """And messages both ways."""
    with _client(f"ws://127.0.0.1:{nginx[0]}/feed;v=1?a=b") as client:
        client.send({"a": 1})
        assert client.receive(5.0) == {"a": 1}


@pytest.mark.needs_nginx
@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("away", 502, "the server is unreachable or busy"),
        ("busy", 503, "asks to wait 3 s"),
        ("moved", 301, "redirects to http://127.0.0.1/feed;"),
        ("forbidden", 403, "to a request with Origin http://127.0.0.1:"),
        ("nowhere", 404, "check the path of the URL"),
    ],
)
def test_nginx_refuses(nginx: tuple[int, int], path: str, status: int, text: str) -> None:
    """Each of its answers, named with what to do."""
    with pytest.raises(HandshakeRefused) as caught:
        _client(f"ws://127.0.0.1:{nginx[0]}/{path}").start(5.0)
    assert caught.value.status == status
    assert text.replace("127.0.0.1/", f"127.0.0.1:{nginx[0]}/") in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.needs_nginx
@pytest.mark.parametrize(
    ("path", "status", "remedy"),
    [
        ("forgotten", 426, "whether a proxy in between removes the upgrade"),
        ("default", 505, "a proxy in between speaks HTTP/1.0 to the server; configure it to pass the upgrade on"),
    ],
)
def test_an_nginx_that_removes_the_upgrade_is_named(
    nginx: tuple[int, int], path: str, status: int, remedy: str
) -> None:
    """The most frequent mistake with it: the two headers are not passed on, or not even HTTP/1.1."""
    with pytest.raises(HandshakeRefused) as caught:
        _client(f"ws://127.0.0.1:{nginx[0]}/{path}").start(5.0)
    assert caught.value.status == status
    assert str(caught.value).endswith(remedy)


@pytest.mark.needs_nginx
def test_an_nginx_that_asks_for_a_client_certificate_answers_400(nginx: tuple[int, int]) -> None:
    """It ends TLS neither for a missing one nor for a request without TLS."""
    for url in (f"wss://localhost:{nginx[1]}/", f"ws://localhost:{nginx[1]}/"):
        with pytest.raises(HandshakeRefused) as caught:
            _client(url, ssl=tls_contexts()[1]).start(5.0)
        assert caught.value.status == 400
