"""The models that are loaded: asked for by name, kept, and given back."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import psutil
import pytest

from asrd.config import Setting
from asrd.errors import ModelUnavailable, ProviderError
from asrd.providers import calls
from asrd.providers.catalogue import Catalogue, ModelKey
from asrd.providers.pool import ModelPool
from asrd.providers.registry import Registry, UnknownProvider, discover
from asrd.providers.lifecycle import ModelState
from support.workers import UNRULY, decode

ECHO = ModelKey(provider="echo", model="echo")

Settings = Mapping[str, Mapping[str, Setting]]


@pytest.fixture(scope="module")
def registry() -> Registry:
    registry = discover()
    registry.add(UNRULY)
    return registry


@asynccontextmanager
async def pool_of(
    registry: Registry,
    settings: Settings | None = None,
    *,
    default: str = "echo",
    model: str | None = None,
) -> AsyncIterator[tuple[ModelPool, list[ModelKey]]]:
    """A pool, and the keys of the models that changed."""
    changed: list[ModelKey] = []
    pool = ModelPool(
        registry,
        default_provider=default,
        default_model=model,
        settings=settings or {},
        on_change=changed.append,
    )
    try:
        yield pool, changed
    finally:
        await pool.stop()


def test_names_that_are_left_out_are_the_defaults(registry: Registry) -> None:
    async def scenario() -> None:
        async with pool_of(registry, default="unruly", model="slow") as (pool, _):
            assert pool.resolve(None, None) == ModelKey(provider="unruly", model="slow")
            assert pool.resolve("unruly", None) == ModelKey(provider="unruly", model="slow")
            assert pool.resolve(None, "fine") == ModelKey(provider="unruly", model="fine")
            assert pool.resolve("echo", None) == ECHO  # the default model is unruly's alone
            assert str(ECHO) == "echo/echo"

    asyncio.run(scenario())


def test_a_model_that_is_not_here_is_told_with_the_command_that_gets_it(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        async with pool_of(registry) as (pool, _):
            with pytest.raises(ModelUnavailable, match=r"-m moonshine_voice\.download --stt"):
                pool.resolve("moonshine", "base-en")
            with pytest.raises(ModelUnavailable, match=r"no 'other'\.$"):
                pool.resolve("echo", "other")
            with pytest.raises(UnknownProvider):
                pool.resolve("ech", None)
            assert not pool.residents

    asyncio.run(scenario())


@pytest.mark.parametrize("model", ["~nobody-of-this-name/x", "/\0", "/" + "x" * 300, "/\ud800"])
@pytest.mark.parametrize("provider", ["moonshine", "faster_whisper", "whisper_cpp"])
def test_a_strange_name_of_a_model_is_told_and_never_a_crash(
    registry: Registry, provider: str, model: str
) -> None:
    async def scenario() -> None:
        async with pool_of(registry) as (pool, _):
            with pytest.raises(ModelUnavailable):
                pool.resolve(provider, model)

    asyncio.run(scenario())


def test_a_model_is_loaded_once_and_with_its_providers_settings(registry: Registry) -> None:
    async def scenario() -> None:
        settings = {"unruly": {"deed": "refuse"}}
        key = ModelKey(provider="unruly", model="fine")
        async with pool_of(registry, settings) as (pool, changed):
            assert not pool.takes_work(key)
            resident = pool.resident(key)
            assert pool.resident(key) is resident
            await resident.ensure()
            assert pool.takes_work(key)
            assert changed == [key, key]
            with pytest.raises(ProviderError, match="not to be read"):
                await resident.call(decode(is_marked=True))
            assert pool.residents == {key: resident}

    asyncio.run(scenario())


def children() -> set[int]:
    """This process's children; daemons of other tests may be among them."""
    return {child.pid for child in psutil.Process().children()}


def test_unloading_gives_the_memory_back(registry: Registry) -> None:
    """The worker is gone, and with it every byte."""

    async def scenario() -> None:
        async with pool_of(registry) as (pool, changed):
            before = children()
            await pool.resident(ECHO).ensure()
            pid = pool.resident(ECHO).pid
            assert pid is not None
            assert psutil.Process(pid).memory_info().rss > 10_000_000
            await pool.unload(ECHO)
            assert not psutil.pid_exists(pid)
            assert children() == before
            assert not pool.takes_work(ECHO)
            assert not pool.residents
            assert len(changed) == 3
            await pool.unload(ECHO)  # nothing to do

    asyncio.run(scenario())


def test_work_for_an_unloaded_model_loads_it_again(registry: Registry) -> None:
    async def scenario() -> None:
        async with pool_of(registry) as (pool, _):
            await pool.resident(ECHO).ensure()
            await pool.unload(ECHO)
            pool.need(ECHO)
            pool.need(ECHO)
            assert pool.resident(ECHO).state is ModelState.STARTING
            await pool.resident(ECHO).ensure()
            assert isinstance(await pool.resident(ECHO).call(decode()), calls.Decoded)

    asyncio.run(scenario())


def test_a_model_that_cannot_be_had_takes_work_so_that_nobody_waits_for_it(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        key = ModelKey(provider="unruly", model="bad_at_load")
        async with pool_of(registry, {"unruly": {"deed": "raise"}}) as (pool, _):
            with pytest.raises(ProviderError):
                await pool.resident(key).ensure()
            assert pool.takes_work(key)
            with pytest.raises(ProviderError, match="unruly by design"):
                await pool.resident(key).call(decode())

    asyncio.run(scenario())


def test_after_the_end_nothing_is_loaded_any_more(registry: Registry) -> None:
    async def scenario() -> None:
        async with pool_of(registry) as (pool, _):
            before = children()
            await pool.resident(ECHO).ensure()
            await pool.stop()
            pool.need(ECHO)
            assert not pool.residents
            assert children() == before

    asyncio.run(scenario())
