"""Where the Agent listens and what every line carries: arguments win over variables, unusable values are refused in a
sentence."""

import os
from pathlib import Path
from typing import Any

import pytest

import wsnova_statsd as ws
from wsnova_statsd import wire
from wsnova_statsd.errors import ConfigurationError
from wsnova_statsd.reporters import settings
from wsnova_statsd.reporters.settings import Address

EVERYTHING = {
    "DD_DOGSTATSD_URL": "udp://from-url:1111",
    "DD_AGENT_HOST": "from-host",
    "DD_DOGSTATSD_PORT": "2222",
}


@pytest.fixture(autouse=True)
def _no_agent_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that runs an Agent has its socket; here there is none unless a test makes it."""
    monkeypatch.setattr(settings, "DEFAULT_SOCKET", str(tmp_path / "dsd.socket"))


def _address(environ: dict[str, str] | None = None, **given: Any) -> Address:
    arguments: dict[str, Any] = {"host": None, "port": None, "socket_path": None, **given}
    return settings.address(**arguments, environ=environ or {})


def _refused(environ: dict[str, str] | None = None, **given: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        _address(environ, **given)
    return str(caught.value)


def test_without_anything_it_is_the_agents_default() -> None:
    """UDP on this machine, in datagrams that cross any network unfragmented."""
    assert _address() == Address("localhost", 8125, None)
    assert _address().limit == wire.UDP_BYTES == 1432


def test_the_agents_socket_is_used_if_it_exists_and_nothing_else_is_set() -> None:
    """An argument or a variable names another address."""
    path = settings.DEFAULT_SOCKET
    Path(path).touch()
    assert _address() == Address(None, None, path)
    assert _address(port=9000).path is None
    assert _address(host="h").path is None
    assert _address({"DD_AGENT_HOST": "h"}) == Address("h", 8125, None)
    assert _address({"DD_DOGSTATSD_PORT": "9"}) == Address("localhost", 9, None)
    assert _address({"DD_DOGSTATSD_URL": "udp://u:7"}) == Address("u", 7, None)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"host": "arg", "port": 3333}, Address("arg", 3333, None)),
        ({"host": "arg"}, Address("arg", 2222, None)),
        ({"port": 3333}, Address("from-host", 3333, None)),
        ({"socket_path": "/s"}, Address(None, None, "/s")),
        ({}, Address("from-url", 1111, None)),
    ],
)
def test_an_argument_wins_over_a_variable(given: dict[str, Any], expected: Address) -> None:
    """The URL holds both host and port, so either argument replaces it."""
    assert _address(EVERYTHING, **given) == expected


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"DD_AGENT_HOST": "h"}, Address("h", 8125, None)),
        ({"DD_AGENT_HOST": "fd00::1"}, Address("fd00::1", 8125, None)),
        ({"DD_AGENT_HOST": "[fd00::1]"}, Address("fd00::1", 8125, None)),
        ({"DD_DOGSTATSD_PORT": "9000"}, Address("localhost", 9000, None)),
        ({"DD_DOGSTATSD_PORT": " 9000 "}, Address("localhost", 9000, None)),
        ({"DD_AGENT_HOST": "h", "DD_DOGSTATSD_PORT": "9000"}, Address("h", 9000, None)),
        ({"DD_AGENT_HOST": "", "DD_DOGSTATSD_PORT": "", "DD_DOGSTATSD_URL": ""}, Address("localhost", 8125, None)),
        ({"DD_DOGSTATSD_URL": "udp://h"}, Address("h", 8125, None)),
        ({"DD_DOGSTATSD_URL": "udp://[::1]:9000"}, Address("::1", 9000, None)),
        ({"DD_DOGSTATSD_URL": "unix:///run/dsd.socket"}, Address(None, None, "/run/dsd.socket")),
        ({"DD_DOGSTATSD_URL": "unixgram:///run/dsd.socket"}, Address(None, None, "unixgram:///run/dsd.socket")),
    ],
)
def test_the_variables_say_where_the_agent_is(environ: dict[str, str], expected: Address) -> None:
    """As for Datadog's own clients; an empty variable is ignored."""
    assert _address(environ) == expected


def test_a_port_in_the_variable_of_the_host_is_refused() -> None:
    """It would be looked up as a name, for ever."""
    with pytest.raises(
        ConfigurationError, match=r"^DD_AGENT_HOST is '\[::1\]:9000'; set DD_AGENT_HOST='::1' and DD_DO"
    ):
        _address({"DD_AGENT_HOST": "[::1]:9000"})


def test_a_unix_socket_takes_larger_datagrams() -> None:
    """As large as the Agent reads at once."""
    assert _address(socket_path="/s").limit == wire.UNIX_BYTES == 8192
    assert _address({"DD_DOGSTATSD_URL": "unix:///s"}).limit == 8192


def test_an_address_is_written_as_people_write_it() -> None:
    """In logs and sentences."""
    assert [str(_address(host="h", port=9)), str(_address(socket_path="/s"))] == ["h:9", "/s"]
    assert str(_address(host="::1", port=9)) == "[::1]:9"


def test_a_path_object_is_a_path(tmp_path: Path) -> None:
    """As everywhere in Python."""
    assert _address(socket_path=tmp_path / "s") == Address(None, None, os.fspath(tmp_path / "s"))


@pytest.mark.parametrize("port", [0, -1, 65536, True, 80.0, "http", ""])
def test_a_port_out_of_range_is_refused(port: object) -> None:
    """The sentence shows it and says what is allowed."""
    said = _refused(port=port)
    assert f", got {port!r}; " in said
    assert "1 to 65535" in said


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", "80.5"])
def test_a_port_of_a_variable_is_refused_by_its_name(port: str) -> None:
    """The sentence names the variable."""
    said = _refused({"DD_DOGSTATSD_PORT": port})
    assert said.startswith("DD_DOGSTATSD_PORT must be ")
    assert "1 to 65535" in said


@pytest.mark.parametrize("url", ["tcp://h:1", "h:8125", "localhost", "udp://", "unix://", "udp://[h", "http://h/"])
def test_an_unusable_url_is_refused_with_the_forms(url: str) -> None:
    """The sentence names both forms."""
    said = _refused({"DD_DOGSTATSD_URL": url})
    assert repr(url) in said
    assert "udp://host:port" in said
    assert "unix:///path" in said


@pytest.mark.parametrize(
    "url", ["http://user:hunter2@h:1", "user:hunter2@h", "udp://user:hunter2@", "tcp://h/?key=hunter2", "udp:#hunter2"]
)
def test_no_sentence_shows_what_a_url_hides(url: str) -> None:
    """User-info, query and fragment stay out of logs and terminals."""
    said = _refused({"DD_DOGSTATSD_URL": url})
    assert "hunter2" not in said
    assert "udp://host:port" in said


def test_the_agents_own_variable_for_its_socket_has_no_effect() -> None:
    """DD_DOGSTATSD_SOCKET says where an Agent listens, and no client of Datadog's reads it."""
    assert _address({"DD_DOGSTATSD_SOCKET": "/elsewhere"}) == _address({})


@pytest.mark.parametrize("url", ["udp://h:0", "udp://h:70000", "udp://h:x"])
def test_a_port_in_a_url_is_checked_too(url: str) -> None:
    """Otherwise the mistake would show at the first packet, or never."""
    said = _refused({"DD_DOGSTATSD_URL": url})
    assert said.startswith("the port of DD_DOGSTATSD_URL must be ")
    assert "1 to 65535" in said


@pytest.mark.parametrize("given", [{"host": ""}, {"host": 5}, {"socket_path": ""}, {"socket_path": 5}])
def test_what_is_no_host_or_path_is_refused(given: dict[str, Any]) -> None:
    """By the argument's name."""
    ((name, value),) = given.items()
    assert _refused(**given).startswith(f"{name} is {value!r}")


def test_both_kinds_of_address_are_refused() -> None:
    """One of them would be ignored."""
    assert "pass one of the two" in _refused(host="h", socket_path="/s")
    assert "pass one of the two" in _refused(port=8125, socket_path="/s")


def _tags(given: Any = (), **environ: str) -> tuple[str, ...]:
    return settings.constant_tags(given, environ)


def test_tags_come_from_the_argument_then_the_variables() -> None:
    """In this order, each once."""
    found = _tags(["team:md"], DD_TAGS="a:1,b:2, team:md", DATADOG_TAGS="c:3,,b:2", DD_ENV="prod")
    assert found == ("team:md", "env:prod", "a:1", "b:2", "c:3")
    assert _tags({"team": "md", "empty": None}) == ("team:md",)


def test_each_unified_tag_appears_once() -> None:
    """The argument wins over DD_ENV, DD_SERVICE and DD_VERSION, and they win over DD_TAGS."""
    environ = {"DD_ENV": "e", "DD_SERVICE": "s", "DD_VERSION": "v", "DD_TAGS": "env:x,service:x,version:x,other:x"}
    assert _tags(**environ) == ("env:e", "service:s", "version:v", "other:x")
    assert _tags({"env": "arg"}, **environ) == ("env:arg", "service:s", "version:v", "other:x")
    assert _tags(DD_TAGS="env:one,env:two") == ("env:one",)


def test_other_keys_may_have_several_values() -> None:
    """A service may belong to two teams."""
    assert _tags(["team:a", "team:b"], DD_TAGS="team:c") == ("team:a", "team:b", "team:c")


def test_the_entity_id_is_the_one_internal_tag() -> None:
    """It names the pod for the Agent; no other tag can."""
    assert _tags(DD_ENTITY_ID="pod-1") == ("dd.internal.entity_id:pod-1",)
    assert _tags(DD_ENTITY_ID="pod|1,a b") == ("dd.internal.entity_id:pod_1_a_b",)
    assert _tags(["dd.internal.entity_id:evil"], DD_TAGS="dd.internal.card:none") == ()


def test_the_program_may_set_the_host_of_its_metrics() -> None:
    """Datadog's documented override, in the argument and in the variable."""
    assert _tags(["host:db-a"]) == _tags(DD_TAGS="host:db-a") == ("host:db-a",)


@pytest.mark.parametrize(
    ("given", "tags"),
    [
        ("env:prod,team:market data", ("env:prod", "team:market_data")),
        ("env:prod team:md", ("env:prod", "team:md")),
        (" env:prod , team:md ,", ("env:prod", "team:md")),
        ("a:1  b:2\tc:3", ("a:1", "b:2", "c:3")),
        ("one two,", ("one_two",)),
    ],
)
def test_a_variable_of_tags_is_read_as_the_tracers_read_it(given: str, tags: tuple[str, ...]) -> None:
    """If there is a comma, only commas separate; otherwise spaces do."""
    assert _tags(DD_TAGS=given) == _tags(DATADOG_TAGS=given) == tags


@pytest.mark.parametrize("given", ['{"env": "prod"}', ' ["env:prod"]', '"env:prod"'])
def test_a_variable_of_tags_in_json_is_refused(given: str) -> None:
    """It would become tags of braces and quotes."""
    with pytest.raises(ConfigurationError, match=r"DD_TAGS is .* JSON; set it to tags separated by commas"):
        _tags(DD_TAGS=given)


def test_the_size_of_constant_tags_is_checked_where_they_are_passed() -> None:
    """Tags that leave no room for a line are refused, with the number of bytes and their source."""
    fits = tuple(f"key{number:02}:{'x' * 100}" for number in range(75))
    settings.check_room("", fits)
    with pytest.raises(ConfigurationError, match=r"77 constant tags take 8230 bytes .*DD_TAGS"):
        settings.check_room("", (*fits, "more", "x" * 200))


@pytest.mark.parametrize("size", [0, 511, 8193, True, 1432.0, "1432"])
def test_a_packet_has_512_to_8192_bytes(size: Any) -> None:
    """The Agent reads no more at once."""
    assert [settings.packet_size(good) for good in (None, 512, 8192)] == [None, 512, 8192]
    with pytest.raises(ConfigurationError, match="packet_size must be a whole number of bytes from 512 to 8192"):
        settings.packet_size(size)


def test_the_cardinality_is_the_arguments_then_the_variables() -> None:
    """One of the Agent's four words; a variable is refused by its name."""
    both = {"DD_CARDINALITY": "High", "DATADOG_CARDINALITY": "none"}
    assert settings.cardinality("low", both) == "low"
    assert settings.cardinality(None, both) == "high"
    assert settings.cardinality(None, {"DATADOG_CARDINALITY": "none"}) == "none"
    assert settings.cardinality(None, {"DD_CARDINALITY": ""}) is None
    with pytest.raises(ConfigurationError, match="DD_CARDINALITY is 'many'; allowed: none, low, orchestrator, high"):
        settings.cardinality(None, {"DD_CARDINALITY": "many"})


@pytest.mark.parametrize(
    ("dialect", "tag_format", "said"),
    [
        ("graphite", None, "dialect is 'graphite'; allowed: datadog, statsd"),
        (None, None, "dialect is None"),
        ("statsd", "prometheus", "tag_format is 'prometheus'; allowed: graphite, influx, None"),
        ("datadog", "influx", "tag_format is 'influx', which is for dialect='statsd'"),
    ],
)
def test_an_unknown_dialect_and_a_tag_format_without_it_are_refused(dialect: Any, tag_format: Any, said: str) -> None:
    """An option without effect is a mistake."""
    assert [settings.is_plain("datadog", None), settings.is_plain("statsd", "graphite")] == [False, True]
    with pytest.raises(ConfigurationError, match=said):
        settings.is_plain(dialect, tag_format)


@pytest.mark.parametrize(
    "url",
    ["udp://fd00:ec2::23:8125", "udp://0:0:0:0:0:0:0:1:8125", "udp://::1", "UDP://fd00::1", "udp://a@fd00::1:8125"],
)
def test_a_bare_ipv6_address_in_a_url_is_refused(url: str) -> None:
    """Nothing says where it ends and the port begins: its first group would be taken for a host's name."""
    assert "in brackets: udp://[fd00::1]:8125" in _refused({"DD_DOGSTATSD_URL": url})
    assert _address({"DD_DOGSTATSD_URL": "udp://[fd00:ec2::23]:8125"}) == Address("fd00:ec2::23", 8125, None)


def test_a_name_that_would_be_cut_after_its_namespace_is_refused() -> None:
    """Two of them could become one."""
    settings.check_names("app.", [ws.counter("a" * 196, ws.events.MESSAGE_SENT)])
    with pytest.raises(ConfigurationError, match=r"with namespace 'app\.' is longer than 200 characters"):
        settings.check_names("app.", [ws.counter("a" * 197, ws.events.MESSAGE_SENT)])


def test_tags_are_cleaned() -> None:
    """A variable may hold any text."""
    assert _tags(["a|b"], DD_SERVICE="s|#x:y", DD_TAGS="c\nd:1|e") == ("a_b", "service:s__x:y", "c", "d:1_e")


@pytest.mark.parametrize("given", ["env:prod", b"env:prod", 5, [["env:prod"]], [("env", "prod")]])
def test_tags_that_are_no_list_are_refused(given: Any) -> None:
    """The sentence shows them, and the list that was meant."""
    with pytest.raises(ConfigurationError, match=r"pass a list such as \['team:md'\] or a mapping") as caught:
        _tags(given)
    assert repr(given) in str(caught.value)


@pytest.mark.parametrize(
    ("given", "prefix"), [(None, ""), ("", ""), ("app", "app."), ("app.", "app."), ("a.b", "a.b.")]
)
def test_a_namespace_is_a_prefix_with_its_dot(given: str | None, prefix: str) -> None:
    """One dot, whether it was given or not."""
    assert settings.namespace(given) == prefix


@pytest.mark.parametrize("given", ["a b", "9a", ".a", "a|b", "ä", "a" * 101, 5, "a\n"])
def test_a_namespace_that_begins_no_name_is_refused(given: Any) -> None:
    """The sentence shows it and says what is allowed."""
    with pytest.raises(ConfigurationError, match="letters, digits, _ and") as caught:
        settings.namespace(given)
    assert repr(given) in str(caught.value)


@pytest.mark.parametrize(
    ("value", "off"),
    [("true", True), ("True", True), ("1", True), (" YES ", True), ("on", True)]
    + [(other, False) for other in ("false", "0", "", "no")],
)
def test_one_variable_switches_everything_off(value: str, off: bool) -> None:
    """By the usual words for yes."""
    assert settings.disabled({"DD_DOGSTATSD_DISABLE": value}) is off
    assert settings.disabled({}) is False
