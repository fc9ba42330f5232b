"""A viewer: it prints the last lines and then some of those that come, one by one, at its own pace."""

import argparse
import asyncio

import mainbus


async def view(last: int, every: int, pause: float, until: str) -> None:
    """Take lines until one has a certain text in it."""
    async with mainbus.connect(connect_timeout=10) as ipc_renderer:

        def show(text: str) -> None:
            print(f"  {ipc_renderer.name:<8} {text}", flush=True)

        # Listen first, then ask: a line that comes in between is in both, and none is in neither.
        lines = ipc_renderer.listen("log:line", max_queue=64, senders="renderers")
        seen = taken = lead = 0
        for seen, text in await ipc_renderer.invoke_to("follower", "log:last", last, timeout=10):
            show(f"line {seen}, from before: {text[:30]}")
        async for _, number, text in lines:
            if number <= seen:
                continue
            # At most 64 lines wait here, then the follower's others do, and when a megabyte of them does, the follower.
            taken += 1
            if taken % every == 0:
                show(f"line {number}: {text[:30]}")
                lead = max(lead, await ipc_renderer.invoke_to("follower", "log:sent") - number)
            if until in text:
                break
            await asyncio.sleep(pause)
        show(f"took {taken} lines, and saw the follower at most {lead} lines ahead")


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--last", type=int, default=10, help="how many lines from before")
parser.add_argument("--every", type=int, default=1, help="print each line whose number this divides")
parser.add_argument("--pause", type=float, default=0.0, help="seconds that each line takes")
parser.add_argument("--until", default="\0", help="end at a line with this text")
options = parser.parse_args()
asyncio.run(view(options.last, options.every, options.pause, options.until))
