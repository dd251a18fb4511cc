"""Secrets in files and systemd's credentials: read with bounds, and never told."""

import os
from pathlib import Path
from typing import Any

import pytest

from asrd.configuring.layers import Value, Values
from asrd.configuring.secret_files import MAX_SECRET_BYTES, Resolved, resolved
from asrd.secrets import Secret

KEY = ("providers", "openai", "settings", "api_key")


def resolve(reference: Any) -> Resolved:
    return resolved({KEY: Value(reference, "/etc/x.toml"), ("model",): Value("m", "there")})


def problem(reference: Any) -> str:
    found = resolve(reference)
    (line,) = found.problems
    assert KEY not in found.values
    place = "/etc/x.toml: providers.openai.settings.api_key: "
    assert line.startswith(place)
    return line.removeprefix(place)


def secret(reference: Any) -> str:
    found = resolve(reference)
    assert not found.problems
    assert found.values["model",] == Value("m", "there")
    value = found.values[KEY]
    assert isinstance(value.value, Secret)
    assert value.origin == "/etc/x.toml"
    return value.value.text


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text("hunter2\n")
    path.chmod(0o640)
    return path


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"hunter2", "hunter2"),
        (b"hunter2\n", "hunter2"),
        (b"hunter2\r\n", "hunter2"),
        (b"hunter2\n\n", "hunter2\n"),
        (b" a b ", " a b "),
        ("schlüssel\n".encode(), "schlüssel"),
        (b"x" * MAX_SECRET_BYTES, "x" * MAX_SECRET_BYTES),
    ],
)
def test_it_is_what_is_in_the_file_without_its_last_newline(
    key: Path, content: bytes, text: str
) -> None:
    key.write_bytes(content)
    assert secret({"file": str(key)}) == text


def test_a_home_may_be_left_out(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(key.parent))
    assert secret({"file": "~/key"}) == "hunter2"


def test_a_credential_is_systemds(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(key.parent))
    assert secret({"credential": "key"}) == "hunter2"
    assert problem({"credential": "other"}) == (
        f"cannot read {key.parent}/other: No such file or directory"
    )


def test_without_systemd_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert problem({"credential": "key"}).startswith(
        "there is no credential 'key': $CREDENTIALS_DIRECTORY is not set"
    )


@pytest.mark.parametrize("name", ["", "a/b", "../key", "..", ".", "a\0b"])
def test_a_credential_has_a_name_and_no_path(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert problem({"credential": name}) == f"credential {name!r} is no name of one"


@pytest.mark.parametrize("name", ["", "key", "./key", "/a\0b"])
def test_a_file_has_an_absolute_path(name: str) -> None:
    assert problem({"file": name}) == f"file {name!r} is no absolute path"


@pytest.mark.parametrize(
    "reference",
    [
        {},
        {"fil": "/a"},
        {"file": 3},
        {"file": "/a", "credential": "b"},
        {"credential": ["a"]},
        {"file": "/a", "text": "hunter2"},
        {"text": "hunter2"},
    ],
)
def test_anything_else_is_told_without_what_it_holds(reference: dict[str, Any]) -> None:
    assert problem(reference) == (
        'expected { file = "/path" } or { credential = "name" } and no more'
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"x" * (MAX_SECRET_BYTES + 1), "is larger than 65536 bytes, and no secret"),
        (b"hunter2\xff", "is no UTF-8 text"),
        (b"", "is empty"),
        (b"\n", "is empty"),
    ],
)
def test_what_is_in_a_file_is_never_told(key: Path, content: bytes, sentence: str) -> None:
    key.write_bytes(content)
    assert problem({"file": str(key)}) == f"{key} {sentence}"


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert problem({"file": str(tmp_path / "pipe")}) == f"{tmp_path}/pipe is no regular file"
    assert problem({"file": str(tmp_path)}) == f"cannot read {tmp_path}: Is a directory"
    absent = tmp_path / "absent"
    assert problem({"file": str(absent)}) == f"cannot read {absent}: No such file or directory"


def test_a_file_that_others_can_read_is_a_warning(key: Path) -> None:
    assert not resolve({"file": str(key)}).warnings
    key.chmod(0o644)
    (warning,) = resolve({"file": str(key)}).warnings
    assert warning == (
        f"/etc/x.toml: providers.openai.settings.api_key: others can read {key}: chmod o= {key}"
    )


def test_a_table_that_is_no_setting_is_nothing_of_ours() -> None:
    values: Values = {("model",): Value({"file": "/a"}, "there")}
    assert resolved(values) == Resolved(values=values)
