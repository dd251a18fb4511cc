"""What a shell may complete: names of providers and models, read from the disk in milliseconds.

Each takes what is typed so far; typer calls it with the context of the half-typed command.
"""

import typer


def providers(incomplete: str) -> list[str]:
    """Names of providers."""
    from asrd.providers.registry import discover

    return [name for name in discover().providers if name.startswith(incomplete)]


def models_of_provider(context: typer.Context, incomplete: str) -> list[str]:
    """Models of the provider that the command names, or of the default one."""
    from asrd.cli.configured import configured_provider
    from asrd.cli.known_models import read_known_models

    provider = str(context.params.get("provider") or configured_provider())
    names = [entry.status.model for entry in read_known_models(only=provider).entries]
    return [name for name in names if name.startswith(incomplete)]


def models(context: typer.Context, incomplete: str) -> list[str]:
    """Models as `asrd models` takes them: `provider/model`, behind --provider the model alone."""
    from asrd.cli.known_models import read_known_models

    if context.params.get("provider"):
        return models_of_provider(context, incomplete)
    return [
        entry.name for entry in read_known_models().entries if entry.name.startswith(incomplete)
    ]
