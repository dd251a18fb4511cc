"""`asrd health`: is the daemon ready?"""

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from asrd.cli.exits import Exit, report
from asrd.cli.figures import as_amount, as_milliseconds, as_state, as_words
from asrd.cli.options import SocketOption, StateJsonOption
from asrd.cli.plain import plain_json
from asrd.cli.printing import say
from asrd.cli.tables import REPORT_COLUMNS, as_size, as_span, entry
from asrd.errors import AsrdError

if TYPE_CHECKING:
    from pathlib import Path

    from asrd.wire.messages import Health
    from asrd.wire.reports import ModelHealth, ProviderHealth


def health(
    deep: Annotated[bool, typer.Option("--deep", help="Run a real inference.")] = False,
    wait_s: Annotated[
        float, typer.Option("--wait-s", min=0, help="Wait until it is ready, for so long at most.")
    ] = 0.0,
    json: StateJsonOption = False,
    socket: SocketOption = None,
) -> None:
    """Say how the daemon is; exit code 0 when it is ready, 69 when not.

    For scripts and service managers. `asrd status` is for people.
    """
    import asyncio

    from asrd.cli.progress import waiting
    from asrd.cli.screens.looks import unreachable
    from asrd.cli.transcripts import to_json

    try:
        with waiting("waiting for the daemon"):
            found = asyncio.run(_ask_until_ready(socket, deep=deep, wait_s=wait_s))
    except AsrdError as error:
        if json:
            say(plain_json(to_json(unreachable(error))))
        raise typer.Exit(report(error)) from None
    say(_as_json(found) if json else _as_text(found))
    raise typer.Exit(Exit.OK if found.ready else Exit.UNAVAILABLE)


LOOK_S = 0.1
"""While it is waited for: how often it is asked."""

DEEP_ANSWER_S = 60.0
"""The daemon gives models half of it, to be loaded and to read."""


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
        except AsrdError:
            if is_last:
                raise
        await asyncio.sleep(LOOK_S)


async def _ask(socket: "Path | None", *, deep: bool) -> "Health":
    from asrd.cli.reach import ANSWER_S, answered, running

    async with running(socket) as client:
        return await answered(client.health(deep=deep), DEEP_ANSWER_S if deep else ANSWER_S)


def _as_json(found: "Health") -> str:
    import msgspec

    from asrd.cli.transcripts import to_json

    fields = msgspec.to_builtins(found)
    del fields["type"]
    return plain_json(to_json(fields))


# ── as text ───────────────────────────────────────────────────────────────────────────────────


def _as_text(found: "Health") -> str:
    return "\n".join(_lines(found))


def _lines(found: "Health") -> Iterator[str]:
    state = as_state(found.state, is_ready=found.ready)
    uptime, memory = f"up for {as_span(found.uptime_s)}", as_size(found.memory_bytes)
    yield from entry("", [state, uptime, memory])
    for name, provider in sorted(found.providers.items()):
        yield from _provider(name, provider)
    if found.voice_activity is not None:
        yield from entry("  voice activity: ", _facts(found.voice_activity))
        yield from _problem("    ", found.voice_activity.problem)


def _provider(name: str, provider: "ProviderHealth") -> Iterator[str]:
    roles = ["default"] * provider.is_default + ["required"] * provider.is_required
    title = f"  {name} ({', '.join(roles)}): " if roles else f"  {name}: "
    trust = "" if provider.breaker == "closed" else f"breaker {as_words(provider.breaker)}"
    if len(provider.models) > 1:
        count = f"{len(provider.models)} models"
        facts = [as_words(provider.state), trust, count, as_size(provider.memory_bytes)]
        yield from entry(title, facts)
        for model in provider.models:
            yield from entry(f"    {model.model}: ", _facts(model))
            yield from _problem("      ", model.problem)
    else:
        about = [fact for model in provider.models for fact in _facts(model)[1:]]
        state = as_words(provider.state)
        yield from entry(title, [state, trust, f"model {provider.model}", *about])
        yield from _problem("    ", provider.problem)
    if provider.remedy:
        yield f"    {provider.remedy}"  # in one piece, to be pasted


def _facts(model: "ModelHealth") -> list[str]:
    """What is worth telling of a model, its state first."""
    facts = [as_words(model.state)]
    if model.streams:
        facts.append(as_amount(model.streams, "stream"))
    if model.last_inference_ms is not None:
        facts.append(f"last decode {as_milliseconds(model.last_inference_ms)}")
    if model.last_inference_ms is not None and model.idle_s is not None:
        facts[-1] += f" {as_span(model.idle_s)} ago"
    if model.consecutive_errors:
        errors = as_amount(model.consecutive_errors, "error")
        facts.append(errors if model.consecutive_errors == 1 else f"{errors} in a row")
    if model.restarts:
        facts.append(as_amount(model.restarts, "restart"))
    facts.append(as_size(model.memory_bytes))
    if model.gpu_memory_bytes:
        facts.append(f"{as_size(model.gpu_memory_bytes)} on GPU")
    return facts


def _problem(indent: str, problem: str) -> list[str]:
    return textwrap.wrap(problem, REPORT_COLUMNS, initial_indent=indent, subsequent_indent=indent)
