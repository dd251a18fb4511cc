"""Every line that the daemon writes: named, found by its stream, and documented."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

DAEMON = Path(__file__).parents[2] / "daemon"
METHODS = ("debug", "info", "warning", "error", "exception", "critical")


@dataclass(frozen=True)
class Line:
    """A call that logs. `knows_stream`: the function that it stands in has a served stream."""

    where: str
    events: tuple[str, ...]
    keys: tuple[str, ...]
    knows_stream: bool


@cache
def lines() -> tuple[Line, ...]:
    return tuple(found_lines())


def found_lines() -> Iterator[Line]:
    for path in sorted((DAEMON / "asrd").rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                named = {each.id for each in ast.walk(function) if isinstance(each, ast.Name)}
                named |= {each.arg for each in function.args.args}
                for node in ast.walk(function):
                    if isinstance(node, ast.Call) and is_log(node):
                        where = f"{path.name}:{node.lineno}"
                        keys = tuple(key.arg or ast.unparse(key.value) for key in node.keywords)
                        events = tuple(events_of(node.args[0]))
                        yield Line(where, events, keys, knows_stream="served" in named)


def is_log(call: ast.Call) -> bool:
    """`log.info("event", ...)`, or `self._warn("event", ...)`, which hands the event on to it."""
    match call.func:
        case ast.Attribute(value=ast.Name(id="log"), attr=method):
            return method in METHODS and ast.unparse(call.args[0]) != "event"
        case ast.Attribute(value=ast.Name(id="self"), attr="_warn"):
            return True
        case _:
            return False


def events_of(argument: ast.expr) -> Iterator[str]:
    match argument:
        case ast.Constant(value=str(event)):
            yield event
        case ast.IfExp(body=body, orelse=orelse):
            yield from (*events_of(body), *events_of(orelse))
        case _:
            raise AssertionError(f"{ast.unparse(argument)} is no name that can be looked up")


def test_events_are_names() -> None:
    assert len(lines()) > 50
    for line in lines():
        for event in line.events:
            assert re.fullmatch(r"[a-z]+(_[a-z]+)*", event), (line.where, event)


def test_what_is_of_a_stream_can_be_found_by_it() -> None:
    of_streams = [line for line in lines() if line.knows_stream]
    assert of_streams
    for line in of_streams:
        has_names = any(key.endswith(".names") for key in line.keys)
        assert has_names or "streams" in line.keys, line.where


def test_every_event_is_documented_and_no_other() -> None:
    logged = {event for line in lines() for event in line.events} | {"log_lines_lost"}
    text = (DAEMON / "OPERATIONS.md").read_text()
    section = text.partition("\n## Logs\n")[2].partition("\n## ")[0]
    documented = re.findall(r"^\| `([a-z_]+)` \| (?:info|warning|error) \|", section, re.MULTILINE)
    assert sorted(documented) == sorted(logged)
