"""The configuration of a daemon, read from all its layers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec import convert

from asrd.config import Config
from asrd.configuring.layers import (
    Flags,
    Layer,
    Places,
    Value,
    Values,
    configured_provider,
    merged,
    nested,
    with_defaults,
)
from asrd.configuring.schema import Path
from asrd.configuring.secret_files import resolved
from asrd.errors import StartupError
from asrd.exit_codes import Exit

FLAGS = "flags"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What came of the layers.

    `values` are those that a layer gave, with their origins, and with a secret's place instead of
    the secret. `layers` are the places that were read, the strongest last.
    """

    config: Config
    values: Mapping[Path, Value] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def no_flags(_: str) -> Values:
    """What flags say where there are none."""
    return {}


def read(places: Places, flags: Flags = no_flags, *, with_secrets: bool = True) -> Reading:
    """All layers, merged and checked. Without `with_secrets` no secret is read: each is empty.

    Raises:
        StartupError: a file cannot be read, or something makes no sense; a line for each problem,
            with its place and its key.
    """
    if not places.is_anything_there:
        # Nothing but flags, whose values have been checked already: a start without a
        # configuration need not pay for what reads one.
        values = flags(Config().provider)
        return Reading(
            config=convert(nested(with_defaults(values)), Config),
            values=values,
            layers=(FLAGS,) if values else (),
        )
    from asrd.configuring.checking import checked

    layers = _layers(places)
    below = merged(layer.values for layer in layers)
    above = flags(str(configured_provider(below)))
    values = merged((below, above))
    secrets = resolved(values, is_read=with_secrets)
    config, wrong = checked(with_defaults(secrets.values))
    problems = [each for layer in layers for each in layer.problems]
    problems += [*secrets.problems, *wrong]
    if config is None or problems:
        raise StartupError("\n".join(problems), Exit.CONFIG)
    return Reading(
        config=config,
        values=values,
        layers=(*(layer.name for layer in layers), *([FLAGS] if above else [])),
        warnings=(*(each for layer in layers for each in layer.warnings), *secrets.warnings),
    )


def _layers(places: Places) -> list[Layer]:
    from asrd.configuring.sources import environment_layer, file_layer

    files = {places.system: False, places.user: False}
    if places.given is not None:
        files.pop(places.given, None)  # named and usual at once: read once, as the stronger
        files[places.given] = True
    found = [file_layer(path, must_exist=must_exist) for path, must_exist in files.items()]
    return [layer for layer in (*found, environment_layer()) if layer is not None]
