"""`asrd models`: which models there are, fetching them, and having the daemon load them."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from asrd.cli import suggestions
from asrd.cli.exits import CommandError, Exit, tell
from asrd.cli.options import JsonOption, SocketOption
from asrd.cli.printing import say
from asrd.errors import AsrdError

if TYPE_CHECKING:
    from asrd.cli.known_models import Entry, KnownModels
    from asrd.wire.messages import Health
    from asrd.wire.reports import ModelHealth

app = typer.Typer(help="List, fetch, load and unload models.")

WhoseOption = Annotated[
    str | None,
    typer.Option(
        "--provider",
        "-p",
        metavar="NAME",
        help="Whose model it is.",
        autocompletion=suggestions.providers,
    ),
]
ModelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]",
        help="PROVIDER/MODEL, or MODEL; without it the default.",
        show_default=False,
        autocompletion=suggestions.models,
    ),
]


@app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """List, fetch, load and unload models."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(Exit.USAGE)


@app.command("list")
def list_models(
    provider: Annotated[
        str | None,
        typer.Option(
            "--provider",
            "-p",
            metavar="NAME",
            help="Only this provider's.",
            autocompletion=suggestions.providers,
        ),
    ] = None,
    json: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """List all models, and which are here or loaded."""
    import asyncio

    from asrd.cli.known_models import read_known_models
    from asrd.cli.progress import waiting

    with waiting("looking for models"):
        known = read_known_models()
    if provider is not None:
        known.registry.get(provider)  # raises UnknownProvider, with the nearest name
    for name, reason in known.broken.items():
        tell(f"{name} is left out ({reason}): see `asrd providers`")
    with waiting("waiting for the daemon"):
        loaded = asyncio.run(_ask_loaded(socket, known))
    entries = [*known.entries, *known.unlisted(loaded or ())]
    entries = [entry for entry in entries if provider in (None, entry.provider)]
    say(_as_json(entries, loaded) if json else _as_text(entries, loaded))


@app.command()
def pull(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="PROVIDER/MODEL, or MODEL where one has it.",
            autocompletion=suggestions.models,
        ),
    ],
    provider: WhoseOption = None,
) -> None:
    """Fetch models over the network."""
    from asrd.cli.known_models import read_known_models
    from asrd.cli.progress import waiting
    from asrd.cli.pulling import pull as fetch

    with waiting("looking for models"):
        known = read_known_models()
    wanted = [known.find(name, provider) for name in names]
    code = int(Exit.OK)
    for entry in wanted:
        if entry.status.is_present:
            say(f"{entry.name} is here already{_in_brackets(entry.status.size_bytes)}")
            continue
        try:
            status = fetch(entry, known.registry.get(entry.provider))
        except CommandError as error:
            tell(str(error))
            code = code or int(error.code)
        else:
            say(f"{entry.name} is here{_in_brackets(status.size_bytes)}")
    raise typer.Exit(code)


@app.command()
def load(
    name: ModelArgument = None, provider: WhoseOption = None, socket: SocketOption = None
) -> None:
    """Have the running daemon load a model; waits for it."""
    say(_have_daemon("load", name, provider, socket))


@app.command()
def unload(
    name: ModelArgument = None, provider: WhoseOption = None, socket: SocketOption = None
) -> None:
    """Have the running daemon give a model's memory back."""
    say(_have_daemon("unload", name, provider, socket))


# ── the running daemon ────────────────────────────────────────────────────────────────────────────

Loaded = dict[tuple[str, str], "ModelHealth"]
"""The models that the daemon has, by provider and by the model's one right name."""


def _have_daemon(
    change: Literal["load", "unload"], name: str | None, provider: str | None, socket: Path | None
) -> str:
    """Load or unload; returns the line that says how the model is afterwards."""
    import asyncio

    from asrd.cli.known_models import read_known_models
    from asrd.cli.progress import waiting

    with waiting("looking for models"):
        known = read_known_models()
    model = None
    if name is not None:
        entry = known.find(name, provider)
        provider, model = entry.provider, entry.status.model
    elif provider is not None:
        known.registry.get(provider)  # raises UnknownProvider, with the nearest name
    health = asyncio.run(_ask_change(change, provider, model, socket))
    if provider is None:
        provider = next((key for key, found in health.providers.items() if found.is_default), "")
    if model is None and provider in health.providers:
        model = known.right_name(provider, health.providers[provider].model)
    found = _loaded(health, known).get((provider, model or ""))
    return f"{provider}/{model}: {_as_state(found)}{_took(found)}"


async def _ask_change(
    change: Literal["load", "unload"], provider: str | None, model: str | None, socket: Path | None
) -> "Health":
    from asrd.cli.progress import waiting
    from asrd.cli.reach import running

    async with running(socket) as client:
        ask = client.load if change == "load" else client.unload
        with waiting(f"{change}ing the model"):
            return await ask(provider, model)


async def _ask_loaded(socket: Path | None, known: "KnownModels") -> Loaded | None:
    """None where no daemon answers, which is no mistake here."""
    from asrd.cli.reach import answered, running

    try:
        async with running(socket) as client:
            return _loaded(await answered(client.health()), known)
    except AsrdError:
        return None


def _loaded(health: "Health", known: "KnownModels") -> Loaded:
    return {
        (provider, known.right_name(provider, model.model)): model
        for provider, found in health.providers.items()
        for model in found.models
    }


# ── what is shown ─────────────────────────────────────────────────────────────────────────────────


def _as_text(entries: "Iterable[Entry]", loaded: Loaded | None) -> str:
    from asrd.cli.tables import as_size, render

    def in_daemon(entry: "Entry") -> str:
        found = (loaded or {}).get(entry.key)
        return "" if found is None else _as_state(found)

    rows = [
        (
            entry.name,
            as_size(entry.status.size_bytes),
            "yes" if entry.status.is_present else "no",
            in_daemon(entry),
            "yes" if entry.is_default else "",
        )
        for entry in entries
    ]
    return render(("MODEL", "SIZE", "PRESENT", "IN THE DAEMON", "DEFAULT"), rows)


def _as_state(found: "ModelHealth | None") -> str:
    from asrd.cli.figures import as_words
    from asrd.cli.tables import as_size

    if found is None:
        return "not loaded"
    memory = as_size(found.memory_bytes)
    return as_words(found.state) + (f", {memory}" if memory else "")


def _took(found: "ModelHealth | None") -> str:
    if found is None:
        return ""
    problem = f", {found.problem}" if found.problem else ""
    return problem if found.load_s is None else f", loaded in {found.load_s:.1f} s{problem}"


def _in_brackets(size_bytes: int) -> str:
    from asrd.cli.tables import as_size

    return f" ({as_size(size_bytes)})" if size_bytes else ""


def _as_json(entries: "Iterable[Entry]", loaded: Loaded | None) -> str:
    from dataclasses import asdict

    from asrd.cli.transcripts import to_json

    def state(entry: "Entry") -> str | None:
        if loaded is None:
            return None
        return loaded[entry.key].state if entry.key in loaded else "not_loaded"

    return to_json(
        [
            {
                "provider": entry.provider,
                **asdict(entry.status),
                "is_default": entry.is_default,
                "state": state(entry),
            }
            for entry in entries
        ]
    )
