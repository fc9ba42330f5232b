"""Puts JavaScript and the Python that does the same side by side; in Markdown they just follow each other."""

from collections.abc import Sequence

from docutils import nodes
from sphinx.transforms import SphinxTransform


class SideBySide(SphinxTransform):
    """Finds a line and a block of JavaScript with a line and a block of Python behind it, and makes columns of them."""

    default_priority = 500

    def apply(self, **_: object) -> None:
        """Change one page."""
        for block in list(self.document.findall(nodes.literal_block)):
            if block.get("language") == "javascript" and (four := _around(block)):
                parent = block.parent
                place = parent.index(four[0])
                parent[place : place + 4] = [_columns(four)]


def _around(block: nodes.literal_block) -> Sequence[nodes.Node] | None:
    """Return the four that belong together, if they do."""
    at = block.parent.index(block)
    four: list[nodes.Node] = block.parent[max(at - 1, 0) : at + 3]
    said, _, says, python = [*four, None, None, None, None][:4]
    are_lines = isinstance(said, nodes.paragraph) and isinstance(says, nodes.paragraph)
    is_python = isinstance(python, nodes.literal_block) and python.get("language") == "python"
    return four if are_lines and is_python else None


def _columns(four: Sequence[nodes.Node]) -> nodes.container:
    sides = [nodes.container("", *four[at : at + 2]) for at in (0, 2)]
    return nodes.container("", *sides, classes=["side-by-side"])
