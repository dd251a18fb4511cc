"""Secrets: printed by nobody, known by their names, and texts again in one place."""

import pickle
from pathlib import Path

import pytest

from asrd.secrets import MASK, AnySetting, Secret, hidden, is_secret_name, unwrapped

SETTINGS: dict[str, AnySetting] = {
    "api_key": Secret("hunter2"),
    "token": "written",
    "threads": 3,
    "on": True,
}


def test_its_printed_form_says_nothing() -> None:
    secret = Secret("hunter2")
    for form in (
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret!r}",
        f"{[secret]}",
    ):
        assert "hunter2" not in form
        assert MASK in form
    assert secret == Secret("hunter2") != Secret("other")
    assert pickle.loads(pickle.dumps(secret)) == secret


@pytest.mark.parametrize(
    "name",
    [
        *("key", "api_key", "openai_key", "apikey", "API-KEY", "apiKey", "auth_token", "password"),
        *("client_secret", "db_password", "secret", "key_id", "passphrase", "field_token"),
    ],
)
def test_a_name_that_looks_secret_is_taken_for_one(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "threads",
        "max_tokens",
        "keyboard",
        "monkey",
        "text_key",
        "final_key",
        "hotwords",
        "keys",
        "",
    ],
)
def test_others_are_not(name: str) -> None:
    assert not is_secret_name(name)


def test_a_provider_is_handed_texts() -> None:
    handed = unwrapped(SETTINGS)
    assert handed == {"api_key": "hunter2", "token": "written", "threads": 3, "on": True}


def test_a_sentence_that_tells_a_secret_is_masked() -> None:
    said = "api_key must be a number, not 'hunter2' (hunter2); token 'written' is 3"
    assert (
        hidden(said, SETTINGS)
        == f"api_key must be a number, not {MASK} ({MASK}); token {MASK} is 3"
    )
    odd: dict[str, AnySetting] = {"password": "a\nb'c"}
    assert "b'c" not in hidden(f"not {odd['password']!r}, {odd['password']}", odd)
    assert hidden("nothing of it", {"key": ""}) == "nothing of it"


def test_secrets_become_texts_in_one_place() -> None:
    """Where the catalogue hands a provider its settings."""
    code = Path(__file__).parents[1] / "daemon" / "asrd"
    users = [
        path.name
        for path in code.rglob("*.py")
        if "unwrapped(" in path.read_text(encoding="utf-8") and path.name != "secrets.py"
    ]
    assert users == ["catalogue.py"]
    assert (code / "providers" / "catalogue.py").read_text().count("unwrapped(") == 1
