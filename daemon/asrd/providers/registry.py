"""Which providers there are: plugins found by their entry points, each loaded on its own.

A plugin that raises while it registers is a line in `asrd providers` and disturbs no other: hence
one plugin manager for each instead of one for all, whose loader would stop at the first error.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import entry_points

import pluggy

from asrd.choices import Setting
from asrd.errors import AsrdError, ProviderError
from asrd.providers.spec import Hooks, ModelStatus, Provider

ENTRY_POINT_GROUP = "asrd"


class UnknownProvider(AsrdError):
    """No plugin brings a provider of that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A provider and the import path of the plugin that brings it."""

    provider: Provider
    plugin: str

    def status(self, model: str) -> ModelStatus:
        """The provider's answer, or what kept it from answering: names come from clients."""
        try:
            return self.provider.status(model)
        except Exception as error:  # noqa: BLE001 - a stranger's plugin may raise anything
            text = f"{self.provider.name} cannot tell of the model {model!r}"
            problem = f"{text}: {type(error).__name__}: {error}"
            return ModelStatus(model=model, is_present=False, problem=problem)

    def check_settings(self, settings: Mapping[str, Setting]) -> None:
        """Have the provider look at its settings. Raises ProviderError, whatever it raises."""
        try:
            self.provider.check_settings(settings)
        except ProviderError:
            raise
        except Exception as error:
            text = f"{self.provider.name} cannot read its settings"
            raise ProviderError(f"{text}: {type(error).__name__}: {error}") from error


@dataclass(slots=True)
class Registry:
    """All providers by name, and why a plugin brought none."""

    registered: dict[str, Registered] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)

    @property
    def providers(self) -> dict[str, Provider]:
        """All providers by name."""
        return {name: entry.provider for name, entry in self.registered.items()}

    def get(self, name: str) -> Registered:
        """The provider of that name. Raises UnknownProvider, naming the nearest."""
        entry = self.registered.get(name)
        if entry is None:
            near = get_close_matches(name, self.registered, n=1)
            known = ", ".join(sorted(self.registered))
            hint = f"did you mean {near[0]!r}?" if near else f"there are {known}"
            reason = f" (its plugin is broken: {self.broken[name]})" if name in self.broken else ""
            raise UnknownProvider(f"there is no provider {name[:64]!r}{reason}; {hint}")
        return entry

    def add(self, plugin: str) -> None:
        """Register what a plugin brings. Raises whatever the plugin raises."""
        manager = pluggy.PluginManager("asrd")
        manager.add_hookspecs(Hooks)
        manager.register(importlib.import_module(plugin), plugin)
        manager.check_pending()
        brought: dict[str, Registered] = {}

        def register(provider: object) -> None:
            if not isinstance(provider, Provider):
                raise TypeError(f"{provider!r} is not a Provider")
            taken = self.registered.get(provider.name) or brought.get(provider.name)
            if taken is not None:
                raise ValueError(f"provider {provider.name!r} is already brought by {taken.plugin}")
            brought[provider.name] = Registered(provider=provider, plugin=plugin)

        manager.hook.asrd_register_providers(register=register)
        self.registered |= brought  # all or none


def discover() -> Registry:
    """Load every plugin that is installed; the broken ones are noted, not raised."""
    registry = Registry()
    for entry_point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        try:
            registry.add(entry_point.value)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a stranger may raise anything
            registry.broken[entry_point.name] = f"{type(error).__name__}: {error}"
    return registry
