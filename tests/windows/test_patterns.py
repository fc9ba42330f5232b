"""The tutorial's patterns on Windows: main process and renderers in processes of their own, over a pipe."""

from tests.support.bus import Program

MAIN = """
async def main():
    ipc_main = IpcMain()
    ipc_main.on("set-title", lambda event, title: say("title", title, event.sender.name))
    ipc_main.on("counter-value", lambda event, value: say("counter", value))

    @ipc_main.handle("dialog:open-file")
    async def open_file(event, start):
        await asyncio.sleep(0)
        return f"{start}/file"

    @ipc_main.on("menu:click")
    def click(event):
        event.sender.send("update-counter", 1)

    @ipc_main.on("get-counter")
    def get_counter(event):
        event.return_value = 7

    @ipc_main.handle("count-to")
    async def count_to(event, end):
        for number in range(end):
            yield number

    async with Broker(sys.argv[1], ipc_main=ipc_main) as broker:
        ending = []
        ipc_main.on("end", lambda event: ending.append(asyncio.ensure_future(broker.stop())))
        say("ready")
        await broker.serve_forever()
    say("stopped")

asyncio.run(main())
"""

PREVIEW = """
async def main():
    preview = mainbus.connect(sys.argv[1], name="preview")
    preview.on("show-text", lambda event, text: say("shown", text, event.sender_name), senders="renderers")
    preview.handle("count-words", lambda event, text: len(text.split()), senders="renderers")

    async with preview:
        say("ready")
        await forever()

asyncio.run(main())
"""

EDITOR = """
async def main():
    async with mainbus.connect(sys.argv[1], name="editor") as editor:
        editor.on("update-counter", lambda event, by: event.reply("counter-value", by + 1))
        editor.send("set-title", "Hello")
        say(await editor.invoke("dialog:open-file", "/here", timeout=30))
        editor.send("menu:click")
        say("sync", editor.send_sync("get-counter"))
        editor.send_to("preview", "show-text", "some text")
        say("words", await editor.invoke_to("preview", "count-words", "one two three", timeout=30))
        say("stream", [number async for number in editor.stream("count-to", 5)])
        editor.send("end")
        await editor.drain()
        await forever()

asyncio.run(main())
"""

BLOCKING = """
import mainbus.blocking

with mainbus.blocking.connect(sys.argv[1], name="thread") as renderer:
    renderer.send("set-title", "from a thread")
    say(renderer.invoke("dialog:open-file", "/there", timeout=30))
    say("sync", renderer.send_sync("get-counter"))
    say("stream", list(renderer.stream("count-to", 3)))
"""


async def test_the_four_patterns(address: str) -> None:
    async with Program(MAIN, address) as main:
        assert await main.line() == "ready"
        async with Program(PREVIEW, address) as preview:
            assert await preview.line() == "ready"
            async with Program(BLOCKING, address) as thread:
                assert [await thread.line() for _ in range(3)] == ["/there/file", "sync 7", "stream [0, 1, 2]"]
                assert await thread.end() == 0
            assert await main.line() == "title from a thread thread"
            async with Program(EDITOR, address) as editor:
                said = [await editor.line() for _ in range(4)]
                assert said == ["/here/file", "sync 7", "words 3", "stream [0, 1, 2, 3, 4]"]
                assert [await main.line(), await main.line()] == ["title Hello editor", "counter 2"]
                assert await preview.line() == "shown some text editor"
                assert await main.line() == "stopped"
            assert await main.end() == 0
