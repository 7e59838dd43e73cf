"""Tables that are made of the code when the site is built, so that no page holds a copy of a default."""

from collections.abc import Sequence
from importlib import import_module
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive, directives
from docutils.statemachine import StringList
from signatures import rows
from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("settings", Settings)
    return {"parallel_read_safe": True}


class Settings(Directive):
    """A table of the arguments of a class that have a default: ```` ```{settings} module.Class ````.

    The option ``without`` names those to leave out.
    """

    required_arguments = 1
    option_spec: ClassVar = {"without": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        module, _, name = self.arguments[0].rpartition(".")
        without = self.options.get("without", "").replace(",", " ").split()
        lines = ["| setting | default | what it is |", "|---|---|---|"]
        for names, defaults, meaning in rows(getattr(import_module(module), name), without):
            cells = _code(names), _code(defaults), meaning.replace("``", "`").replace("|", r"\|")
            lines.append(f"| {' | '.join(cells)} |")
        holder = nodes.container()
        self.state.nested_parse(StringList(lines, self.arguments[0]), self.content_offset, holder)
        return holder.children


def _code(texts: Sequence[str]) -> str:
    """Texts as code, with commas between."""
    return ", ".join(f"`{text}`" for text in texts)
