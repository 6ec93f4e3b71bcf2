"""The public surface as text, one name a line. `python -m tests.typing.public_api` rewrites `public_api.txt`.

What is listed: the names of `__all__` of the public modules with signatures, defaults, attributes and values; the
names that pages import from elsewhere; the pytest fixtures; commands and their options; the default metrics.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import enum
import importlib
import inspect
import re
import sys
import textwrap
import types
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_origin

import wsnova_statsd as ws
from wsnova_statsd.cli.main import build_parser
from wsnova_statsd.metrics.definitions import Definition

LISTING: Final = Path(__file__).with_name("public_api.txt")
COMMAND: Final = "python -m tests.typing.public_api"
MODULES: Final = (
    "wsnova_statsd",
    "wsnova_statsd.errors",
    "wsnova_statsd.events",
    "wsnova_statsd.telemetry",
    "wsnova_statsd.insight.alerts",
    "wsnova_statsd.contrib.asgi",
    "wsnova_statsd.contrib.django",
    "wsnova_statsd.contrib.django.urls",
    "wsnova_statsd.contrib.flask",
    "wsnova_statsd.contrib.gunicorn",
    "wsnova_statsd.contrib.serving",
    "wsnova_statsd.contrib.websocket_app",
    "wsnova_statsd.contrib.websockets_sync",
    "wsnova_statsd.testing",
    "wsnova_statsd.testing.exchanges",
    "wsnova_statsd.testing.tcp",
)
# What pages and examples import from a module that is not public as a whole.
SINGLE: Final[Mapping[str, tuple[str, ...]]] = {
    "wsnova_statsd.client.protocol": ("Ack",),
    "wsnova_statsd.dashboards.cost": ("cost",),
    "wsnova_statsd.dashboards.life": ("Shape",),
    "wsnova_statsd.dashboards.lint": ("lint",),
    "wsnova_statsd.reporters.prometheus": ("child_exit",),
    "wsnova_statsd.testing.receiver": ("DogStatsDReceiver",),
    "wsnova_statsd.testing.server": ("WebSocketServer", "echo", "send_messages"),
    "wsnova_statsd.watch.recording": ("read",),
    "wsnova_statsd_pytest": tuple(f"wsnova_{one}" for one in ("events", "lint", "metrics", "receiver", "server")),
}
# Members without an underscore that only other files of the package use, or that make a test server what it is: no page
# names them, and they may change.
INTERNAL: Final[Mapping[str, str]] = {
    "Alerts": "after_fork at_exit",
    "Bus": "after_fork followed profiles renew report_failure version",
    "Client": "after_fork at_exit wrap_callbacks",
    "EventSlot": "attached emit_to",
    "HandlerRegistry": "after_fork names store",
    "HeaderAuth": "asks_anew headers",
    "KpiTracker": "after_fork alerted at_exit ship",
    "Monitor": "after_fork writers",
    "PrometheusReporter": "after_fork",
    "Protocol": "acknowledges encoder text_decoder",
    "JsonProtocol": "acknowledges encoder text_decoder",
    "ScriptedConnection": "owner process_event raw ready recv_events start_keepalive",
    "StatsdReporter": "address after_fork at_exit doubles given same_place state_tags takes_events writers",
    "SystemSampler": "after_fork",
}
_PROSE: Final = ("moment",)  # fields that are documentation
_SPECIAL: Final = re.compile(r"__(enter|exit|iter|next|call|len|getitem|contains|bool)__")
_WIDTH: Final = 118
_NO_VALUE: Final = inspect.Parameter.empty


def names() -> dict[str, tuple[str, ...]]:
    """The public names of each module."""
    public: dict[str, tuple[str, ...]] = {one: tuple(importlib.import_module(one).__all__) for one in MODULES}
    return public | dict(SINGLE)


def listing() -> str:
    """The whole listing. It is the same under every Python: annotations and values as they are written."""
    values = {f"{module}.{name}": _get(module, name) for module, listed in names().items() for name in listed}
    seen: dict[int, str] = {}
    blocks = []
    for module, listed in names().items():
        lines: list[str] = []
        for name in listed:
            lines += _of_name(f"{module}.{name}", values[f"{module}.{name}"], seen, values.values())
        blocks.append(lines)
    blocks += [_commands(), _metrics()]
    return "\n\n".join("\n".join(lines) for lines in blocks) + "\n"


def _get(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def _of_name(name: str, value: Any, seen: dict[int, str], public: Collection[Any]) -> Iterator[str]:
    """The lines of one public name; what is listed already is an alias."""
    is_code = inspect.isclass(value) or inspect.isroutine(value)
    if is_code and id(value) in seen:
        yield f"{name} is {seen[id(value)]}"
        return
    if is_code:
        seen[id(value)] = name
    if isinstance(value, types.ModuleType):
        yield f"module {name}"
    elif name.startswith("wsnova_statsd_pytest."):  # some releases of pytest make an object of it, some a function
        yield f"fixture {name}"
    elif inspect.isclass(value) and get_origin(value) is None:
        yield from _class(name, value, public)
    elif inspect.isfunction(value):
        yield from _folded(f"def {name}", inspect.signature(value))
    elif isinstance(value, Mapping) and len(value) > 1:
        yield f"{name}: {type(value).__name__}"
        yield from (f"    [{key!r}] = {_value(one)}" for key, one in value.items())
    else:
        yield f"{name} = {_value(value)}"


# -- classes ----------------------------------------------------------------------------------------------------------


def _class(name: str, cls: type, public: Collection[Any]) -> Iterator[str]:
    """What the class itself has, and what it has from bases that are not public; what the others have stands there."""
    bases = [one.__name__ for one in cls.__bases__ if one is not object and not one.__name__.startswith("_")]
    yield f"class {name}({', '.join(bases)})" if bases else f"class {name}"
    if issubclass(cls, enum.Enum):
        yield from (f"    {one.name} = {_value(one.value)}" for one in cls)
    elif _own(cls.__init__):
        yield from _folded("    __init__", inspect.signature(cls.__init__))
    shown = [one for one in cls.__mro__ if _own(one) and (one is cls or one not in public)]
    annotated = {key: text for one in reversed(shown) for key, text in _annotated(one).items()}
    hidden = INTERNAL.get(cls.__name__, "").split()
    for key in sorted({*annotated, *(key for one in shown for key in vars(one))} - {*hidden}):
        if not key.startswith("_") or _SPECIAL.fullmatch(key):
            yield from _member(key, inspect.getattr_static(cls, key, _NO_VALUE), annotated.get(key))


def _member(key: str, value: Any, annotation: str | None) -> Iterator[str]:
    """A method, a property or an attribute. A slot holds what its annotation says, an enum's members come before."""
    kind = next((word for one, word in _KINDS.items() if isinstance(value, one)), "")
    function = getattr(value, "__func__", value)
    if isinstance(value, property):
        yield f"    {key}: {_annotation(inspect.signature(value.fget).return_annotation)} (property)"  # type: ignore[arg-type]
    elif inspect.isfunction(function):
        yield from _folded(f"    {kind}{key}", inspect.signature(function))
    elif annotation is not None or not (isinstance(value, enum.Enum) or inspect.isdatadescriptor(value)):
        default = "" if value is _NO_VALUE or inspect.isdatadescriptor(value) else f" = {_value(value)}"
        yield f"    {key}: {annotation or type(value).__name__}{default}"


_KINDS: Final = {classmethod: "classmethod ", staticmethod: "staticmethod "}


def _own(thing: Any) -> bool:
    return str(getattr(thing, "__module__", "")).startswith("wsnova_statsd")


def _annotated(cls: type) -> dict[str, str]:
    """Public attributes and their types: those of the class body, and of self in __init__, as they are written."""
    found: dict[str, str] = {}
    try:
        [tree] = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except (OSError, TypeError):
        return found
    assert isinstance(tree, ast.ClassDef)
    inits = [one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
    for node in [*tree.body, *(inner for one in inits for inner in ast.walk(one))]:
        if not isinstance(node, ast.AnnAssign):
            continue
        match node.target:
            case ast.Name(id=key) if node in tree.body:
                found[key] = ast.unparse(node.annotation)
            case ast.Attribute(value=ast.Name(id="self"), attr=key):
                found[key] = ast.unparse(node.annotation)
    return {key: text for key, text in found.items() if not key.startswith("_")}


# -- signatures and values --------------------------------------------------------------------------------------------


def _folded(start: str, signature: inspect.Signature) -> Iterator[str]:
    """On one line, or each parameter on its own if it is long: so a change shows as the line it is."""
    parts: list[str] = []
    before: inspect.Parameter | None = None
    for one in signature.parameters.values():
        if one.name in ("self", "cls"):
            continue
        if one.kind is one.KEYWORD_ONLY and (before is None or before.kind < one.VAR_POSITIONAL):
            parts.append("*")
        if before is not None and before.kind is one.POSITIONAL_ONLY and one.kind is not one.POSITIONAL_ONLY:
            parts.append("/")
        parts.append(_parameter(one))
        before = one
    end = ")" if signature.return_annotation is _NO_VALUE else f") -> {_annotation(signature.return_annotation)}"
    whole = f"{start}({', '.join(parts)}{end}"
    if len(whole) <= _WIDTH:
        yield whole
        return
    indent = " " * (len(start) - len(start.lstrip()) + 4)
    yield f"{start}("
    yield from (f"{indent}{part}," for part in parts)
    yield f"{indent[4:]}{end}"


def _parameter(one: inspect.Parameter) -> str:
    text = "*" * ((one.kind is one.VAR_POSITIONAL) + 2 * (one.kind is one.VAR_KEYWORD)) + one.name
    if one.annotation is not _NO_VALUE:
        text += f": {_annotation(one.annotation)}"
    return text if one.default is _NO_VALUE else f"{text} = {_value(one.default)}"


def _annotation(given: Any) -> str:
    if isinstance(given, str):
        return given
    return "None" if given is None else inspect.formatannotation(given)


def _value(value: Any) -> str:
    """As it is written: a function or class by its name, a dataclass by its fields, nothing by its address."""
    if (inspect.isroutine(value) or inspect.isclass(value)) and get_origin(value) is None:
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key!r}: {_value(one)}' for key, one in value.items())}}}"
    if isinstance(value, frozenset):
        return f"{{{', '.join(sorted(map(_value, value)))}}}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_value, value))}{',' * (len(value) == 1)})"
    if dataclasses.is_dataclass(value):
        fields = [one.name for one in dataclasses.fields(value) if one.name not in _PROSE]
        return f"{type(value).__name__}({', '.join(f'{one}={_value(getattr(value, one))}' for one in fields)})"
    if type(value).__module__ in ("_struct", "flask.blueprints") or " at 0x" in repr(value):
        return f"<{type(value).__name__}>"  # whose repr depends on the release, or is an address
    return repr(value)


# -- the command line and the metrics ---------------------------------------------------------------------------------


def _commands() -> list[str]:
    parser = build_parser()
    [commands] = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    return [
        f"$ {command.prog} {' '.join(sorted(map(_option, command._actions)))}" for command in commands.choices.values()
    ]


def _option(action: argparse.Action) -> str:
    name = "|".join(action.option_strings) or str(action.metavar or action.dest)
    return name if action.nargs == 0 or not action.option_strings else f"{name}=..."


def _metrics() -> list[str]:
    lists = {"datadog": ws.statsd_metrics(), "prometheus": ws.prometheus_metrics()}
    return [f"{of}: {_metric(one)}" for of, found in lists.items() for one in sorted(found, key=_metric)]


def _metric(one: Definition) -> str:
    return f"{one.kind} {one.name} [{', '.join(sorted(tag for tag, _ in one.tags))}]"


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(f"{COMMAND} takes no argument")
    LISTING.write_text(listing(), encoding="utf-8")
    print(f"{LISTING.relative_to(Path.cwd())}: {len(LISTING.read_text(encoding='utf-8').splitlines())} lines")
