"""Which input is meant: by number, by name, or by what it hears. Pure."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from asrd.cli.exits import CommandError, Exit
from asrd.cli.plain import plain

LOOPBACK_WORDS = ("monitor", "loopback", "blackhole", "soundflower", "vb-cable")
"""In the names of inputs that hear what the machine plays."""

SEE_LIST = "see `asrd listen --list-devices`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """An input. `number` is PortAudio's, and changes when devices come and go."""

    number: int
    name: str
    channels: int
    rate: int
    is_default: bool

    @property
    def is_loopback(self) -> bool:
        """Whether it hears what the machine plays, as its name says."""
        return any(word in self.name.lower() for word in LOOPBACK_WORDS)


def chosen(devices: Sequence[Device], wish: str) -> Device:
    """The input of that number or name; a part of the name will do where one device has it.

    Raises:
        CommandError: none has it, or several have.
    """
    name = wish.strip().lower()
    by_number = [each for each in devices if str(each.number) == name]
    by_name = [each for each in devices if each.name.lower() == name]
    by_part = [each for each in devices if name in each.name.lower()]
    found = by_number or by_name[:1] or by_part
    if len(found) == 1:
        return found[0]
    if not found:
        raise CommandError(f"there is no input {wish!r}", Exit.NO_INPUT, SEE_LIST)
    names = ", ".join(f"{each.number} ({each.name})" for each in found)
    raise CommandError(f"{wish!r} may be {names}", Exit.USAGE, "give the number")


def default_mic(devices: Sequence[Device]) -> Device:
    """The system's default input. Raises CommandError where there is none."""
    for device in devices:
        if device.is_default:
            return device
    if devices:
        raise CommandError(
            "the system has no default input",
            Exit.NO_INPUT,
            "choose one with `--mic DEVICE`, " + SEE_LIST,
        )
    raise CommandError("this machine has no input", Exit.NO_INPUT, "plug in a microphone")


def default_loopback(
    devices: Sequence[Device], output: str, platform: str = sys.platform
) -> Device:
    """The input that hears what the machine plays on `output`, else any that hears an output.

    Raises:
        CommandError: there is none; it says what to install or to choose.
    """
    found = [each for each in devices if each.is_loopback]
    of_output = [each for each in found if output and output.lower() in each.name.lower()]
    if found:
        return (of_output or found)[0]
    if platform == "darwin":
        remedy = (
            "install a loopback device such as BlackHole (`brew install blackhole-2ch`) and have "
            "the system play to it, or choose an input with `--system DEVICE`"
        )
    else:
        remedy = (
            "choose one with `--system DEVICE`, or have PulseAudio or PipeWire record it: "
            "`parec -d @DEFAULT_MONITOR@ --format=s16le --rate=16000 --channels=1 | "
            "asrd pipe --source system`"
        )
    raise CommandError("no input hears what this machine plays", Exit.NO_INPUT, remedy)


def listing(devices: Sequence[Device]) -> list[str]:
    """A line for each input: its number, name and what is special about it."""
    width = len(str(max((each.number for each in devices), default=0)))
    return [f"{each.number:>{width}}  {plain(each.name)}{_marks(each)}" for each in devices]


def as_fields(device: Device) -> dict[str, object]:
    """An input as JSON has it."""
    return {**asdict(device), "is_loopback": device.is_loopback}


def _marks(device: Device) -> str:
    marks = ["default"] if device.is_default else []
    marks += ["hears what is played"] if device.is_loopback else []
    return f"  ({', '.join(marks)})" if marks else ""
