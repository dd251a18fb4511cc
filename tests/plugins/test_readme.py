"""plugins/README.md: its example is complete, is 40 lines, and works; its tables are true."""

import dataclasses
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import numpy as np
import pytest

import asrd
from asrd.providers import calls
from asrd.providers.engine import Engine
from asrd.providers.registry import ENTRY_POINT_GROUP, Registry
from support.audio import SAMPLE_RATE, Samples, silence
from support.workers import item

README = (Path(__file__).parents[2] / "plugins" / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_example_is_40_lines_and_passes_its_own_test(tmp_path: Path) -> None:
    plugin, _, test = blocks("python")
    assert len([line for line in plugin.splitlines() if line.strip()]) <= 40
    (tmp_path / "asrd_pitch.py").write_text(plugin, encoding="utf-8")
    (tmp_path / "test_pitch.py").write_text(test, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_pitch.py"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
    assert "2 passed" in result.stdout


def test_the_example_that_hears_bit_by_bit_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, code in zip(("pitch", "melody"), blocks("python"), strict=False):
        (tmp_path / f"asrd_{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry()
    registry.add("asrd_melody")
    engine = Engine(registry.get("melody").provider.load("notes", {}))
    assert engine.abilities.feed_s == 0.5
    melody = np.concatenate([tone(440), silence(0.5), tone(494), tone(523)])
    whole = calls.Read(hypothesis=asrd.Hypothesis(text="A B C", stable=5))
    assert engine.read([heard(melody)], lambda: True) == [whole]
    pieces = [melody[start : start + 5_000] for start in range(0, melody.size, 5_000)]
    told = []
    for number, piece in enumerate(pieces):
        is_last = number == len(pieces) - 1
        feeding = calls.Feeding(utterance=1, is_first=number == 0, is_last=is_last)
        told += engine.read([heard(piece, feeding)], lambda: True)
    assert [each.hypothesis.text for each in told if isinstance(each, calls.Read)] == [
        "",
        "A",
        "A",
        "A",
        "A B",
        "A B",
        "A B C",
    ]
    with pytest.raises(asrd.DecodeCancelled):
        engine.read([heard(melody)], lambda: False)


def tone(pitch_hz: float) -> Samples:
    seconds = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    return np.sin(2 * np.pi * pitch_hz * seconds).astype(np.float32)


def heard(audio: Samples, feeding: calls.Feeding | None = None) -> calls.Item:
    return msgspec.structs.replace(item(), audio=audio.tobytes(), feeding=feeding)


def test_the_registry_takes_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "asrd_pitch.py").write_text(blocks("python")[0], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry()
    registry.add("asrd_pitch")
    provider = registry.get("pitch").provider
    assert provider.status("notes").is_present
    assert provider.sample() is None


def test_the_packaging_names_the_group_that_is_searched() -> None:
    (project,) = (tomllib.loads(text) for text in blocks("toml"))
    assert project["project"]["entry-points"] == {ENTRY_POINT_GROUP: {"pitch": "asrd_pitch"}}


@pytest.mark.parametrize(
    ("plugin", "settings"),
    [
        ("asrd_moonshine", "MoonshineSettings"),
        ("asrd_faster_whisper", "FasterWhisperSettings"),
        ("asrd_whisper_cpp", "WhisperCppSettings"),
        ("asrd_process", "ProcessSettings"),
        ("asrd_echo", "EchoSettings"),
    ],
)
def test_the_table_lists_every_setting_and_default_model(plugin: str, settings: str) -> None:
    registry = Registry()
    registry.add(plugin)
    (provider,) = registry.providers.values()
    (row,) = re.findall(rf"^\| `{provider.name}` \|.*$", README, flags=re.MULTILINE)
    _, _, default_model, _, listed, _ = row.split("|")
    assert f"`{provider.default_model}`" in default_model
    fields = dataclasses.fields(getattr(importlib.import_module(plugin), settings))
    assert re.findall(r"`(\w+)`", listed) == [field.name for field in fields]


def public_parts(kind: type) -> list[str]:
    """Its methods and attributes; those without a value are among the annotations alone."""
    names = dict.fromkeys([*vars(kind), *vars(kind).get("__annotations__", {})])
    return [name for name in names if not name.startswith("_")]


@pytest.mark.parametrize("kind", [asrd.Provider, asrd.Model])
def test_it_speaks_of_every_method_and_attribute(kind: type) -> None:
    parts = public_parts(kind)
    assert len(parts) > 3
    missing = [part for part in parts if not re.search(rf"`[^`\n]*\b{part}\b[^`\n]*`", README)]
    assert missing == []


@pytest.mark.parametrize("kind", [asrd.Provider, asrd.Model])
def test_what_has_a_default_is_among_what_may_be_left_out(kind: type) -> None:
    """Said in bold, at the start of what is said of it; a mention elsewhere is not enough."""
    (may_be_left_out,) = re.findall(r"^## What may be left out$(.*?)^## ", README, re.M | re.S)
    told = set(re.findall(r"\*\*`(?:Model\.)?(\w+)(?:\([^`]*\))?`\*\*", may_be_left_out))
    demanded = {part for part in public_parts(kind) if part not in vars(kind)}
    optional = set(public_parts(kind)) - demanded - kind.__abstractmethods__  # type: ignore[attr-defined]
    assert optional
    assert optional <= told


@pytest.mark.parametrize(
    "kind",
    [
        asrd.ModelStatus,
        asrd.RequestUnsupported,
        asrd.DecodeCancelled,
        asrd.Abilities,
        asrd.DecodeRequest,
        asrd.Boundary,
        asrd.StreamingModel,
        asrd.UtteranceReader,
    ],
)
def test_it_speaks_of_every_type_of_the_api(kind: type) -> None:
    assert re.search(rf"`[^`\n]*\b{kind.__name__}\b[^`\n]*`", README)


@pytest.mark.parametrize("kind", [asrd.StreamingModel, asrd.UtteranceReader])
def test_it_tells_what_each_part_of_a_streaming_engine_does(kind: type) -> None:
    """Said in bold, at the start of what is said of it."""
    (section,) = re.findall(r"^## An engine that hears bit by bit$(.*?)^## ", README, re.M | re.S)
    told = set(re.findall(r"^- \*\*`(\w+)(?:\([^`]*\))?`\*\*", section, re.M))
    assert len(public_parts(kind)) == 3
    assert set(public_parts(kind)) <= told


def test_the_table_of_abilities_has_each_of_them_with_its_default() -> None:
    (table,) = re.findall(r"^\| `Abilities` \|.*\n\| --- .*\n((?:\|.*\n)+)", README, re.M)
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()]
    assert [row[:2] for row in rows] == [
        [f"`{field.name}`", f"`{field.default!r}`"] for field in dataclasses.fields(asrd.Abilities)
    ]
    assert all(len(row) == 4 and row[2] and row[3] for row in rows)


def test_it_speaks_of_each_part_of_a_request() -> None:
    (told,) = re.findall(r"^- \*\*`decode_batch\(requests\)`\*\*(.*?)^- ", README, re.M | re.S)
    assert [
        f.name for f in dataclasses.fields(asrd.DecodeRequest) if f"`{f.name}`" not in told
    ] == []


def test_every_name_of_the_api_that_it_uses_exists() -> None:
    names = {
        name.strip()
        for imported in re.findall(r"^from asrd import (.*)$", README, flags=re.MULTILINE)
        for name in imported.split(",")
    }
    assert names <= set(asrd.__all__)
