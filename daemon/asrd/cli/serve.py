"""`asrd serve`: the daemon."""

import gc
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from asrd.choices import Loading, LogLevel, WarmUp
from asrd.cli.exits import CommandError, Exit
from asrd.cli.options import ModelOption, ProviderOption, SettingsOption, read_settings

if TYPE_CHECKING:
    from asrd.config import Config
    from asrd.configuring.layers import Values
    from asrd.configuring.reading import Reading

NOWHERE = "none"

MAX_DIGITS = 14
"""Of a number of slots: no more than any count has."""


def serve(
    stdio: Annotated[
        bool, typer.Option("--stdio", help="Serve one client on stdin and stdout instead.")
    ] = False,
    socket: Annotated[
        Path | None,
        typer.Option("--socket", metavar="PATH", help="Where to listen.", show_default=False),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="A configuration, over the usual files."),
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
        int | None, typer.Option(min=1, max=2**48, help="Models in memory at a time.")
    ] = None,
    idle_ttl_s: Annotated[
        float | None,
        typer.Option(
            "--idle-ttl-s", min=1, max=604_800, help="Unload a model after so long without work."
        ),
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
    monitor: Annotated[
        str | None,
        typer.Option(
            "--monitor",
            metavar="ADDRESS|none",
            help="Answer /metrics, /live, /ready and /health there, such as on 127.0.0.1:9464.",
        ),
    ] = None,
    trace: Annotated[
        bool | None,
        typer.Option(
            "--trace/--no-trace",
            help="Make spans of OpenTelemetry, with the extra otel. [default: no-trace]",
        ),
    ] = None,
    log_level: Annotated[
        LogLevel | None, typer.Option(help="On stderr. [default: info]", show_default=False)
    ] = None,
) -> None:
    """Run the daemon, until it is told to stop.

    It listens on $XDG_RUNTIME_DIR/asrd/asrd.sock (as root on /run/asrd/asrd.sock), or --socket.
    Options win over the configuration; see `asrd config`. The provider `auto` is the one that suits
    the machine. `kill -HUP` has a running daemon read the configuration again; its log says what
    has changed.
    """
    gc.disable()  # the daemon enables it once it is put together
    import structlog

    from asrd.configuring.layers import Value, usual_places
    from asrd.configuring.reading import read
    from asrd.configuring.writing import log_fields
    from asrd.paths import default_socket_path
    from asrd.server import app, logs

    if stdio and socket is not None:
        raise typer.BadParameter("--stdio and --socket exclude each other", param_hint="--socket")
    if stdio and sys.stdin is None:
        raise CommandError("stdin is closed", Exit.NO_INPUT, "connect it to the client")
    if stdio and sys.stdout is None:
        raise CommandError("stdout is closed", Exit.IO, "connect it to the client")

    if idle_ttl_s is not None and math.isnan(idle_ttl_s):  # in no range, and beyond none
        raise typer.BadParameter("'nan' is no number of seconds", param_hint="--idle-ttl-s")
    size, slot_count = _size(memory_budget), _slots(slots)

    def flags(configured: str) -> "Values":
        """What the options say, where the layers below them name that provider."""
        name = provider or configured
        own = ("providers", name)
        given: dict[str, tuple[tuple[str, ...], object]] = {
            "--provider": (("provider",), provider),
            "--model": (("model",), model),
            "--loading": ((*own, "loading"), loading),
            "--warm-up": ((*own, "warm_up"), warm_up),
            "--required": ((*own, "required"), required or None),
            "--fallback": (("fallback",), fallback or None),
            "--max-models": (("residency", "max_models"), max_models),
            "--idle-ttl-s": (("residency", "idle_ttl_s"), idle_ttl_s),
            "--memory-budget": (("residency", "memory_budget"), size),
            "--slots": (("scheduling", "slots"), slot_count),
            "--ladder": (("scheduling", "ladder", "enabled"), ladder),
            "--record": (("recording", "directory"), None if record is None else str(record)),
            "--trace": (("tracing", "enabled"), trace),
            "--log-level": (("log_level",), log_level),
        }
        for owner, settings in read_settings(option or [], name).items():
            for key, value in settings.items():
                path = ("providers", owner, "settings", key)
                given[f"--option={owner}.{key}"] = (path, value)
        values = {
            path: Value(value, flag) for flag, (path, value) in given.items() if value is not None
        }
        if monitor is not None:  # the one option that can take back what a file says
            listen = None if monitor == NOWHERE else monitor
            values["monitoring", "listen"] = Value(listen, "--monitor")
        return values

    places = usual_places(config)
    reading = read(places, flags)
    logs.configure(reading.config.log_level, reading.config.log_format)
    log = structlog.get_logger()
    log.info("configuration", **log_fields(reading, is_whole=not logs.is_for_people()))

    def read_again() -> "Config":
        again = read(places, flags)
        tell_warnings(again)
        return again.config

    def tell_warnings(told: "Reading") -> None:
        for warning in told.warnings:
            log.warning("configuration_doubtful", problem=warning)

    tell_warnings(reading)
    if stdio:
        code = app.serve_stdio(reading.config, read=read_again)
    else:
        path = socket or default_socket_path()
        code = app.serve(reading.config, socket_path=path, read=read_again)
    raise typer.Exit(code)


def _slots(text: str | None) -> int | Literal["auto"] | None:
    if text is None:
        return None
    if text == "auto":
        return "auto"
    if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS and int(text):
        return int(text)
    raise typer.BadParameter(f"{text!r} is no number from 1 on, nor auto", param_hint="--slots")


def _size(text: str | None) -> str | None:
    from asrd.ranges import is_size

    if text is None or is_size(text):
        return text
    raise typer.BadParameter(
        f"{text!r} is no size such as 4GB or 60%", param_hint="--memory-budget"
    )
