"""`asrd providers`: which engines there are and what they lack."""

from dataclasses import asdict, dataclass

from asrd.cli.options import JsonOption
from asrd.cli.printing import say


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One provider, or one plugin that could not be loaded."""

    provider: str
    is_installed: bool
    is_default: bool
    model: str = ""
    is_model_present: bool = False
    problem: str = ""
    remedy: str = ""
    summary: str = ""


def providers(json: JsonOption = False) -> None:
    """List the speech engines: installed, model present, default, what to do when not."""
    rows = find()
    if json:
        from asrd.cli.transcripts import to_json

        say(to_json([asdict(row) for row in rows]))
    else:
        say(render(rows))


def find() -> list[Row]:
    """All providers and broken plugins, by name. Looks at the disk and imports no engine."""
    from asrd.cli.configured import configured_provider
    from asrd.providers.registry import discover

    registry = discover()
    default = configured_provider()
    rows = []
    for name, provider in registry.providers.items():
        try:
            status = provider.status(provider.default_model)
        except Exception as error:  # noqa: BLE001 - a stranger's plugin may raise anything
            registry.broken[name] = f"{type(error).__name__}: {error}"
            continue
        rows.append(
            Row(
                provider=name,
                is_installed=True,
                is_default=name == default,
                model=status.model,
                is_model_present=status.is_present,
                problem=status.problem,
                remedy=status.remedy,
                summary=provider.summary,
            )
        )
    for name, reason in registry.broken.items():
        rows.append(
            Row(
                provider=name,
                is_installed=False,
                is_default=name == default,
                problem=reason,
                remedy="mend or uninstall the plugin",
            )
        )
    return sorted(rows, key=lambda row: row.provider)


def render(rows: list[Row]) -> str:
    """A table, and below it what to do, each on lines of its own so that it can be copied."""
    from asrd.cli.tables import render as render_table

    if not rows:
        return "no providers are installed: install asrd again"
    table = render_table(
        ("PROVIDER", "INSTALLED", "MODEL", "PRESENT", "DEFAULT", ""),
        [
            (
                row.provider,
                "yes" if row.is_installed else "broken",
                row.model,
                "yes" if row.is_model_present else "no",
                "yes" if row.is_default else "",
                row.summary,
            )
            for row in rows
        ],
    )
    todo = [f"\n{row.provider}: {row.problem}\n  {row.remedy}" for row in rows if row.problem]
    return "\n".join([table, *todo])
