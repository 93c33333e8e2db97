"""The built site: every public name has a page, every link leads somewhere, nothing is fetched."""

import re
from collections import defaultdict
from functools import cache
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from backends import BACKEND

import keras_focal

pytestmark = pytest.mark.skipif(BACKEND != "tensorflow", reason="the site has no backend")
MODULES = sorted({*keras_focal.__all__, "beam"} - {"__version__"})


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_a_page_with_its_docstring(module, site):
    found = pytest.importorskip(f"keras_focal.{module}", reason="needs an extra")
    overview = text_of(site / f"api/generated/keras_focal.{module}.html")
    for name in found.__all__:
        page = site / f"api/generated/keras_focal.{module}.{name}.html"
        assert page.is_file(), name
        assert f"keras_focal.{module}.{name}.html" in overview, name
        described = text_of(page).split('<dl class="py ')[1].split("<dd>")[1].split("</dd>")[0]
        assert len(re.sub(r"<[^>]+>|\s", "", described)) > 10, name


def test_functions_link_to_their_source_and_equation(site):
    page = text_of(site / "api/generated/keras_focal.functional.brier_loss.html")
    (source,) = {*re.findall(r'href="(\.\./\.\./_modules/[^"#]+)', page)}
    assert (site / "api/generated" / source).is_file()
    assert re.search(r'href="\.\./\.\./maths\.html#[\w-]+">L1<', page)


def test_links_to_modules_lead_to_their_source(site):
    assert 'href="_modules/keras_focal/functional/losses/_focal.html"' in text_of(
        site / "maths.html"
    )
    assert 'href="../_modules/keras_focal/functional/_backend/compilation.html"' in text_of(
        site / "decisions/kernels.html"
    )


def test_links_lead_somewhere(site):
    broken = defaultdict(set)
    for page in sorted(site.rglob("*.html")):
        for link in links(page):
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            target = target / "index.html" if target.is_dir() else target
            is_broken = not target.is_file()
            if (
                has_anchors(page)
                and has_anchors(target)
                and parts.fragment
                and target.suffix == ".html"
            ):
                is_broken = is_broken or unquote(parts.fragment) not in anchors(target)
            if is_broken:
                broken[link].add(page.name)
    assert not broken


def test_pages_fetch_nothing_from_elsewhere(site):
    for page in site.rglob("*.html"):
        fetched = re.findall(r'<(?:script|img|iframe)\b[^>]*\bsrc="([^"]+)', text_of(page))
        fetched += re.findall(r'<link\b[^>]*rel="stylesheet"[^>]*href="([^"]+)', text_of(page))
        assert not [each for each in fetched if urlsplit(each).scheme in ("http", "https")], page


def has_anchors(page: Path) -> bool:
    """Return whether links from and to a page name anchors that must be there behind their "#".

    In the calculator it is inputs. In a page of source Sphinx marks not all that is linked, and
    gives the file the name of one of the modules that export from it, also in links back to others.
    """
    return not {"calculator", "_modules"} & {*page.parts}


def links(page: Path) -> set[str]:
    found = re.findall(r'<(?:a|link|img|script)\b[^>]*\b(?:href|src)="([^"]*)', text_of(page))
    return {unescape(link) for link in found} - {"", "#"}


@cache
def anchors(page: Path) -> set[str]:
    return {unescape(one) for one in re.findall(r'\bid="([^"]+)"', text_of(page))} | {""}


@cache
def text_of(page: Path) -> str:
    return page.read_text()
