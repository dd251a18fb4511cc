"""A program of the user's own that reads audio on stdin and prints text as it hears it.

It is started once and kept, with its model in memory, and is never run through a shell.
"""

import re
import shlex
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from asrd import (
    Model,
    ModelStatus,
    ModelUnavailable,
    Provider,
    ProviderError,
    Register,
    Setting,
    hookimpl,
    read_settings,
)

if TYPE_CHECKING:
    from asrd_process.program import Launch

MODEL_MARK = "{model}"
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """What a user may set for this provider."""

    command: str = ""
    """The program and its arguments, in one line that is split as a shell splits it; no shell
    sees it. `{model}` stands for the stream's model, which is a plain name."""

    end: Literal["recycle", "pad"] = "recycle"
    """How an utterance ends. `recycle`: the program's stdin is closed, it prints the rest and ends,
    and a spare takes the next utterance. `pad`: the program is kept, and what it prints until it
    has been quiet for `quiet_ms` belongs to the utterance."""

    padding_ms: Annotated[int, (0, 30_000)] = 1500
    """Silence behind each utterance, for programs that say the last words only as more is heard. 0
    suits a program that reads its rest when stdin ends."""

    quiet_ms: Annotated[int, (20, 5000)] = 1000
    """With `pad`: longer than the program ever waits between two words without computing. What it
    prints later is lost, which is said on stderr, or, where the next utterance has begun, counted
    to that one."""

    finish_timeout_s: Annotated[float, (0.1, 600)] = 30.0
    """A program that takes longer to finish is ended, and the utterance read anew."""

    stall_s: Annotated[float, (0.1, 600)] = 30.0
    """So is one that takes no audio for so long, whatever it computes; one that does not even
    compute, after 8 s."""

    chunk_ms: Annotated[int, (20, 10_000)] = 500
    """New audio that a stream collects before the program is fed."""

    programs: Annotated[int, (1, 64)] = 1
    """Utterances at a time, each heard by a program of its own."""

    spares: Annotated[int, (0, 16)] = 1
    """Warm programs beyond these, so that the next utterance need not wait for one to load."""

    ready_pattern: str = ""
    """A regular expression. Once it is found in what a program says, on stdout or stderr, the
    program counts as loaded. Empty: once it has run for `ready_after_s`."""

    ready_after_s: Annotated[float, (0, 600)] = 0.5
    """See `ready_pattern`. A program that cannot run at all has said so by then."""

    start_timeout_s: Annotated[float, (0.1, 800)] = 120.0
    """A program that is not loaded by then is ended."""

    output: Literal["text", "json_lines"] = "text"
    """What it prints: text that is only ever added to, or one JSON object per line."""

    text_key: str = "text"
    """With `json_lines`: where the text of a line is."""

    final_key: str = "final"
    """With `json_lines`: where it is true, the text is kept for good. Otherwise it takes the place
    of the line's before, back to the last final one."""

    strip_pattern: str = ""
    """A regular expression for what is no text, such as marks. With `text`, matches of up to 64
    characters are always found, and the last 64 characters count as unsteady."""

    memory_mb: Annotated[int, (0, 10_000_000)] = 0
    """What one program takes in memory, in millions of bytes, which asrd cannot know before."""

    uses_gpu: bool = False
    """Whether that is the memory of an NVIDIA GPU."""


class ProcessProvider(Provider):
    """Has the models that its command takes; without one, none can be loaded."""

    name: ClassVar[str] = "process"
    summary: ClassVar[str] = "A program of your own that hears stdin; needs its 'command' set"
    default_model: ClassVar[str] = "program"

    def status(self, model: str) -> ModelStatus:
        """Present under every plain name: what the program makes of it, only its command tells."""
        if _MODEL.fullmatch(model):
            return ModelStatus(model=model, is_present=True)
        return ModelStatus(
            model=model,
            is_present=False,
            problem="A model of process is a plain name of letters, digits, '.', '_' and '-', "
            f"not {model[:100]!r}.",
        )

    def models(self) -> Iterable[ModelStatus]:
        """None that could be listed: the configuration names them."""
        return ()

    def check_settings(self, settings: Mapping[str, Setting]) -> None:
        """See whether the command names a program that can be run, and the patterns are whole."""
        chosen = read_settings(ProcessSettings, settings, provider=self.name)
        _launch(chosen, self.default_model)
        _pattern(chosen, "strip_pattern")

    def size_bytes(self, model: str, settings: Mapping[str, Setting]) -> int:
        """`memory_mb` for each program, spares among them."""
        chosen = read_settings(ProcessSettings, settings, provider=self.name)
        return chosen.memory_mb * _MEGABYTE * (chosen.programs + chosen.spares)

    def wants_gpu(self, settings: Mapping[str, Setting]) -> bool:
        """As the user says."""
        return read_settings(ProcessSettings, settings, provider=self.name).uses_gpu

    def load(self, model: str, settings: Mapping[str, Setting]) -> Model:
        """Start the programs, and wait for the first to listen."""
        chosen = read_settings(ProcessSettings, settings, provider=self.name)
        launch = _launch(chosen, model)
        if problem := self.status(model).problem:
            raise ModelUnavailable(problem)
        if MODEL_MARK not in chosen.command and model != self.default_model:
            raise ModelUnavailable(
                f"process has one model, '{self.default_model}', and no '{model}': its setting "
                f"'command' has no {MODEL_MARK} to be replaced by it."
            )
        from asrd_process.model import Manner, ProcessModel
        from asrd_process.output import OutputFormat
        from asrd_process.programs import Programs

        manner = Manner(
            feed_s=chosen.chunk_ms / 1000,
            end=chosen.end,
            padding_s=chosen.padding_ms / 1000,
            quiet_s=chosen.quiet_ms / 1000,
            finish_timeout_s=chosen.finish_timeout_s,
            stall_s=chosen.stall_s,
            output=OutputFormat(
                kind=chosen.output,
                text_key=chosen.text_key,
                final_key=chosen.final_key,
                strip=_pattern(chosen, "strip_pattern"),
            ),
        )
        programs = Programs(
            launch,
            at_once=chosen.programs,
            spares=chosen.spares,
            start_timeout_s=chosen.start_timeout_s,
        )
        try:
            programs.wait_until_ready()
        except ProviderError:
            programs.close()
            raise
        return ProcessModel(programs, manner, at_once=chosen.programs)


def _launch(chosen: ProcessSettings, model: str) -> "Launch":
    """How the command is started. Raises ModelUnavailable where it names no program to run."""
    from asrd_process.program import Launch

    if "\0" in chosen.command:
        raise ProviderError("The process setting 'command' holds a NUL character.")
    try:
        arguments = shlex.split(chosen.command)
    except ValueError as error:
        raise ProviderError(f"The process setting 'command' is not whole: {error}.") from None
    if not arguments:
        raise ModelUnavailable(
            "process has no program to run: set 'command' in [providers.process.settings], "
            'for example to "voxtral -d /path/to/model --stdin -I 0.5".'
        )
    arguments = [argument.replace(MODEL_MARK, model) for argument in arguments]
    path = shutil.which(arguments[0])
    if path is None:
        name = "named first" if "=" in arguments[0] else repr(arguments[0])  # a secret, perhaps
        raise ModelUnavailable(
            f"The program {name} in the process setting 'command' is not here, or may not be "
            "executed; give its whole path, and variables by way of env."
        )
    return Launch(
        arguments=(path, *arguments[1:]),
        ready=_pattern(chosen, "ready_pattern"),
        ready_after_s=chosen.ready_after_s,
    )


def _pattern(
    chosen: ProcessSettings, name: Literal["ready_pattern", "strip_pattern"]
) -> re.Pattern[str] | None:
    """A setting's regular expression; None where it is empty."""
    pattern: str = getattr(chosen, name)
    try:
        return re.compile(pattern) if pattern else None
    except (re.error, RecursionError, OverflowError) as error:
        raise ProviderError(
            f"The process setting '{name}' is no regular expression: {error}."
        ) from None


@hookimpl
def asrd_register_providers(register: Register) -> None:
    """Bring `process`."""
    register(ProcessProvider())
