"""The models that providers know, and which of them a user means."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from asrd.cli.exits import CommandError, Exit

if TYPE_CHECKING:
    from asrd.providers.registry import Registered, Registry
    from asrd.providers.spec import ModelStatus

SEE = "see `asrd models list`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One model of one provider. `is_default`: it is used where its provider alone is named."""

    provider: str
    status: "ModelStatus"
    is_default: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """The provider and the model's one right name."""
        return self.provider, self.status.model

    @property
    def name(self) -> str:
        """How commands name it."""
        return f"{self.provider}/{self.status.model}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModels:
    """The models of all providers, in the providers' order; `broken` maps names to reasons."""

    registry: "Registry"
    entries: tuple[Entry, ...]
    broken: dict[str, str]

    def of(self, provider: str) -> tuple[Entry, ...]:
        """The models of one provider."""
        return tuple(entry for entry in self.entries if entry.provider == provider)

    def find(self, name: str, provider: str | None = None) -> Entry:
        """The model that `name` stands for: `provider/model`, or one that one provider has.

        Args:
            name: as the user typed it.
            provider: whose model it is; then `name` is the model alone.

        Raises:
            UnknownProvider: there is no such provider.
            CommandError: there is no such model, or several have it; names the nearest.
        """
        if provider is None:
            owner, is_split, model = name.partition("/")
            if is_split and owner in self.registry.registered:
                provider, name = owner, model
        if provider is not None:
            return self._find_in(provider, name)
        # A provider may know names beyond its list, such as any path: those need its name.
        found = [entry for owner in self.registry.registered for entry in self._known(owner, name)]
        if len(found) > 1:
            choices = " or ".join(entry.name for entry in found)
            raise CommandError(f"several providers have a model {name!r}", Exit.USAGE, choices)
        if not found:
            raise self._unknown(name)
        return found[0]

    def unlisted(self, keys: Iterable[tuple[str, str]]) -> list[Entry]:
        """Those of `keys` that no provider lists, such as models given by path."""
        listed = {entry.key for entry in self.entries}
        return [
            Entry(provider=provider, status=self.registry.registered[provider].status(model))
            for provider, model in keys
            if provider in self.registry.registered and (provider, model) not in listed
        ]

    def right_name(self, provider: str, model: str) -> str:
        """What the provider calls the model that some also call `model`."""
        registered = self.registry.registered.get(provider)
        return model if registered is None else registered.status(model).model

    def _find_in(self, provider: str, model: str) -> Entry:
        entry = self.registry.get(provider)  # raises UnknownProvider
        known = self._known(provider, model)
        if known:
            return known[0]
        status = entry.status(model)
        if not model or not (status.is_present or status.remedy):
            raise self._unknown(f"{provider}/{model}")
        return Entry(provider=provider, status=status)

    def _known(self, provider: str, name: str) -> list[Entry]:
        """The provider's model of that name, or of that other name for it."""
        own = self.of(provider)
        listed = [entry for entry in own if entry.status.model == name]
        if listed or not name:
            return listed
        right_name = self.right_name(provider, name)
        return [entry for entry in own if entry.status.model == right_name]

    def _unknown(self, name: str) -> CommandError:
        names = [entry.name for entry in self.entries]
        if "/" not in name:
            names = [entry.status.model for entry in self.entries]
        near = get_close_matches(name, dict.fromkeys(names), n=1)
        remedy = f"did you mean {near[0]!r}?" if near else SEE
        return CommandError(f"there is no model {name[:128]!r}", Exit.USAGE, remedy)


def read_known_models(only: str | None = None) -> KnownModels:
    """What all plugins have, or one provider. Looks at the disk and imports no engine."""
    from asrd.providers.registry import discover

    registry = discover()
    entries: list[Entry] = []
    broken = dict(registry.broken)
    for name, registered in registry.registered.items():
        if only not in (None, name):
            continue
        try:
            entries += _entries(name, registered)
        except Exception as error:  # noqa: BLE001 - a stranger's plugin may raise anything
            broken[name] = f"{type(error).__name__}: {error}"
    return KnownModels(registry=registry, entries=tuple(entries), broken=broken)


def _entries(name: str, registered: "Registered") -> Iterator[Entry]:
    provider = registered.provider
    default = registered.status(provider.default_model).model
    for status in list(provider.models()):
        yield Entry(provider=name, status=status, is_default=status.model == default)
