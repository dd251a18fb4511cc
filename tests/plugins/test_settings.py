"""Settings are checked against a dataclass, and each error says what to write instead."""

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from asrd import ProviderError, Setting, read_settings


@dataclass(frozen=True, kw_only=True)
class Sample:
    device: Literal["cpu", "cuda"] = "cpu"
    threads: Annotated[int, (1, 8)] = 2
    factor: Annotated[float, (0, 1)] = 0.5
    prompt: str = ""
    is_quiet: bool = False


@dataclass(frozen=True, kw_only=True)
class Nothing:
    pass


def test_what_is_not_given_keeps_its_default() -> None:
    assert read_settings(Sample, {}, provider="sample") == Sample()


def test_what_is_given_is_taken_and_a_whole_number_serves_as_a_float() -> None:
    given: dict[str, Setting] = {"device": "cuda", "threads": 8, "factor": 1, "is_quiet": True}
    read = read_settings(Sample, given, provider="sample")
    assert read == Sample(device="cuda", threads=8, factor=1.0, is_quiet=True)
    assert type(read.factor) is float


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("thread", 2, "sample has no setting 'thread'; did you mean 'threads'?"),
        ("Device", "cpu", "sample has no setting 'Device'; did you mean 'device'?"),
        (
            "colour",
            "red",
            "sample has no setting 'colour'; it knows device, threads, factor, prompt, is_quiet.",
        ),
        (
            "device",
            "tpu",
            "The sample setting 'device' must be one of cpu, cuda (did you mean 'cpu'?), "
            "not 'tpu'.",
        ),
        (
            "device",
            "opencl-on-a-stick",
            "The sample setting 'device' must be one of cpu, cuda, not 'opencl-on-a-stick'.",
        ),
        ("threads", "2", "The sample setting 'threads' must be a whole number, not '2'."),
        ("threads", True, "The sample setting 'threads' must be a whole number, not True."),
        ("threads", 9, "The sample setting 'threads' must be a whole number from 1 to 8, not 9."),
        (
            "factor",
            float("nan"),
            "The sample setting 'factor' must be a number from 0 to 1, not nan.",
        ),
        ("prompt", 1, "The sample setting 'prompt' must be text, not 1."),
        ("is_quiet", 1, "The sample setting 'is_quiet' must be true or false, not 1."),
    ],
)
def test_an_error_names_the_key_and_what_it_takes(key: str, value: Setting, sentence: str) -> None:
    with pytest.raises(ProviderError) as caught:
        read_settings(Sample, {key: value}, provider="sample")
    assert str(caught.value) == sentence


def test_a_provider_without_settings_says_so() -> None:
    with pytest.raises(ProviderError, match=r"sample has no setting 'x'; it has none\."):
        read_settings(Nothing, {"x": 1}, provider="sample")


def test_what_looks_secret_is_not_told() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Keyed:
        api_key: int = 0

    with pytest.raises(ProviderError) as caught:
        read_settings(Keyed, {"api_key": "hunter2"}, provider="sample")
    assert str(caught.value) == "The sample setting 'api_key' must be a whole number, not ***."
