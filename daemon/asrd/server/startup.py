"""What is settled before and while the daemon starts: its configuration, and its first models."""

import asyncio
from dataclasses import fields, replace

import structlog

from asrd.choices import Loading
from asrd.config import Config, ProviderConfig
from asrd.errors import (
    AsrdError,
    ModelUnavailable,
    ProtocolError,
    ProviderError,
    StartupError,
)
from asrd.exit_codes import Exit
from asrd.providers.catalogue import AUTO, Catalogue, ModelKey
from asrd.providers.registry import Registry, UnknownProvider
from asrd.server.hub import Hub

log = structlog.get_logger()


def settled(config: Config, registry: Registry) -> Config:
    """The configuration with `auto` replaced by what suits the machine, and seen to make sense.

    Raises:
        StartupError: it does not, or nothing can run here.
    """
    if config.provider == AUTO:
        config = _chosen(config, registry)
    try:
        Catalogue(registry, config).check()
    except ModelUnavailable as error:
        raise StartupError(str(error), Exit.UNAVAILABLE) from None
    except (UnknownProvider, ProviderError) as error:
        raise StartupError(str(error), Exit.CONFIG) from None
    return config


def _chosen(config: Config, registry: Registry) -> Config:
    from asrd.providers.inspection import inspect_machine
    from asrd.providers.recommendation import recommend

    try:
        choice = recommend(inspect_machine(), registry)
    except ProviderError as error:
        raise StartupError(str(error), Exit.UNAVAILABLE) from None
    log.info(
        "provider_chosen",
        provider=choice.provider,
        model=choice.model,
        settings=dict(choice.settings),
        reason=choice.reason,
    )
    own = _overlaid(config.of(choice.provider), config.of(AUTO))
    own = replace(own, settings={**choice.settings, **own.settings})
    others = {name: other for name, other in config.providers.items() if name != AUTO}
    return replace(
        config,
        provider=choice.provider,
        model=config.model or choice.model,
        providers={**others, choice.provider: own},
    )


def _overlaid(own: ProviderConfig, given: ProviderConfig) -> ProviderConfig:
    """What is said of a provider, under what is said of `auto`."""
    unsaid = ProviderConfig()
    said = {
        each.name: getattr(given, each.name)
        for each in fields(ProviderConfig)
        if getattr(given, each.name) != getattr(unsaid, each.name)
    }
    return replace(own, **{**said, "settings": {**own.settings, **given.settings}})


async def load_first(hub: Hub) -> None:
    """Begin to load what is loaded at the start; return when what is eager has come up or failed.

    Raises:
        StartupError: what is both eager and required does not come up.
    """
    try:
        wanted = hub.pool.catalogue.first_to_load()
    except AsrdError as error:
        raise StartupError(str(error), Exit.UNAVAILABLE) from None
    if hub.config.loading_of(hub.config.provider) is not Loading.LAZY and not any(
        key.provider == hub.config.provider for key in wanted
    ):
        _tell_missing(hub)
    for key in wanted:
        hub.begin_loading(key)
    eager = [key for key, loading in wanted.items() if loading is Loading.EAGER]
    await asyncio.gather(*(_come_up(hub, key) for key in eager))


async def _come_up(hub: Hub, key: ModelKey) -> None:
    try:
        await hub.ensure(key)
    except ProtocolError as error:
        if hub.config.of(key.provider).required:
            raise StartupError(error.message, Exit.UNAVAILABLE) from None
        log.error("first_load_failed", model=str(key), problem=error.message)


def _tell_missing(hub: Hub) -> None:
    try:
        hub.resolve(None, None)
    except ProtocolError as error:
        log.error("default_model_unavailable", code=error.code, problem=error.message)
