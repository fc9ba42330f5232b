"""What the processes agree on: the names of the channels, and what crosses on them. Every process imports this."""

from dataclasses import dataclass
from typing import Final

from mainbus import register_error

ADD: Final = "notes:add"  # invoke: title, text -> id
GET: Final = "notes:get"  # invoke: id -> Note
ADDED: Final = "notes:added"  # from main, to all: Note
QUIT: Final = "app:quit"  # from main, to one


@dataclass(frozen=True)
class Note:
    """A note. It crosses as a dict: `Note(**arrived)`."""

    id: int
    title: str
    text: str


@register_error
class NoSuchNote(LookupError):
    """There is no note of that id. Registered, so that it arrives as itself."""
