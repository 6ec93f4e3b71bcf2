"""The page on the client lists every `cause` of a failed dial and every `reason` of an end, and no other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[2]
_PACKAGE: Final = _ROOT / "wsnova_statsd"
_PAGE: Final = (_ROOT / "examples" / "client.md").read_text(encoding="utf-8")
_ROOMS: Final = ("dial", "link", "client")
_ENDS: Final = ("close", "ask_close")  # their `reason` is that of the end


def _nodes() -> Iterator[ast.AST]:
    for path in (_PACKAGE / "errors.py", *sorted(one for room in _ROOMS for one in (_PACKAGE / room).glob("*.py"))):
        yield from ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def _words(node: ast.AST | None) -> set[str]:
    """The texts that an expression may be; `<>` for what is put into an f-string, nothing for a name."""
    if isinstance(node, ast.Constant):
        return {node.value} if isinstance(node.value, str) else set()
    if isinstance(node, ast.IfExp):
        return _words(node.body) | _words(node.orelse)
    if isinstance(node, ast.JoinedStr):
        return {"".join(part.value if isinstance(part, ast.Constant) else "<>" for part in node.values)}  # type: ignore[misc]
    return set()


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _causes() -> set[str]:
    """What is given as `cause`, by keyword or as a default, and as that of a Peer."""
    found = set()
    for node in _nodes():
        if isinstance(node, ast.Call):
            found |= {word for one in node.keywords if one.arg == "cause" for word in _words(one.value)}
            if _called(node) == "Peer" and len(node.args) > 2:
                found |= _words(node.args[2])
        elif isinstance(node, ast.arguments):
            for name, default in zip(node.kwonlyargs, node.kw_defaults, strict=True):
                found |= _words(default) if name.arg == "cause" else set()
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            if isinstance(target, ast.Name) and target.id == "cause":
                found |= _words(node.value)
    assert "auth_<>" in found
    return (found - {"auth_<>"}) | {f"auth_{reason}" for reason in _auth_reasons() - {"rejected"}}


def _reasons() -> set[str]:
    """What a Loss is given first, a close on purpose as its reason, and what that is before."""
    found = set()
    for node in _nodes():
        if isinstance(node, ast.Call) and _called(node) == "Loss":
            found |= _words(node.args[0])
        elif isinstance(node, ast.Call) and _called(node) in _ENDS:
            found |= {word for one in node.args for word in _words(one)}
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "attr", "") == "reason":
            found |= _words(node.value)
        elif (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Tuple)
            and isinstance(node.value, ast.Tuple)
        ):
            pairs = zip(node.targets[0].elts, node.value.elts, strict=True)
            found |= {word for name, value in pairs if getattr(name, "id", "") == "reason" for word in _words(value)}
    return found


def _auth_reasons() -> set[str]:
    """What login.py gives as the reason of a failed login."""
    found = set()
    for node in ast.walk(ast.parse((_PACKAGE / "client" / "login.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and _called(node) == "_failed":
            found |= _words(node.args[0])
        elif isinstance(node, ast.FunctionDef) and node.name == "_reason":
            found |= {word for one in ast.walk(node) if isinstance(one, ast.Return) for word in _words(one.value)}
    return found


def _listed(heading: str) -> set[str]:
    """The first column of the table of this heading; `<>` for what stands for a number."""
    table = _PAGE.split(f"| `{heading}` |")[1].split("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines()[2:]]
    return {re.sub("<.*?>", "<>", word) for row in rows for word in re.findall("`([^`]+)`", row)}


def test_every_cause_of_a_failed_dial_is_listed() -> None:
    """And each that is listed is one."""
    assert _listed("cause") == _causes()


def test_every_reason_of_an_end_is_listed() -> None:
    """And each that is listed is one."""
    assert _listed("reason") == _reasons()


def test_every_reason_of_a_failed_login_is_listed() -> None:
    """In the sentence about it."""
    sentence = re.search(r"^`auth\.failed` has the `reason` (.*)\.$", _PAGE, re.MULTILINE)
    assert sentence is not None
    assert set(re.findall("`([a-z]+)`", sentence[1])) == _auth_reasons()
