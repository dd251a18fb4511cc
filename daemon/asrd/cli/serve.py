"""`asrd serve`: the daemon."""

import gc
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from asrd.choices import Loading, LogLevel, WarmUp
from asrd.cli.exits import CommandError, Exit
from asrd.cli.options import ModelOption, ProviderOption, SettingsOption, read_settings

if TYPE_CHECKING:
    from asrd.config import Config


def serve(
    stdio: Annotated[
        bool, typer.Option("--stdio", help="Serve one client on stdin and stdout instead.")
    ] = False,
    socket: Annotated[
        Path | None,
        typer.Option("--socket", metavar="PATH", help="Where to listen.", show_default=False),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="A configuration, in TOML.")
    ] = None,
    provider: ProviderOption = None,
    model: ModelOption = None,
    option: SettingsOption = None,
    loading: Annotated[
        Loading | None, typer.Option(help="When the provider's model is loaded. [default: eager]")
    ] = None,
    warm_up: Annotated[
        WarmUp | None, typer.Option(help="How much it reads before it is ready. [default: minimal]")
    ] = None,
    required: Annotated[
        bool, typer.Option("--required", help="End with 69 if the model does not come up.")
    ] = False,
    fallback: Annotated[
        list[str] | None,
        typer.Option(
            "--fallback",
            metavar="NAME[/MODEL]",
            help="Provider that takes over while another is unavailable; repeatable.",
        ),
    ] = None,
    max_models: Annotated[
        int | None, typer.Option(min=1, help="Models in memory at a time.")
    ] = None,
    idle_ttl_s: Annotated[
        float | None,
        typer.Option("--idle-ttl-s", min=1, help="Unload a model after so long without work."),
    ] = None,
    memory_budget: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Memory for all models, such as 4GB or 60%."),
    ] = None,
    slots: Annotated[
        str | None,
        typer.Option(metavar="N|auto", help="Local decodes at a time. [default: 1]"),
    ] = None,
    ladder: Annotated[
        bool | None,
        typer.Option(
            "--ladder/--no-ladder", help="Do less for each under overload. [default: ladder]"
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            "--record", metavar="DIR", help="Write what clients send to files, audio and all."
        ),
    ] = None,
    log_level: Annotated[
        LogLevel | None, typer.Option(help="On stderr. [default: info]", show_default=False)
    ] = None,
) -> None:
    """Run the daemon, until it is told to stop.

    It listens on $XDG_RUNTIME_DIR/asrd/asrd.sock (as root on /run/asrd/asrd.sock), or --socket.
    Options win over the configuration file. The provider `auto` is the one that suits the machine.
    `kill -HUP` has a running daemon read the file again; its log says what has changed.
    """
    gc.disable()  # the daemon enables it once it is put together
    from asrd.paths import default_socket_path

    if stdio and socket is not None:
        raise typer.BadParameter("--stdio and --socket exclude each other", param_hint="--socket")
    if stdio and sys.stdin is None:
        raise CommandError("stdin is closed", Exit.NO_INPUT, "connect it to the client")
    if stdio and sys.stdout is None:
        raise CommandError("stdout is closed", Exit.IO, "connect it to the client")

    def read() -> "Config":
        """The file with the options over it."""
        settled = _with_provider(_base(config), provider, model, option or [])
        own = settled.of(settled.provider)
        own = replace(
            own,
            loading=loading or own.loading,
            warm_up=warm_up or own.warm_up,
            required=required or own.required,
        )
        rule, scheduling = settled.residency, settled.scheduling
        is_enabled = scheduling.ladder.enabled if ladder is None else ladder
        return replace(
            settled,
            log_level=log_level or settled.log_level,
            fallback=tuple(fallback) if fallback else settled.fallback,
            providers={**settled.providers, settled.provider: own},
            residency=replace(
                rule,
                max_models=max_models or rule.max_models,
                idle_ttl_s=idle_ttl_s or rule.idle_ttl_s,
                memory_budget=_size(memory_budget) or rule.memory_budget,
            ),
            scheduling=replace(
                scheduling,
                slots=_slots(slots) or scheduling.slots,
                ladder=replace(scheduling.ladder, enabled=is_enabled),
            ),
            recording=replace(
                settled.recording,
                directory=str(record) if record is not None else settled.recording.directory,
            ),
        )

    settled = read()
    from asrd.server import app, logs

    logs.configure(settled.log_level)
    if stdio:
        code = app.serve_stdio(settled, read=read)
    else:
        code = app.serve(settled, socket_path=socket or default_socket_path(), read=read)
    raise typer.Exit(code)


def _base(path: Path | None) -> "Config":
    from asrd.config import Config
    from asrd.config_file import read_config

    return Config() if path is None else read_config(path)


def _with_provider(
    config: "Config", provider: str | None, model: str | None, option: list[str]
) -> "Config":
    from asrd.config import ProviderConfig

    name = provider or config.provider
    providers = dict(config.providers)
    for owner, settings in read_settings(option, name).items():
        own = providers.get(owner, ProviderConfig())
        providers[owner] = replace(own, settings={**own.settings, **settings})
    is_other = name != config.provider
    return replace(
        config,
        provider=name,
        model=model or (None if is_other else config.model),
        providers=providers,
    )


def _slots(text: str | None) -> int | Literal["auto"] | None:
    if text is None:
        return None
    if text == "auto":
        return "auto"
    if text.isascii() and text.isdigit() and int(text):
        return int(text)
    raise typer.BadParameter(f"{text!r} is no number from 1 on, nor auto", param_hint="--slots")


def _size(text: str | None) -> str | None:
    from msgspec import ValidationError, convert

    from asrd.config import Size

    try:
        return None if text is None else convert(text, Size)
    except ValidationError:
        raise typer.BadParameter(
            f"{text!r} is no size such as 4GB or 60%", param_hint="--memory-budget"
        ) from None
