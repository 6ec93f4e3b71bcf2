"""The examples that speak an exchange's dialect, each run alone against its scripted exchange."""

import os
import re
import subprocess
import sys

import pytest

from tests.stories.test_examples import ROOT, SITE

pytestmark = pytest.mark.usefixtures("installed")

PRINTED = {
    "10_json_rpc_exchange.py": "price: 0.0415\nsubscribed: 120.0\nby requests: 3\n",
    "11_op_feed.py": "trades:BTC ['64000.5', '64001.0']\n",
    "12_combined_streams.py": "['serverShutdown', '91250.01']\n[2.0, 1.0]\n",
    "13_binary_gateway.py": "BTCUSD   9125 3 missed: 1.0\n",
}
LOGGED = {
    "12_combined_streams.py": r"client binance: no connection: .*: the connection was lost: close_1001 24 hours\n"
}


def _run(name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / name)],
        env={**os.environ, "PYTHONPATH": os.environ[SITE], **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_runs_alone_and_prints_what_it_received(name: str) -> None:
    """Login, subscription and data of each dialect work from end to end; a lost link is all that is on stderr."""
    done = _run(name)
    assert (done.returncode, done.stdout) == (0, PRINTED[name])
    assert re.fullmatch(LOGGED.get(name, ""), done.stderr), done.stderr


def test_an_example_with_wrong_credentials_fails_at_its_login_and_shows_no_secret() -> None:
    """A refused login raises AuthRejected from start, and the traceback does not hold the secret."""
    done = _run("10_json_rpc_exchange.py", EXCHANGE_SECRET="hunter2")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "AuthRejected: the server refused the login message" in done.stderr
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_has_at_most_forty_lines(name: str) -> None:
    """An example is one idea that fits on a screen."""
    assert len((ROOT / "examples" / name).read_text(encoding="utf-8").splitlines()) <= 40
