"""The board in the browser: the page opens with the token only, for our own pages only; in a real
browser a metric appears, the filter works, and no request goes to another machine."""

import base64
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import websocket

from tests.stories.test_examples import ROOT, environment
from tests.support import until

pytestmark = pytest.mark.usefixtures("installed")

CWD: Final = ROOT / "examples"  # python -m searches here first: a folder without the package
CHROMIUM: Final = os.environ.get("WSNOVA_CHROMIUM") or shutil.which("chromium")
DRIVER: Final = os.environ.get("WSNOVA_CHROMEDRIVER") or shutil.which("chromedriver")


class Page:
    """A running `watch --web`: its address, and where to send to."""

    def __init__(self, process: "subprocess.Popen[str]", url: str, port: int) -> None:
        self.process = process
        self.url = url
        self.port = port
        self.host = urlsplit(url).netloc
        self.token = urlsplit(url).query.removeprefix("token=")

    def send(self, *lines: str) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for line in lines:
                sender.sendto(line.encode(), ("127.0.0.1", self.port))

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
        """Status, headers and text of a page."""
        connection = http.client.HTTPConnection(self.host, timeout=10)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()
        finally:
            connection.close()

    def tab(self, **options: Any) -> websocket.WebSocket:
        """Open a tab as the page's script does."""
        given = {"origin": f"http://{self.host}", "timeout": 20, **options}
        query = given.pop("query", f"token={self.token}")
        return websocket.create_connection(f"ws://{self.host}/ws?{query}&page=?width=100&height=30", **given)

    def end(self) -> tuple[int, str, str]:
        """By Ctrl-C: its status and what it has written."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


@contextmanager
def _page(web: int = 0) -> Iterator[Page]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "wsnova_statsd", "watch", "--port", str(port), "--web", str(web)]
    # Warnings of the server's and the board's libraries concern only them.
    environ = {**environment(), "PYTHONWARNINGS": "default"}
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=CWD, env=environ, stdout=pipe, stderr=pipe, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"open (http://127\.0\.0\.1(?::\d+)?/\?token=\S{43}) - Ctrl-C ends it\n", line)
        assert found is not None, line
        yield Page(process, found[1], port)
    finally:
        process.terminate()  # it takes its folder and its tabs with it
        try:
            process.communicate(timeout=20)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with _page() as running:
        yield running


def test_the_page_opens_with_the_token_and_sends_its_address_nowhere(page: Page) -> None:
    status, headers, text = page.get(f"/?token={page.token}")
    assert status == 200
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert page.token not in text
    assert re.findall(r"(?:src|href)=\"([^\"]*)\"", text) == [
        "data:,",
        "/static/css/xterm.css",
        "/static/js/textual.js",
    ]


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {}),
        ("/?token=", {}),
        ("/?token=x", {}),
        ("/?token={token}x", {}),
        ("/?token=%ff", {}),
        ("/?other={token}", {}),
        ("/?token={token}", {"Host": "evil.example"}),
        ("/?token={token}", {"Host": "127.0.0.1"}),
        ("/?token={token}", {"Origin": "http://evil.example"}),
        ("/?token={token}", {"Origin": "null"}),
        ("/ws?token={token}", {}),
        ("/ws?token=x", {"Origin": "http://{host}"}),
        ("/ws?token={token}", {"Origin": "http://localhost"}),
    ],
)
def test_a_request_without_the_token_or_of_another_origin_is_refused(
    page: Page, path: str, headers: dict[str, str]
) -> None:
    """A page of another site, a name that leads here (DNS rebinding), or no browser at all."""
    filled = {key: value.format(host=page.host) for key, value in headers.items()}
    status, answer, text = page.get(path.format(token=page.token), **filled)
    assert status == 403
    assert answer["Referrer-Policy"] == "no-referrer"
    assert page.token not in text


def test_at_port_80_which_a_browser_leaves_out_the_page_opens_too() -> None:
    """Its Host and Origin have no port then."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", 80))
        except OSError as error:
            pytest.skip(f"port 80 of 127.0.0.1 cannot be had: {error.strerror}")
    with _page(80) as page:
        assert page.host == "127.0.0.1"
        assert page.get(f"/?token={page.token}")[0] == 200
        assert page.get(f"/?token={page.token}", Host="evil.example")[0] == 403
        page.tab().close()


def test_nothing_can_be_downloaded(page: Page) -> None:
    assert page.get("/download/x")[0] == 404


def test_two_tabs_show_the_same_and_at_most_four_are_allowed() -> None:
    """Each in a separate process, which binds nothing; the fifth is refused, until one is closed."""
    with _page() as page:
        page.send("shop.orders:3|c")
        tabs = [page.tab() for _ in range(4)]
        for tab in tabs[:2]:
            assert _shows(tab, "orders")
        processes = [pid for pid in _descendants(page.process.pid) if "watch.tab" in _read(pid, "cmdline")]
        assert len(processes) >= 4
        assert {inode for pid in processes for inode in _sockets(pid)}.isdisjoint(_bound())
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            page.tab()
        assert refused.value.status_code == 503
        tabs[0].close()

        def has_room() -> bool:
            try:
                page.tab().close()
            except websocket.WebSocketBadStatusException:
                return False
            return True

        assert until(has_room, 20)
        for tab in tabs[1:]:
            tab.close()
        assert page.end()[0] == 0


def _shows(tab: websocket.WebSocket, text: str) -> bool:
    """Whether the terminal of a tab is sent this."""
    deadline = time.monotonic() + 20
    seen = b""
    while time.monotonic() < deadline:
        data = tab.recv()
        seen += data if isinstance(data, bytes) else data.encode()
        if text.encode() in seen:
            return True
    return False


def test_the_token_is_in_no_processs_arguments_or_environment_and_in_no_log() -> None:
    """Only on the one line that prints the address; at the end no process and no file is left."""
    with _page() as page:
        tab = page.tab()
        assert _shows(tab, "metrics")
        processes = _descendants(page.process.pid)
        assert any("wsnova_statsd.watch.tab" in _read(pid, "cmdline") for pid in processes)
        for pid in processes:
            assert page.token not in _read(pid, "cmdline") + _read(pid, "environ")
        folder = re.search(r"(\S+/wsnova-watch-[^/\0]+)/snapshots", "".join(_read(pid, "cmdline") for pid in processes))
        assert folder is not None
        page.get("/?token=wrong")
        page.get(f"/?token={page.token}")
        status, out, err = page.end()
        tab.close()
        assert (status, out) == (0, "")
        assert page.token not in err
        assert until(lambda: not any(os.path.exists(f"/proc/{pid}/fd") for pid in processes))
        assert not os.path.exists(folder[1])


def _descendants(pid: int) -> list[int]:
    """It, and whatever it has started."""
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [pid, *(one for child in children.stdout.split() for one in _descendants(int(child)))]


def _sockets(pid: int) -> set[str]:
    """The inodes of the sockets that a process has open."""
    links = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
    return {link[8:-1] for link in links if link.startswith("socket:[")}


def _bound() -> set[str]:
    """The inodes of all sockets that have their own address."""
    found = set()
    for name in ("tcp", "tcp6", "udp", "udp6"):
        found |= {line.split()[9] for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]}
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        found |= {line.split()[6]} if len(line.split()) > 7 else set()  # the path comes last
    assert found
    return found


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes().decode("utf-8", "replace")
    except OSError:  # it has ended
        return ""


def test_a_web_port_that_is_taken_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "wsnova_statsd", "watch", "--port", "0", "--web", str(port)]
        done = subprocess.run(
            command,
            cwd=CWD,
            env={**environment(), "PYTHONWARNINGS": "default"},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 2
    assert f"cannot listen at 127.0.0.1 port {port}: Address already in use; use --web 0 for a free one" in done.stderr


# -- in a real browser


@contextmanager
def _browser() -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1000,600"):
        options.add_argument(argument)
    if os.getuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


class Traffic:
    """What the page has requested, and what its terminal was sent, which is drawn on a canvas and can be read nowhere
    else."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self.requested: list[str] = []
        self._drawn = ""

    def drawn(self) -> str:
        """All that the terminal was sent since `forget`."""
        for entry in self._driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            kind, reported = message["method"], message["params"]
            if kind in ("Network.requestWillBeSent", "Network.webSocketCreated"):
                self.requested.append(reported.get("request", reported)["url"])
            elif kind == "Network.webSocketFrameReceived" and reported["response"]["opcode"] == 2:
                self._drawn += base64.b64decode(reported["response"]["payloadData"]).decode("utf-8", "replace")
        return self._drawn

    def forget(self) -> None:
        self.drawn()
        self._drawn = ""


@pytest.mark.needs_chromium
@pytest.mark.alone
@pytest.mark.timeout(120)
@pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="chromium and chromium-driver are not installed")
def test_in_a_browser_a_metric_appears_and_the_filter_works(tmp_path: Path) -> None:
    """Within two seconds; and no request leaves this machine."""
    from selenium.webdriver.common.action_chains import ActionChains

    with _page() as page, _browser() as driver:
        traffic = Traffic(driver)
        driver.get(page.url.partition("?")[0])
        assert "the token is missing" in driver.page_source
        driver.get(page.url)
        assert until(lambda: "no metric has arrived yet" in traffic.drawn(), 30)
        assert "-first-byte" in driver.execute_script("return document.body.className")
        empty = driver.get_screenshot_as_png()
        traffic.forget()
        page.send(*(f"shop.orders:{number}|c|#shop:s{number}" for number in range(20)))
        sent = time.monotonic()
        assert until(lambda: "orders" in traffic.drawn(), 10)
        assert time.monotonic() - sent < 2
        assert until(lambda: driver.get_screenshot_as_png() != empty, 5)
        traffic.forget()
        driver.find_element("id", "terminal").click()
        ActionChains(driver).send_keys("/").pause(0.3).send_keys("shop:s7").pause(0.3).send_keys("\ue007").perform()
        assert until(lambda: "/shop:s7" in traffic.drawn() and "  1 series" in traffic.drawn(), 10)
        assert driver.save_screenshot(str(tmp_path / "watch.png"))
        assert (tmp_path / "watch.png").stat().st_size > 5_000
        assert any(url.startswith(f"ws://{page.host}/ws") for url in traffic.requested)
        asked = [url for url in traffic.requested if urlsplit(url).scheme != "data"]
        assert {urlsplit(url).netloc for url in asked} == {page.host}
