"""The faults of the soak. Each does its harm, sees that the daemon reacted, and returns.

A fault returns False where it cannot be done here or now.
"""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from itertools import cycle
from pathlib import Path

from asrd.framing import HEADER
from asrd.wire.codec import encode
from asrd.wire.messages import Audio, Error, GetHealth, GetStats, Health, Hello, Open, Opened
from benchmarks.soaking.scene import PATIENCE_S, Ended, Scene, Visitor, visitor
from benchmarks.soaking.speech import CHUNK_BYTES, audio

CROWD = 200
CROWD_STAYS_S = 0.5
GREETS_ONE_IN = 25
"""Of a crowd; the others say nothing. Each that does leaves a session for the resume window."""
GARBAGE_CONNECTIONS = 20
STALLING_QUESTIONS = 3_000
OVERSIZED = (0, 2**20 + 1, 2**31, 2**32 - 1)
RELOAD_TAKES_S = 0.5
LOOK_EVERY_S = 0.05


async def kill_worker(scene: Scene) -> bool:
    """SIGKILL to a worker that holds a model, and wait for its successor."""
    models = (await scene.ask(GetHealth(), Health)).providers[scene.plan.provider].models
    pids = [model.pid for model in models if model.state == "ready" and model.pid]
    if not pids:
        return False
    await _kill(scene, scene.dice.choice(pids))
    return True


async def kill_voice(scene: Scene) -> bool:
    """The same for voice activity."""
    voice = (await scene.ask(GetHealth(), Health)).voice_activity
    if voice is None or voice.state != "ready" or not voice.pid:
        return False
    await _kill(scene, voice.pid)
    return True


async def _kill(scene: Scene, pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:  # it was unloaded just now
        return
    async with asyncio.timeout(PATIENCE_S):
        is_ready = False
        while not is_ready:
            await asyncio.sleep(LOOK_EVERY_S)
            is_ready = (await scene.ask(GetHealth(), Health)).ready


async def cut_in_frame(scene: Scene) -> bool:
    """Break connections amid a frame; their clients come back and resume."""
    cut = [talker.cut() for talker in scene.steady]
    return any(cut)


async def stall(scene: Scene) -> bool:
    """Ask much and read nothing, until the daemon must have given the reader up."""
    async with visitor(scene.path, limit=2**10) as guest:
        guest.say(Hello(client="stalls"))
        guest.say(*[GetStats()] * STALLING_QUESTIONS)
        await asyncio.sleep(scene.plan.send_timeout_s + 1.5)
    scene.stalls += 1
    return True


async def send_garbage(scene: Scene) -> bool:
    """Bytes that mean nothing, on many connections; each is told so and closed."""
    for _ in range(GARBAGE_CONNECTIONS):
        async with visitor(scene.path) as guest:
            if scene.dice.random() < 0.5:
                guest.say(Hello(client="garbage"))
            guest.writer.write(b"\xff" + scene.dice.randbytes(scene.dice.randint(3, 5000)))
            await _expect_refusal(scene, guest, "frame_too_large")
    return True


async def send_oversized(scene: Scene) -> bool:
    """Headers that announce what is not allowed."""
    for length in OVERSIZED:
        async with visitor(scene.path) as guest:
            guest.writer.write(encode(Hello(client="oversized")) + HEADER.pack(length))
            await _expect_refusal(scene, guest, "frame_too_large")
    return True


async def _expect_refusal(scene: Scene, guest: Visitor, code: str) -> None:
    await guest.hear_to_end()
    last = guest.heard[-1] if guest.heard else None
    if not (isinstance(last, Error) and last.fatal and last.code in (code, "busy")):
        scene.wrongs.append(f"{code} was to be told, and was not: {last}")


async def stop_daemon(scene: Scene) -> bool:
    """Stop the whole daemon for a while, as a laptop's lid does."""
    os.kill(scene.daemon.pid, signal.SIGSTOP)
    await asyncio.sleep(scene.plan.stop_s)
    os.kill(scene.daemon.pid, signal.SIGCONT)
    return True


async def crowd_in(scene: Scene) -> bool:
    """Connections that take most of the descriptors there are, and go without a word."""
    async with AsyncExitStack() as stack:
        for number in range(CROWD):
            guest = await stack.enter_async_context(visitor(scene.path))
            if number % GREETS_ONE_IN == 0:
                guest.say(Hello(client="crowd"))
        await asyncio.sleep(CROWD_STAYS_S)
    return True


async def vanish(scene: Scene) -> bool:
    """A client that is gone in the middle of a stream, without a close, for good."""
    with suppress(Ended):
        async with visitor(scene.path) as guest:
            await guest.ask(Open(stream=1, source="mic"), Opened)
            for begin in range(0, 20 * CHUNK_BYTES, CHUNK_BYTES):
                guest.say(Audio(stream=1, data=audio(0, begin, begin + CHUNK_BYTES)))
            await guest.writer.drain()
    return True


async def hang_up(scene: Scene) -> bool:
    """SIGHUP, where the daemon handles it."""
    if not _handles(scene.daemon.pid, signal.SIGHUP):
        return False
    os.kill(scene.daemon.pid, signal.SIGHUP)
    await asyncio.sleep(RELOAD_TAKES_S)
    return True


def _handles(pid: int, number: int) -> bool:
    if sys.platform != "linux":
        return False
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return found is not None and bool(int(found[1], 16) >> (number - 1) & 1)


async def kill_daemon(scene: Scene) -> bool:
    """SIGKILL to the daemon itself; its successor knows of nothing."""
    await asyncio.to_thread(scene.restart)
    await scene.ask(GetHealth(), Health)
    return True


Fault = Callable[[Scene], Awaitable[bool]]

FAULTS: Mapping[str, Fault] = {
    "worker killed": kill_worker,
    "connections cut in a frame": cut_in_frame,
    "garbage": send_garbage,
    "voice activity killed": kill_voice,
    "daemon stopped": stop_daemon,
    "client vanished": vanish,
    "reader stalled": stall,
    "oversized frames": send_oversized,
    "crowd of connections": crowd_in,
    "SIGHUP": hang_up,
}


DAEMON_KILLED = "daemon killed"
"""Every third fault, where it is one at all: see `Plan.kills_daemon`."""
KILL_EVERY = 3


def turns(scene: Scene) -> Iterator[str]:
    """Names of faults without end: each in its turn, in an order that the seed gives."""
    names = list(FAULTS)
    scene.dice.shuffle(names)
    for turn, name in enumerate(cycle(names)):
        if scene.plan.kills_daemon and turn % KILL_EVERY == 0:
            yield DAEMON_KILLED
        yield name


async def harm(scene: Scene, name: str) -> None:
    """Do a fault, and count it where it could be done."""
    fault = kill_daemon if name == DAEMON_KILLED else FAULTS[name]
    if await fault(scene):
        scene.faults[name] += 1
