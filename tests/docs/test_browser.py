"""The site in a browser: search finds names, pages fit a phone, and both schemes can be read."""

import pytest
from backends import BACKEND

PAGES = [
    "index.html",
    "tutorial.html",
    "losses.html",
    "guides/gamma.html",
    "guides/command_line.html",
    "api/generated/keras_focal.losses.html",
    "api/generated/keras_focal.callbacks.CalibrationMonitor.html",
    "maths.html",
    "benchmarks.html",
    "reproduction.html",
    "glossary.html",
    "examples/index.html",
]


@pytest.fixture(scope="module")
def page(browser, site):
    if BACKEND != "tensorflow":
        pytest.skip("the site has no backend")
    opened = browser.new_page()
    yield opened
    opened.close()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_page_is_no_wider_than_the_screen(page, site, name, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.goto((site / name).as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    images = page.locator("article img").all()
    assert all(image.evaluate("e => e.complete && e.naturalWidth > 0") for image in images)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index.html", "tutorial.html"])
def test_text_stands_out_in_both_schemes(page, site, name, scheme):
    page.emulate_media(color_scheme=scheme)
    page.goto((site / name).as_uri())
    paper = luminance(page, "body", "backgroundColor")
    assert (paper < 0.2) == (scheme == "dark")
    for element in ("h1", "article p", "article pre"):
        assert abs(luminance(page, element, "color") - paper) > 0.4


def luminance(page, selector, which):
    colour = page.locator(selector).first.evaluate(f"e => getComputedStyle(e).{which}")
    red, green, blue = (int(part) for part in colour.strip("rgba()").split(", ")[:3])
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255


@pytest.mark.parametrize(
    ("words", "target"),
    [
        ("CalibrationMonitor", "keras_focal.callbacks.CalibrationMonitor.html"),
        ("under-confident", "tutorial.html"),
        ("noise_floor", "keras_focal.functional.noise_floor.html"),
    ],
)
def test_search_finds_names_and_words(page, site, words, target):
    page.goto((site / "index.html").as_uri())
    page.set_viewport_size({"width": 1280, "height": 900})
    page.locator("input.sidebar-search").fill(words)
    page.keyboard.press("Enter")
    page.wait_for_function("/found/.test(document.querySelector('#search-results')?.innerText)")
    found = [link.get_attribute("href") for link in page.locator("ul.search li a").all()]
    assert any(target in link for link in found)
