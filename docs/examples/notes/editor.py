"""A renderer: it adds two notes, reads one, and asks for one that is not there."""

import asyncio

import mainbus

from .api import Notes
from .channels import NoSuchNote


async def main() -> None:
    """Do what a user would."""
    async with mainbus.connect() as ipc_renderer:
        notes = Notes(ipc_renderer)
        first = await notes.add("Shopping", "bread, tea")
        await notes.add("Reading", "Structure and Interpretation")
        print("editor:", (await notes.get(first)).text, flush=True)
        try:
            await notes.get(99)
        except NoSuchNote:
            print("editor: there is no note 99", flush=True)


asyncio.run(main())
