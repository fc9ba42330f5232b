"""The notes themselves. It needs no other process, and neither do its tests."""

from itertools import count

from .channels import NoSuchNote, Note


class Store:
    """The notes of an application, in the order of their ids."""

    def __init__(self) -> None:
        self._notes: dict[int, Note] = {}
        self._ids = count(1)

    def add(self, title: str, text: str) -> Note:
        """Keep a new note."""
        note = Note(next(self._ids), title, text)
        self._notes[note.id] = note
        return note

    def get(self, id: int) -> Note:
        """Return a note."""
        try:
            return self._notes[id]
        except KeyError:
            raise NoSuchNote(f"no note {id}") from None
