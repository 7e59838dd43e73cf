"""Pictures of all figures, drawn from the rows when the site is built, so that no picture is older than its rows."""

from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from asla_agents.callbacks import read_rows
from asla_agents.figures import NAMES, claim, figure


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("figures", Figures)
    return {"parallel_read_safe": True}


class Figures(SphinxDirective):
    """A picture of each figure that has rows: ```` ```{figures} directory of rows ````, relative to the page."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Draw the pictures into ``_drawn`` beside the pages."""
        results = Path(self.env.doc2path(self.env.docname)).parent / self.arguments[0]
        pictures = Path(self.env.srcdir) / "_drawn"
        pictures.mkdir(exist_ok=True)
        shown: list[nodes.Node] = []
        for name in NAMES:
            rows = results / f"{name}.jsonl"
            rows = rows if rows.is_file() else results / "figures.jsonl"
            self.env.note_dependency(str(rows))
            try:
                figure(name, read_rows(rows)).savefig(pictures / f"{name}.png", dpi=150)
            except ValueError:  # it has no rows yet
                continue
            image = nodes.image(uri=f"/_drawn/{name}.png", alt=name, width="70%")
            shown.append(nodes.figure("", image, nodes.caption(text=f"{name}: {claim(name)}")))
        return shown
