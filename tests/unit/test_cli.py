"""The command line: what it refuses and how, and what becomes of a command's errors."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

import wsnova_statsd as ws
from wsnova_statsd.cli import demo
from wsnova_statsd.cli.main import COMMANDS, build_parser, main
from wsnova_statsd.errors import ConfigurationError, ConnectionFailed, MissingExtra

# -- arguments


def _refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on stderr with which these arguments are refused."""
    with pytest.raises(SystemExit) as refused:
        main(arguments)
    out, err = capsys.readouterr()
    assert (refused.value.code, out) == (2, "")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("arguments", "value", "allowed"),
    [
        (["demo", "--seconds", "4.9"], "'4.9'", "5 to 86400 seconds"),
        (["demo", "--seconds", "-1"], "'-1'", "5 to 86400 seconds"),
        (["demo", "--seconds", "nan"], "'nan'", "5 to 86400 seconds"),
        (["demo", "--seconds", "inf"], "'inf'", "5 to 86400 seconds"),
        (["demo", "--seconds", "soon"], "'soon'", "5 to 86400 seconds"),
        (["demo", "--profile", "loud"], "'loud'", "financial, standard, lightweight"),
        (["demo", "--to", "localhost"], "'localhost'", "HOST:PORT"),
        (["demo", "--to", "localhost:0"], "'localhost:0'", "1 to 65535"),
        (["demo", "--to", "localhost:65536"], "'localhost:65536'", "1 to 65535"),
        (["demo", "--to", ":8125"], "':8125'", "HOST:PORT"),
        (["demo", "--to", "udp://localhost:8125"], "'udp://localhost:8125'", "HOST:PORT"),
        (["demo", "--to", "["], "'['", "HOST:PORT"),
        (["demo", "--socket", "/nowhere/dsd.socket"], "'/nowhere/dsd.socket'", "the Agent's Unix socket"),
        (["demo", "--socket", "a\0b"], r"'a\x00b'", "the Agent's Unix socket"),
        (["demo", "--loud"], "'--loud'", "--seconds, --profile, --to, --socket, --json"),
        (["demo", "--sec", "5"], "'--sec 5'", "--seconds"),
        (["--loud"], "'--loud'", "--version"),
        (["dance"], "'dance'", "demo"),
        ([], "usage: wsnova-statsd COMMAND", "demo, doctor"),
        (["--debug"], "usage: wsnova-statsd COMMAND", "demo, doctor"),
        (["demmo"], "'demmo'", "did you mean 'demo'?"),
        (["help", "docter"], "'docter'", "did you mean 'doctor'?"),
        (["demo", "--profil", "standard"], "'--profil standard'", "did you mean '--profile'?"),
        (["demo", "--profil=standard"], "'--profil=standard'", "did you mean '--profile'?"),
        (["demo", "--profile", "finacial"], "'finacial'", "did you mean 'financial'?"),
    ],
)
def test_bad_input_is_refused_in_a_sentence_that_names_the_value_and_the_allowed_values(
    capsys: pytest.CaptureFixture[str], arguments: list[str], value: str, allowed: str
) -> None:
    sentence = _refused(capsys, *arguments)
    assert value in sentence
    assert allowed in sentence


def test_two_addresses_at_once_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = str(tmp_path / "dsd")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(path)
        sentence = _refused(capsys, "demo", "--to", "localhost:8125", "--socket", path)
    assert "--to" in sentence
    assert "--socket" in sentence


def test_the_address_is_passed_on_as_the_reporter_accepts_it(tmp_path: Path) -> None:
    path = str(tmp_path / "dsd")
    parse = build_parser().parse_args
    assert parse(["demo", "--to", "dd.example:18125"]).to == {"host": "dd.example", "port": 18125}
    assert parse(["demo", "--to", "[::1]:8125"]).to == {"host": "::1", "port": 8125}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(path)
        assert parse(["demo", "--socket", path]).socket == {"socket_path": path}
        assert parse(["demo", "--socket", f"unix://{path}"]).socket == {"socket_path": path}


def test_the_address_to_forward_to_is_a_host_and_a_port_or_a_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A path has a slash in it; a stream takes no datagrams."""
    path = str(tmp_path / "dsd")
    parse = build_parser().parse_args
    assert parse(["watch", "--forward", "[::1]:8125"]).forward == ("::1", 8125)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(path)
        for given in (path, f"unix://{path}", f"unixgram://{path}"):
            assert parse(["watch", "--forward", given]).forward == path
    assert "is a stream" in _refused(capsys, "watch", "--forward", f"unixstream://{path}")


def test_by_default_the_demo_runs_for_15_seconds_under_the_financial_profile() -> None:
    args = build_parser().parse_args(["demo"])
    assert (args.seconds, args.profile, args.to, args.socket, args.json) == (15.0, "financial", None, None, False)


def test_a_reporter_that_is_switched_off_is_reported_before_the_demo_starts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DD_DOGSTATSD_DISABLE", "true")
    assert "DD_DOGSTATSD_DISABLE is 'true'" in _refused(capsys, "demo")


def test_version_and_help_end_with_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, wanted in ((["--version"], ws.__version__), (["--help"], "demo"), (["demo", "--help"], "--to")):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
        assert wanted in capsys.readouterr().out


def test_the_command_line_imports_nothing_optional_until_a_command_runs() -> None:
    code = "import sys, wsnova_statsd.cli.main; print('websockets' in sys.modules, 'datadog' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


# -- what a command may raise


def _status(arguments: list[str]) -> object:
    try:
        return main(arguments)
    except SystemExit as ended:
        return ended.code


def _running(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def run(args: object) -> int:
        raise error

    monkeypatch.setattr(demo, "run", run)
    monkeypatch.setitem(COMMANDS, "demo", demo)


def test_a_missing_extra_is_one_sentence_and_status_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _running(monkeypatch, MissingExtra("websockets", "demo"))
    assert main(["demo"]) == 1
    err = capsys.readouterr().err
    assert "websockets is not installed" in err
    assert "wsnova-statsd[demo]" in err


def test_without_websockets_the_demo_names_its_own_extra() -> None:
    """In a process in which the library cannot be imported."""
    code = "import sys; sys.modules['websockets'] = None\n"
    code += "from wsnova_statsd.cli.main import main; sys.exit(main(['demo']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "websockets is not installed; install it with: pip install 'wsnova-statsd[demo]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_reader_that_closes_its_pipe_causes_no_traceback() -> None:
    """As in `wsnova-statsd demo --json | head -1`."""
    code = "import sys; from wsnova_statsd.cli import demo; demo.run = lambda args: print('x' * 1_000_000) or 0\n"
    code += "from wsnova_statsd.cli.main import main; sys.exit(main(['demo']))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(20) == 1


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (ConnectionFailed("no link"), 1, "wsnova-statsd demo: no link\n"),
        (ConfigurationError("not so"), 2, "wsnova-statsd demo: not so\n"),
        (
            OSError("the disk\nis full"),
            1,
            "wsnova-statsd demo: OSError: the disk is full; use --debug for the traceback\n",
        ),
    ],
)
@pytest.mark.parametrize("arguments", [["demo"], ["--debug", "demo"], ["demo", "--debug"]])
def test_an_error_is_one_sentence_and_a_traceback_only_if_it_is_asked_for(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
    sentence: str,
    arguments: list[str],
) -> None:
    """--debug comes before or after the command; the sentence comes last."""
    _running(monkeypatch, error)
    assert _status(arguments) == status
    traceback, _, reported = capsys.readouterr().err.rpartition("wsnova-statsd demo: ")
    assert f"wsnova-statsd demo: {reported}" == sentence
    assert traceback.startswith("Traceback") is (len(arguments) == 2)


def test_ctrl_c_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    _running(monkeypatch, KeyboardInterrupt())
    assert main(["demo"]) == 130
