"""Amounts of memory."""

import pytest

from asrd.config import Residency
from asrd.ranges import is_size, size_bytes

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
    assert is_size(size)
    assert size_bytes(size, WHOLE_BYTES) == expected


@pytest.mark.parametrize(
    "size",
    ["", "5", "5iB", "5 M", "GB", "-1GB", "1,5GB", "1.GB", "2GB\n", "2\tGB", "٢GB", "2GBs", "2 gb"],
)
def test_what_is_no_amount_is_refused_before_it_is_reckoned_with(size: str) -> None:
    assert not is_size(size)


def test_the_default_of_what_must_be_free_is_an_amount() -> None:
    assert is_size(Residency().min_available)
    assert size_bytes(Residency().min_available, 2000) == 100
