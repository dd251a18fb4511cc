"""The configuration written: the annotated file, the document, and what is in force."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.config import Config, ProviderConfig
from asrd.configuring.layers import Places, Value
from asrd.configuring.reading import Reading, read
from asrd.configuring.schema import A_PROVIDER, dotted, flat, tables
from asrd.configuring.words import toml, toml_key
from asrd.configuring.writing import annotated, document, log_fields, shown, shown_as_json
from asrd.secrets import Secret
from support.profiles import examples

DOCUMENT = Path(__file__).parents[2] / "daemon" / "CONFIGURATION.md"


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(system=tmp_path / "system.toml", user=tmp_path / "user.toml")


@pytest.fixture
def reading(places: Places, monkeypatch: pytest.MonkeyPatch) -> Reading:
    """A configuration with a bit of everything."""
    key = places.user.with_name("key")
    key.write_text("hunter2")
    places.user.write_text(
        'provider = "echo"\n[scheduling.max_waiting]\n"a disc" = 7\n[providers.echo.settings]\n'
        f'one = {{ file = "{key}" }}\napi_key = "written down"\nlatency_ms = 5\n'
    )
    monkeypatch.setenv("ASRD_LIMITS__MAX_SESSIONS", "500")
    return read(places, lambda _: {("residency", "max_models"): Value(2, "--max-models")})


# ── the annotated file ────────────────────────────────────────────────────────────────────────


def uncommented(text: str) -> str:
    """With every key set: their lines have no space behind the mark."""
    lines = text.splitlines()
    return "\n".join(
        line[1:] if line.startswith("#") and line[1:2].strip() else line for line in lines
    )


def test_the_annotated_file_as_it_is_sets_nothing(places: Places) -> None:
    places.user.write_text(annotated(), encoding="utf-8")
    found = read(places)
    assert found.config == Config()
    assert not found.values


def test_with_every_line_uncommented_it_is_the_defaults_exactly(places: Places) -> None:
    """And sets every key there is."""
    places.user.write_text(uncommented(annotated()), encoding="utf-8")
    found = read(places)
    expected = replace(Config(), providers={A_PROVIDER: ProviderConfig()})
    assert found.config == expected
    assert found.values.keys() == dict(flat(expected)).keys()
    for path, value in flat(expected):
        assert type(value) is type(dict(flat(found.config))[path]), path


def test_each_key_stands_in_it_with_its_meaning_its_range_and_the_reason() -> None:
    text = " ".join(annotated().replace("\n#", "").split())
    for table in tables():
        for key in table.keys:
            assert key.meaning in text, key.name
            assert key.takes.reason in text, key.name
    assert "100 to 5000: under 100 ms speech is cut into fragments, over 5000 ms it feels" in text


def test_its_lines_are_short_enough_to_read() -> None:
    assert max(map(len, annotated().splitlines())) <= 100


# ── the document ──────────────────────────────────────────────────────────────────────────────


def test_the_document_is_what_the_code_writes() -> None:
    """`cd tests && python -m support.write_configuration > ../daemon/CONFIGURATION.md`."""
    assert DOCUMENT.read_text(encoding="utf-8") == document()


def test_every_key_has_its_row() -> None:
    text = document()
    for table in tables():
        head = f"### `[{dotted(table.path)}]`" if table.path else "### At the top of the file"
        chapter = text.partition(f"{head}\n")[2].partition("\n### ")[0]
        rows = [line for line in chapter.splitlines() if line.startswith("| `")]
        assert [row.split("`")[1] for row in rows] == [key.name for key in table.keys]
        for row, key in zip(rows, table.keys, strict=True):
            assert f"`{toml(key.default)}`" in row
            assert row.endswith(f"{key.meaning} |")


def test_the_example_of_secrets_is_one(places: Places) -> None:
    (block,) = document().partition("```toml\n")[2].partition("```")[::2][:1]
    places.user.write_text(block)
    settings = read(places, with_secrets=False).config.of("openai").settings
    assert {type(value) for value in settings.values()} == {Secret}


def test_the_example_of_an_error_is_what_is_told() -> None:
    """But for the place, which no test can write to."""
    (line,) = [line for line in document().splitlines() if line.startswith("/etc/")]
    takes = {key.name: key.takes for table in tables() for key in table.keys}["endpointing_ms"]
    assert line == (
        "/etc/asrd/config.toml: endpointing_ms: 50 is out of range, 100 to 5000: " + takes.reason
    )


def test_the_example_of_the_environment_is_taken(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = document().partition("```sh\nASRD_")[2].partition("```")[0]
    for line in f"ASRD_{block}".splitlines():
        name, _, value = line.partition("=")
        monkeypatch.setenv(name, value.strip("'"))
    config = read(places, with_secrets=False).config
    assert (config.endpointing_ms, config.limits.max_sessions) == (800, 500)
    assert config.fallback == ("whisper_cpp/base", "moonshine")
    assert config.of("faster_whisper").settings == {"compute_type": "int8"}
    assert set(config.of("openai").settings) == {"api_key"}


# ── in force ──────────────────────────────────────────────────────────────────────────────────


def without_settings(config: Config) -> Config:
    own = {name: replace(each, settings={}) for name, each in config.providers.items()}
    return replace(config, providers=own)


def test_what_is_shown_is_toml_that_says_the_same(reading: Reading, places: Places) -> None:
    text = shown(reading, with_origin=False)
    places.user.write_text(text)
    again = read(Places(system=places.system, user=places.user))
    assert without_settings(again.config) == without_settings(reading.config)
    assert again.config.of("echo").settings["one"] == Secret("hunter2")
    assert again.config.of("echo").settings["api_key"] == "***"


def test_each_value_is_shown_with_its_origin(reading: Reading, places: Places) -> None:
    lines = shown(reading, with_origin=True).splitlines()
    assert lines[0] == f"# defaults, {places.user}, the environment, flags"
    assert f'provider = "echo"  # {places.user}' in lines
    assert 'model = "none"  # default' in lines
    assert "max_sessions = 500  # ASRD_LIMITS__MAX_SESSIONS" in lines
    assert "max_models = 2  # --max-models" in lines
    assert "max_waiting.mic = 100  # default" in lines
    assert f'max_waiting."a disc" = 7  # {places.user}' in lines
    assert f'settings.one = {{ file = "{places.user.with_name("key")}" }}  # {places.user}' in lines
    assert f'settings.api_key = "***"  # {places.user}' in lines


def test_as_json_it_is_the_same_tree(reading: Reading) -> None:
    tree = json.loads(shown_as_json(reading, with_origin=False))
    assert tree["limits"]["max_sessions"] == 500
    assert tree["model"] is None
    assert tree["log_level"] == "info"
    assert tree["providers"]["echo"]["settings"]["api_key"] == "***"
    flat_tree = json.loads(shown_as_json(reading, with_origin=True))
    assert flat_tree["residency.max_models"] == {"value": 2, "origin": "--max-models"}
    assert flat_tree.keys() == {dotted(path) for path, _ in flat(reading.config)}


def test_the_log_is_told_what_differs_or_everything(reading: Reading, places: Places) -> None:
    told = log_fields(reading, is_whole=False)
    assert told == {
        "layers": [str(places.user), "the environment", "flags"],
        "values": {
            "provider": "echo",
            "providers.echo.settings.one": "***",
            "providers.echo.settings.api_key": "***",
            "providers.echo.settings.latency_ms": 5,
            "limits.max_sessions": 500,
            "scheduling.max_waiting.a disc": 7,
            "residency.max_models": 2,
        },
    } | {"values": {**told["values"]}}
    assert told["values"]["providers.echo.settings.one"] == "***"
    whole = log_fields(reading, is_whole=True)["values"]
    assert whole.keys() == {dotted(path) for path, _ in flat(reading.config)}
    assert whole.items() >= told["values"].items()


def test_no_secret_is_written_anywhere(reading: Reading) -> None:
    texts = [shown(reading, with_origin=is_with) for is_with in (False, True)]
    texts += [shown_as_json(reading, with_origin=is_with) for is_with in (False, True)]
    texts += [repr(log_fields(reading, is_whole=is_whole)) for is_whole in (False, True)]
    for text in texts:
        assert "hunter2" not in text
        assert "written down" not in text


# ── TOML ──────────────────────────────────────────────────────────────────────────────────────

TEXT = st.text(st.characters(codec="utf-8"))


@examples(200)
@given(TEXT, TEXT | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.floats() | st.lists(TEXT))
def test_what_is_written_is_read_as_the_same(key: str, value: Any) -> None:
    (found,) = tomllib.loads(f"{toml_key(key)} = {toml(value)}").items()
    assert repr(found) == repr((key, value))


def test_tables_are_written_on_one_line() -> None:
    assert tomllib.loads(f"a = {toml({'b c': 1, 'd': 'e'})}") == {"a": {"b c": 1, "d": "e"}}
    assert (toml({}), toml(None), toml(Secret("x"))) == ("{}", '"none"', '"***"')
