"""Who waits is woken by the next beat, and by that one alone."""

import asyncio

from asrd.client.pulse import Pulse


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_beat_wakes_all_who_wait_and_nobody_who_waits_later() -> None:
    async def scenario() -> None:
        pulse = Pulse()
        pulse.beat()  # nobody was there
        early = [asyncio.create_task(pulse.wait()) for _ in range(3)]
        await settle()
        assert not any(task.done() for task in early)
        pulse.beat()
        late = asyncio.create_task(pulse.wait())
        await settle()
        assert all(task.done() for task in early)
        assert not late.done()
        pulse.beat()
        await asyncio.wait_for(late, 1)

    asyncio.run(scenario())
