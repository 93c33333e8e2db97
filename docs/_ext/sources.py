"""A link to a module of the package leads to its page of source, not to a download."""

from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.ext.viewcode import OUTPUT_DIRNAME
from sphinx.pycode import ModuleAnalyzer

ROOT = Path(__file__).resolve().parents[2]


def setup(app):
    app.connect("doctree-resolved", link_modules)
    return {"parallel_read_safe": True}


def link_modules(app, doctree, docname):
    if app.builder.format != "html":
        return
    for link in list(doctree.findall(addnodes.download_reference)):
        path = (Path(app.srcdir) / Path(docname).parent / link["reftarget"]).resolve()
        if path.is_relative_to(ROOT / "keras_focal"):
            page = path.relative_to(ROOT).with_suffix("").as_posix()
            show(app.env, page.replace("/", "."))
            uri = app.builder.get_relative_uri(docname, f"{OUTPUT_DIRNAME}/{page}")
            link.replace_self(nodes.reference("", "", *link.children, refuri=uri, internal=True))


def show(env, module: str) -> None:
    """Have a page made of a module, if no public name has one made already."""
    if not env._viewcode_modules.get(module):
        analyzer = ModuleAnalyzer.for_module(module)
        analyzer.find_tags()
        env._viewcode_modules[module] = analyzer.code, analyzer.tags, {}, module
