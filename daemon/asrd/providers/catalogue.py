"""Which model is meant: names that were asked for become keys, and keys chains of fallbacks."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from operator import index

import structlog
from msgspec import convert

from asrd.choices import Loading, Setting
from asrd.config import LOCAL_GROUP, Config
from asrd.errors import ModelUnavailable, ProviderError
from asrd.providers import calls
from asrd.providers.inspection import usable_cores
from asrd.providers.registry import Registered, Registry, UnknownProvider
from asrd.providers.residency import Footprint
from asrd.secrets import hidden, unwrapped

log = structlog.get_logger()

AUTO = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelKey:
    """What is loaded once, however many want it: a model as one provider is to run it.

    `settings` hold device, compute type and whatever else the provider knows, as they are spread
    over so many decodes as the configuration lets run side by side.
    """

    provider: str
    model: str
    settings: tuple[tuple[str, Setting], ...] = field(default=(), repr=False)

    def __hash__(self) -> int:  # several for each turn; the settings hardly ever differ
        return hash((self.provider, self.model))

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


def decodes_at_most(config: Config, provider: str, cores: int) -> int:
    """How many decodes of a provider on this machine the configuration ever lets run at a time.

    That is the slots of its device group, one where nobody says how many, and no more than its own
    `max_decodes`. `cores` are the machine's, which `auto` is bounded by.
    """
    own, rule = config.of(provider), config.scheduling
    if own.device_group != LOCAL_GROUP:
        slots = rule.group_slots.get(own.device_group, 1)
    elif rule.slots == "auto":
        slots = max(rule.concurrency.min_slots, rule.concurrency.max_slots or cores)
    else:
        slots = rule.slots
    return min(slots, own.max_decodes or slots)


class Catalogue:
    """All models that may be asked for, by the names that users know."""

    def __init__(self, registry: Registry, config: Config) -> None:
        self._registry = registry
        self._config = config
        self._spread: dict[str, tuple[tuple[str, Setting], ...]] = {}

    def apply(self, config: Config) -> None:
        """Go by another configuration: the same names may stand for other keys from now on."""
        self._config = config
        self._spread.clear()

    def is_current(self, key: ModelKey) -> bool:
        """Whether the key's settings are those that its provider's models are run with now."""
        return key.settings == self._settings(key.provider, self._registry.get(key.provider))

    @property
    def names(self) -> list[str]:
        """The providers, by name."""
        return list(self._registry.registered)

    def key(self, provider: str | None, model: str | None) -> ModelKey:
        """The key for what was asked, with the defaults filled in.

        Raises:
            UnknownProvider: no plugin brings it.
            ModelUnavailable: the model is not here; the text names the command that gets it.
        """
        name = self._config.provider if provider in (None, AUTO) else str(provider)
        entry = self._registry.get(name)
        status = entry.status(model or self.default_model(name))
        if not status.is_present:
            remedy = f": {status.remedy}" if status.remedy else ""
            raise ModelUnavailable(f"{status.problem}{remedy}")
        return ModelKey(provider=name, model=status.model, settings=self._settings(name, entry))

    def _settings(self, name: str, entry: Registered) -> tuple[tuple[str, Setting], ...]:
        """The settings that the provider's models are run with, in order; found out once."""
        if name not in self._spread:
            self._spread[name] = self._find_settings(name, entry)
        return self._spread[name]

    def _find_settings(self, name: str, entry: Registered) -> tuple[tuple[str, Setting], ...]:
        own = self._given(name)
        decodes = decodes_at_most(self._config, name, self._cores)
        if decodes > 1 and not entry.provider.is_remote:
            try:
                spread = dict(entry.provider.spread(own, decodes))
                return tuple(sorted(convert(spread, dict[str, Setting]).items()))
            except Exception as error:  # noqa: BLE001 - a stranger's plugin may raise anything
                self._warn("settings_not_spread", name, error)
        return tuple(sorted(own.items()))

    def _given(self, name: str) -> dict[str, Setting]:
        """The settings that a provider is handed, with the secrets among them: all that is said
        of them in a log or an error goes through `_safely`."""
        return unwrapped(self._config.of(name).settings)

    def _safely(self, name: str, problem: str) -> str:
        """What a plugin says of its settings, with a mask in place of each secret."""
        return hidden(problem, self._config.of(name).settings)

    def _warn(self, event: str, name: str, error: Exception) -> None:
        problem = self._safely(name, f"{type(error).__name__}: {error}")
        log.warning(event, provider=name, problem=problem)

    @cached_property
    def _cores(self) -> int:
        return usable_cores()

    def default_model(self, provider: str) -> str:
        """The model of that provider for those who name none."""
        configured = self._config.model if provider == self._config.provider else None
        return configured or self._registry.get(provider).provider.default_model

    def chain(self, provider: str | None, model: str | None) -> tuple[ModelKey | None, ...]:
        """What was asked for, and what takes over, in order, while that is unavailable.

        None stands for what is not here.

        Raises:
            UnknownProvider: no plugin brings what was asked for.
            ModelUnavailable: none of them is here; tells of the one that was asked for.
        """
        found: list[ModelKey | None] = []
        missing: list[ModelUnavailable | UnknownProvider] = []
        name = self._config.provider if provider in (None, AUTO) else str(provider)
        self._registry.get(name)
        for entry in (None, *self._config.fallback_of(name)):
            key = None
            try:
                key = self.key(name, model) if entry is None else self.key(*_split(entry))
            except (ModelUnavailable, UnknownProvider) as error:
                missing.append(error)  # a fallback's plugin may be broken
            if key is None or key not in found:
                found.append(key)
        if not any(found):
            raise missing[0]
        return tuple(found)

    def smaller(self, key: ModelKey) -> tuple[ModelKey, ...]:
        """The models of the provider's list (`models`) that are here and smaller, largest first."""
        sizes: dict[ModelKey, int] = {}
        for model in self._config.of(key.provider).models:
            try:
                other = self.key(key.provider, model)
            except ModelUnavailable:
                continue
            sizes[other] = self.size(other).memory_bytes
        limit = self.size(key).memory_bytes
        fitting = [other for other, size in sizes.items() if 0 < size < limit]
        return tuple(sorted(fitting, key=lambda other: -sizes[other]))

    def check(self) -> None:
        """See whether the configuration names what exists, and sets what can be set.

        Raises:
            ProviderError: it does not; the message names the nearest that does, on a line for each
                provider that something is wrong with.
            UnknownProvider: so for a provider.
            ModelUnavailable: so for a model, if nothing could bring it here.
        """
        names = [_split(entry)[0] for entry in self._config.fallback]
        for name, own in self._config.providers.items():
            names += [name, *(_split(entry)[0] for entry in own.fallback or ())]
        problems = []
        for name in dict.fromkeys((self._config.provider, *names)):
            if name not in self._registry.broken:
                try:
                    self._check_settings(name)
                except (ProviderError, UnknownProvider) as error:
                    problems.append(error)
        if len(problems) > 1:
            raise ProviderError("\n".join(map(str, problems)))
        if problems:
            raise problems[0]
        for name, model in self._named_models():
            status = self._registry.get(name).status(model)
            if not status.is_present and not status.remedy:
                raise ModelUnavailable(status.problem)
            if not status.is_present:
                log.warning("model_missing", problem=status.problem, remedy=status.remedy)

    def _check_settings(self, name: str) -> None:
        entry = self._registry.get(name)
        try:
            entry.check_settings(self._given(name))
        except ProviderError as error:
            # Not from it: the plugin's own words may be shown with a traceback.
            raise ProviderError(self._safely(name, str(error))) from None

    def _named_models(self) -> Iterator[tuple[str, str]]:
        """Every model that the configuration names, of plugins that are well."""
        config = self._config
        named = [(config.provider, config.model), *map(_split, config.fallback)]
        for name, own in config.providers.items():
            named += [(name, model) for model in own.models]
            named += map(_split, own.fallback or ())
        for name, model in named:
            if model is not None and name not in self._registry.broken:
                yield name, model

    def first_to_load(self) -> dict[ModelKey, Loading]:
        """What is loaded when the daemon starts, and whether that is waited for.

        Raises:
            UnknownProvider, ModelUnavailable: as by `key`; of a provider that is not required it
                is left out instead.
        """
        wanted: dict[ModelKey, Loading] = {}
        for name in dict.fromkeys((self._config.provider, *self._config.providers)):
            loading = self._config.loading_of(name)
            if loading is Loading.LAZY:
                continue
            for model in self._config.of(name).models or (None,):
                try:
                    wanted[self.key(name, model)] = loading
                except (UnknownProvider, ModelUnavailable):
                    if self._config.of(name).required:
                        raise
        return wanted

    def size(self, key: ModelKey) -> Footprint:
        """The least that a model takes with its settings, judged by its files."""
        entry = self._registry.get(key.provider)
        try:
            size_bytes = index(entry.provider.size_bytes(key.model, dict(key.settings)))
        except Exception as error:  # noqa: BLE001 - a stranger's plugin may raise anything
            self._warn("size_unknown", key.provider, error)
            size_bytes = entry.status(key.model).size_bytes
        return Footprint(memory_bytes=size_bytes)

    def wants_gpu(self, key: ModelKey) -> bool:
        """Whether a model is put into the memory of an NVIDIA GPU of this machine, if it has one.

        A plugin that fails at the question is taken to say no.
        """
        provider = self._registry.get(key.provider).provider
        try:
            return not provider.is_remote and bool(provider.wants_gpu(dict(key.settings)))
        except Exception as error:  # noqa: BLE001 - a stranger's plugin may raise anything
            self._warn("gpu_wish_unknown", key.provider, error)
            return False

    def load_call(self, key: ModelKey, call_id: int) -> calls.AnyCall:
        """The call that loads a model."""
        return calls.LoadModel(
            id=call_id,
            plugin=self._registry.get(key.provider).plugin,
            provider=key.provider,
            model=key.model,
            settings=dict(key.settings),
            warm_up=self._config.of(key.provider).warm_up,
        )


def _split(name: str) -> tuple[str, str | None]:
    """`provider` or `provider/model`, whose model may be a path."""
    provider, _, model = name.partition("/")
    return provider, model or None
