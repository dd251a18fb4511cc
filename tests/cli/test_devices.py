"""Which input is meant."""

import pytest

from asrd.cli.devices import Device, chosen, default_loopback, default_mic, listing
from asrd.cli.exits import CommandError, Exit


def device(number: int, name: str, *, is_default: bool = False) -> Device:
    return Device(number=number, name=name, channels=1, rate=48_000, is_default=is_default)


HEADSET = device(0, "USB Headset: Audio (hw:1,0)")
WEBCAM = device(2, "USB Webcam", is_default=True)
SPEAKERS = device(3, "Monitor of Built-in Audio")
HDMI = device(12, "Monitor of HDMI 2")
ALL = [HEADSET, WEBCAM, SPEAKERS, HDMI]


@pytest.mark.parametrize(
    ("wish", "found"),
    [
        ("0", HEADSET),
        ("12", HDMI),
        ("usb webcam", WEBCAM),
        (" headset ", HEADSET),
        ("HDMI", HDMI),
    ],
)
def test_a_device_by_number_name_or_a_part_of_its_name(wish: str, found: Device) -> None:
    assert chosen(ALL, wish) == found


def test_a_name_of_two_devices_is_the_first_of_them() -> None:
    twin = device(4, "USB Webcam")
    assert chosen([*ALL, twin], "USB Webcam") == WEBCAM


def test_a_whole_name_is_meant_before_a_part_of_others() -> None:
    plain = device(5, "monitor")
    assert chosen([*ALL, plain], "Monitor") == plain


def test_a_name_that_says_too_little() -> None:
    with pytest.raises(
        CommandError, match=r"'usb' may be 0 \(USB Headset.*\), 2 \(USB Webcam\)"
    ) as e:
        chosen(ALL, "usb")
    assert e.value.code is Exit.USAGE


def test_a_name_that_nobody_has() -> None:
    with pytest.raises(CommandError, match="no input 'ghost': see `asrd listen") as raised:
        chosen(ALL, "ghost")
    assert raised.value.code is Exit.NO_INPUT


def test_the_microphone_is_the_default_input() -> None:
    assert default_mic(ALL) == WEBCAM


@pytest.mark.parametrize(
    ("devices", "said"),
    [([], "plug in a microphone"), ([HEADSET], "choose one with `--mic DEVICE`")],
)
def test_no_default_input(devices: list[Device], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        default_mic(devices)


def test_what_the_machine_plays_is_heard_where_it_plays() -> None:
    assert default_loopback(ALL, "HDMI 2") == HDMI
    assert default_loopback(ALL, "") == SPEAKERS
    assert default_loopback(ALL, "Headphones") == SPEAKERS
    assert default_loopback([device(7, "BlackHole 2ch")], "").number == 7


@pytest.mark.parametrize(("platform", "said"), [("linux", "parec"), ("darwin", "BlackHole")])
def test_nothing_hears_what_the_machine_plays(platform: str, said: str) -> None:
    with pytest.raises(CommandError, match=said) as raised:
        default_loopback([HEADSET, WEBCAM], "HDMI 2", platform)
    assert raised.value.code is Exit.NO_INPUT


def test_the_list() -> None:
    assert listing([*ALL, device(13, "odd\x1b[31m")]) == [
        " 0  USB Headset: Audio (hw:1,0)",
        " 2  USB Webcam  (default)",
        " 3  Monitor of Built-in Audio  (hears what is played)",
        "12  Monitor of HDMI 2  (hears what is played)",
        "13  odd�[31m",
    ]
    assert listing([]) == []
