"""Names in docstrings and on pages, written for readers of the code and of GitHub, become links of the site."""

import re
from typing import Any

from docutils import nodes
from docutils.nodes import Element
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform

_NAME = re.compile(r"asla_(env|agents)(\.\w+)*|[A-Z]\w+")
_OF_PACKAGE = re.compile(r"^asla_(env|agents)\.(?=[A-Z]\w+$)")  # which passes on what its modules define


def setup(app: Sphinx) -> dict[str, bool]:
    """Register what is done with docstrings and pages."""
    app.add_transform(NamesAsLinks)
    app.connect("autodoc-process-docstring", headings_as_rubrics)
    app.connect("autodoc-process-docstring", keep_from_napoleon, priority=400)  # before napoleon's 500
    app.connect("missing-reference", find_by_last_name)
    return {"parallel_read_safe": True}


class NamesAsLinks(SphinxTransform):
    """Link code on a page that is a name, `Evaluator` or `asla_env.evaluator`; a dotted one must lead somewhere."""

    default_priority = 200

    def apply(self, **kwargs: Any) -> None:
        """Put a reference around each."""
        for code in list(self.document.findall(nodes.literal)):
            if _NAME.fullmatch(code.astext()) and not isinstance(code.parent, nodes.reference | pending_xref):
                about = {"refdomain": "py", "reftype": "obj", "reftarget": code.astext(), "refdoc": self.env.docname}
                link = pending_xref(code.rawsource, refexplicit=False, refwarn=True, **about)
                code.replace_self(link)
                link += code


def headings_as_rubrics(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Turn the ``## Heading`` of an environment's docstring, which is Gymnasium's custom, into what Sphinx knows."""
    lines[:] = [
        new for line in lines for new in ([f".. rubric:: {line[3:]}", ""] if line.startswith("## ") else [line])
    ]


def keep_from_napoleon(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Begin what is said of an attribute with an empty comment: napoleon takes a sentence up to a colon for a type."""
    if what in {"attribute", "data", "property"}:
        lines[:0] = ["..", ""]


def find_by_last_name(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Element) -> Element | None:
    """Link `Name`, `Name.attribute` or `asla_env.Name` to the one object that is called so, in whichever module."""
    domain, name = env.domains.python_domain, _OF_PACKAGE.sub("", node["reftarget"])
    if node.get("refdomain") != "py" or not name[:1].isupper():  # a word in lower case is most often an argument
        return None
    places = [place for place in domain.objects if place.endswith(f".{name}")]
    if len(places) != 1:
        return None
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", places[0], node, content)
