"""Settings: amounts of memory, and which provider is used how."""

import msgspec
import pytest

from asrd.choices import Loading, WarmUp
from asrd.config import Config, ProviderConfig, Residency, Size, size_bytes

WHOLE_BYTES = 8_000_000_000


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("7B", 7),
        ("2kB", 2_000),
        ("1500 MB", 1_500_000_000),
        ("2GB", 2_000_000_000),
        ("1TB", 10**12),
        ("2kiB", 2_048),
        ("512MiB", 512 * 2**20),
        ("1.5 GiB", 3 * 2**29),
        ("1TiB", 2**40),
        ("0.5MB", 500_000),
        ("60%", 4_800_000_000),
        ("0.5 %", 40_000_000),
        ("100%", WHOLE_BYTES),
        ("0%", 0),
    ],
)
def test_an_amount_of_memory_is_bytes_or_a_share(size: str, expected: int) -> None:
    assert msgspec.convert(size, Size) == size
    assert size_bytes(size, WHOLE_BYTES) == expected


@pytest.mark.parametrize(
    "size",
    ["", "5", "5iB", "5 M", "GB", "-1GB", "1,5GB", "1.GB", "2GB\n", "2\tGB", "٢GB", "2GBs", "2 gb"],
)
def test_what_is_no_amount_is_refused_before_it_is_reckoned_with(size: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(size, Size)


def test_the_default_of_what_must_be_free_is_an_amount() -> None:
    assert size_bytes(msgspec.convert(Residency().min_available, Size), 2000) == 100


def test_a_provider_that_is_not_mentioned_is_used_as_by_default() -> None:
    config = Config(providers={"one": ProviderConfig(warm_up=WarmUp.FULL)})
    assert config.of("one").warm_up is WarmUp.FULL
    assert config.of("other") == ProviderConfig()


def test_the_default_provider_is_loaded_at_the_start_and_others_when_asked_for() -> None:
    config = Config(
        provider="one",
        providers={
            "two": ProviderConfig(loading=Loading.BACKGROUND),
            "three": ProviderConfig(required=True),
        },
    )
    found = {name: config.loading_of(name) for name in ("one", "two", "three", "four")}
    assert found == {
        "one": Loading.EAGER,
        "two": Loading.BACKGROUND,
        "three": Loading.LAZY,
        "four": Loading.LAZY,
    }
    lazy = Config(provider="one", providers={"one": ProviderConfig(loading=Loading.LAZY)})
    assert lazy.loading_of("one") is Loading.LAZY


def test_a_providers_own_fallback_stands_instead_of_the_daemons() -> None:
    config = Config(
        fallback=("a", "b/model"),
        providers={
            "one": ProviderConfig(fallback=("c",)),
            "none": ProviderConfig(fallback=()),
            "unsaid": ProviderConfig(),
        },
    )
    found = [config.fallback_of(name) for name in ("one", "none", "unsaid", "other")]
    assert found == [("c",), (), ("a", "b/model"), ("a", "b/model")]
