"""Pictures of all figures, drawn from the rows when the site is built, so that no picture is older than its rows."""

from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from asla_agents.figures import NAMES, claim, figure, rows_in


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("figures", Figures)
    return {"parallel_read_safe": True}


class Figures(SphinxDirective):
    """A picture of each figure that can be drawn: ```` ```{figures} directory of rows ````, relative to the page."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Draw the pictures into ``_drawn`` beside the pages."""
        results = Path(self.env.doc2path(self.env.docname)).parent / self.arguments[0]
        pictures = Path(self.env.srcdir) / "_drawn"
        pictures.mkdir(exist_ok=True)
        for file in results.glob("*.jsonl"):
            self.env.note_dependency(str(file))
        shown: list[nodes.Node] = []
        for name in NAMES:
            rows = rows_in(name, results)
            try:
                picture = figure(name, rows)
            except ValueError:  # it has no rows yet
                continue
            picture.savefig(pictures / f"{name}.png", dpi=150)
            image = nodes.image(uri=f"/_drawn/{name}.png", alt=name, width="70%")
            shown.append(nodes.figure("", image, nodes.caption(text=f"{name}: {claim(name)}")))
        return shown
