"""`wsnova-statsd run SCRIPT` before it becomes the program: what it refuses, and which variables the program gets."""

import os
import signal
from pathlib import Path

import pytest

from wsnova_statsd.cli.main import main
from wsnova_statsd.cli.program import STARTUP, environment


def test_the_folder_of_our_sitecustomize_stands_first_and_once() -> None:
    """Other entries of PYTHONPATH stay, empty ones too, which mean the current folder; so do other variables."""
    assert sorted(os.listdir(STARTUP)) in (["sitecustomize.py"], ["__pycache__", "sitecustomize.py"])
    for before, after in (
        (None, STARTUP),
        ("", STARTUP),
        ("/a::/b", f"{STARTUP}:/a::/b"),
        (f"{STARTUP}:/a", f"{STARTUP}:/a"),
        (f"/a:{STARTUP}", f"{STARTUP}:/a:{STARTUP}"),
    ):
        given = {"HOME": "/root"} | ({} if before is None else {"PYTHONPATH": before})
        assert environment(given) == {"HOME": "/root", "PYTHONPATH": after}


@pytest.mark.parametrize(
    ("arguments", "reported"),
    [
        (["nope.py"], "there is no script 'nope.py'; pass the path of a script, -m MODULE or -- COMMAND"),
        (["feeds.live"], "or MODULE:NAME for your own clients"),
        (["--", "nope-nope"], "there is no command 'nope-nope' on the PATH; for a script leave out the --"),
        (["--", "./broken"], "'./broken' cannot be run: Exec format error"),
        (["--helth-file", "x", "y.py"], "did you mean '--health-file'?"),
    ],
)
def test_a_missing_script_is_one_sentence_and_status_2(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    reported: str,
) -> None:
    """Before this process becomes another program; if it does not, it still ignores the signals that Python ignores."""
    monkeypatch.chdir(tmp_path)
    Path("broken").write_bytes(b"\0")
    Path("broken").chmod(0o755)
    with pytest.raises(SystemExit) as refused:
        main(["run", *arguments])
    assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN  # still this Python, as it was
    out, err = capsys.readouterr()
    assert (refused.value.code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("wsnova-statsd run: ")
    assert reported in err
    assert (signal.getsignal(signal.SIGPIPE), signal.getsignal(signal.SIGXFSZ)) == (signal.SIG_IGN, signal.SIG_IGN)
