"""`asrd health`: is the daemon ready?"""

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from asrd.cli.exits import CommandError, Exit, report
from asrd.cli.options import JsonOption, SocketOption
from asrd.cli.printing import say
from asrd.cli.tables import REPORT_COLUMNS, as_size, as_span, entry

if TYPE_CHECKING:
    from pathlib import Path

    from asrd.wire.messages import Health
    from asrd.wire.reports import ModelHealth, ProviderHealth


def health(
    deep: Annotated[bool, typer.Option("--deep", help="Run a real inference.")] = False,
    wait_s: Annotated[
        float, typer.Option("--wait-s", min=0, help="Wait until it is ready, for so long at most.")
    ] = 0.0,
    json: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """Say how the daemon is; exit code 0 when it is ready, 69 when not.

    For scripts and service managers. `asrd status` is for people.
    """
    import asyncio

    from asrd.cli.progress import waiting

    try:
        with waiting("waiting for the daemon"):
            found = asyncio.run(_ask_until_ready(socket, deep=deep, wait_s=wait_s))
    except CommandError as error:
        if json:
            say('{"state": "unreachable", "live": false, "ready": false}')
        raise typer.Exit(report(error)) from None
    say(_as_json(found) if json else _as_text(found))
    raise typer.Exit(Exit.OK if found.ready else Exit.UNAVAILABLE)


LOOK_S = 0.1
"""While it is waited for: how often it is asked."""


async def _ask_until_ready(socket: "Path | None", *, deep: bool, wait_s: float) -> "Health":
    """The first answer that says ready, or what there is when the time is up."""
    import asyncio
    import time

    until_s = time.monotonic() + wait_s
    while True:
        is_last = time.monotonic() >= until_s
        try:
            found = await _ask(socket, deep=deep)
            if found.ready or is_last:
                return found
        except CommandError:
            if is_last:
                raise
        await asyncio.sleep(LOOK_S)


async def _ask(socket: "Path | None", *, deep: bool) -> "Health":
    from asrd.cli.reach import running

    async with running(socket) as client:
        return await client.health(deep=deep)


def _as_json(found: "Health") -> str:
    import msgspec

    from asrd.cli.transcripts import to_json

    fields = msgspec.to_builtins(found)
    del fields["type"]
    return to_json(fields)


# ── as text ───────────────────────────────────────────────────────────────────────────────────


def _as_text(found: "Health") -> str:
    return "\n".join(_lines(found))


def _lines(found: "Health") -> Iterator[str]:
    facts = [_words(found.state), f"up for {as_span(found.uptime_s)}", as_size(found.memory_bytes)]
    if found.state == "degraded":  # the other states say it themselves
        facts.insert(1, "ready" if found.ready else "not ready")
    yield from entry("", facts)
    for name, provider in sorted(found.providers.items()):
        yield from _provider(name, provider)
    if found.voice_activity is not None:
        yield from entry("  voice activity: ", _facts(found.voice_activity))
        yield from _problem("    ", found.voice_activity.problem)


def _provider(name: str, provider: "ProviderHealth") -> Iterator[str]:
    roles = ["default"] * provider.is_default + ["required"] * provider.is_required
    title = f"  {name} ({', '.join(roles)}): " if roles else f"  {name}: "
    trust = "" if provider.breaker == "closed" else f"breaker {_words(provider.breaker)}"
    if len(provider.models) > 1:
        count = f"{len(provider.models)} models"
        facts = [_words(provider.state), trust, count, as_size(provider.memory_bytes)]
        yield from entry(title, facts)
        for model in provider.models:
            yield from entry(f"    {model.model}: ", _facts(model))
            yield from _problem("      ", model.problem)
    else:
        about = [fact for model in provider.models for fact in _facts(model)[1:]]
        state = _words(provider.state)
        yield from entry(title, [state, trust, f"model {provider.model}", *about])
        yield from _problem("    ", provider.problem)
    if provider.remedy:
        yield f"    {provider.remedy}"  # in one piece, to be pasted


def _facts(model: "ModelHealth") -> list[str]:
    """What is worth telling of a model, its state first."""
    facts = [_words(model.state)]
    if model.streams:
        facts.append(_count(model.streams, "stream"))
    if model.last_inference_ms is not None:
        facts.append(f"last decode {_milliseconds(model.last_inference_ms)}")
    if model.last_inference_ms is not None and model.idle_s is not None:
        facts[-1] += f" {as_span(model.idle_s)} ago"
    if model.consecutive_errors:
        errors = _count(model.consecutive_errors, "error")
        facts.append(errors if model.consecutive_errors == 1 else f"{errors} in a row")
    if model.restarts:
        facts.append(_count(model.restarts, "restart"))
    facts.append(as_size(model.memory_bytes))
    if model.gpu_memory_bytes:
        facts.append(f"{as_size(model.gpu_memory_bytes)} on GPU")
    return facts


def _problem(indent: str, problem: str) -> list[str]:
    return textwrap.wrap(problem, REPORT_COLUMNS, initial_indent=indent, subsequent_indent=indent)


def _words(state: str) -> str:
    return state.replace("_", " ")


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _milliseconds(value_ms: float) -> str:
    return f"{value_ms:.1f} ms" if value_ms < 10 else f"{value_ms:.0f} ms"
