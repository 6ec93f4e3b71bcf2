"""The test kit's exports: every promised name exists, and the server's library is imported only on use."""

import subprocess
import sys

import pytest

from wsnova_statsd import testing


def _python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", testing.__all__)
def test_every_exported_name_exists_and_says_what_it_is(name: str) -> None:
    """Those of the server as well, on first use."""
    assert getattr(testing, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="no attribute 'capture_logs'"):
        getattr(testing, "capture_logs")  # noqa: B009  # a checker refuses the attribute


def test_the_kit_without_its_server_needs_no_extra() -> None:
    """The library websockets is imported with the first name of the server, datadog with the first capture."""
    code = "import sys; from wsnova_statsd.testing import DogStatsDReceiver, FakeClock, assert_count, capture_metrics\n"
    code += "print([name for name in ('websockets', 'datadog', 'pytest') if name in sys.modules])"
    assert _python(code) == "[]\n"


def test_without_websockets_the_server_names_its_extra() -> None:
    """In a process in which the library cannot be imported."""
    code = "import sys; sys.modules['websockets'] = None\nimport wsnova_statsd as ws\n"
    code += "try:\n    from wsnova_statsd.testing import WebSocketServer\n"
    code += "except ws.errors.MissingExtra as error:\n    print(error)"
    assert "wsnova-statsd[testing]" in _python(code)
