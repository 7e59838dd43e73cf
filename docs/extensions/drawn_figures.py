"""Pictures of figures and studies, drawn from rows as the site is built, so that no picture is older than its rows."""

from pathlib import Path

from docutils import nodes
from matplotlib.figure import Figure
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from asla_agents.figures import NAMES, claim, figure, rows_in, study_figure
from asla_agents.jobs import job_of
from asla_agents.study import read_study_rows


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("figures", Figures)
    app.add_directive("study", StudyFigure)
    return {"parallel_read_safe": True}


class _Drawn(SphinxDirective):
    """What is drawn into ``_drawn`` beside the pages."""

    def beside_the_page(self, path: str) -> Path:
        """A path that the page gives relative to itself."""
        return Path(self.env.doc2path(self.env.docname)).parent / path

    def drawn(self, name: str, picture: Figure, caption: str) -> nodes.Node:
        """The picture, written to a file, with its caption."""
        directory = Path(self.env.srcdir) / "_drawn"
        directory.mkdir(exist_ok=True)
        picture.savefig(directory / f"{name}.png", dpi=150)
        image = nodes.image(uri=f"/_drawn/{name}.png", alt=name, width="70%")
        return nodes.figure("", image, nodes.caption(text=caption))


class Figures(_Drawn):
    """A picture of each figure that can be drawn: ```` ```{figures} directory of rows ````, relative to the page."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Draw the pictures."""
        results = self.beside_the_page(self.arguments[0])
        for file in results.glob("*.jsonl"):
            self.env.note_dependency(str(file))
        shown: list[nodes.Node] = []
        for name in NAMES:
            rows = rows_in(name, results)
            try:
                picture = figure(name, rows)
            except ValueError:  # it has no rows yet
                continue
            shown.append(self.drawn(name, picture, f"{name}: {claim(name)}"))
        return shown


class StudyFigure(_Drawn):
    """A picture of a study: ```` ```{study} file of the study, file of its rows ````, with its caption below.

    It is what ``asla plot`` draws of them.
    """

    required_arguments = 2
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Draw the picture."""
        spec, rows = map(self.beside_the_page, self.arguments)
        for file in (spec, rows):
            self.env.note_dependency(str(file))
        picture = study_figure(spec.name, job_of(str(spec)).study, read_study_rows(rows))
        return [self.drawn(spec.stem, picture, " ".join(self.content))]
