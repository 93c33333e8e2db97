"""The page of keras-focal report in a browser: a narrow screen, a dark scheme, nothing loaded."""

import numpy as np
import pytest

from keras_focal.cli import main

NAMES = ["cat", "golden retriever", "Schabrackentapir", "a_class_with_quite_a_long_name"]


@pytest.fixture(scope="module")
def page(tmp_path_factory, browser):
    """Open the page in headless Chromium."""
    folder = tmp_path_factory.mktemp("page")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 300)
    logits = rng.normal(0, 3, (300, 4)) + 4 * np.eye(4)[labels]
    name = folder / f"predictions_of_a_model_with_a_long_name_{'x' * 40}.npz"
    np.savez(name, logits=logits, labels=labels, classes=NAMES)
    assert main(["report", str(name), "--json", "--out", str(folder / "p.html")]) == 0
    opened = browser.new_page()
    opened.requests = []
    opened.on("request", lambda request: opened.requests.append(request.url))
    opened.goto(f"file://{folder / 'p.html'}")
    return opened


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_off(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for box in page.query_selector_all(".scroll"):
        assert box.evaluate("e => e.scrollWidth <= e.clientWidth")
    images = page.query_selector_all("img")
    assert len(images) == 5
    assert all(each.evaluate("e => e.naturalWidth > 0") for each in images)


def luminance(colour):
    red, green, blue = (int(part) for part in colour[4:-1].split(", "))
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_schemes(page, scheme):
    page.emulate_media(color_scheme=scheme)
    style = "getComputedStyle(document.querySelector({!r})).{}"
    paper = luminance(page.evaluate(style.format("body", "backgroundColor")))
    assert (paper < 0.2) == (scheme == "dark")
    for selector in ("h1", "td", "footer"):
        ink = luminance(page.evaluate(style.format(selector, "color")))
        assert abs(ink - paper) > 0.4


def test_page_loads_nothing_else(page):
    assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []
