"""The page that calculates in use: fields, links, tabs, files, a narrow screen, a dark scheme."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import reference

INDEX = Path(__file__).resolve().parents[2] / "docs" / "calculator" / "index.html"

RNG = np.random.default_rng(2)
SIZE, K = 300, 4
LABELS = RNG.integers(0, K, SIZE)
LOGITS = RNG.normal(0, 3, (SIZE, K)) + 3 * np.eye(K)[LABELS]
FIRST, SECOND = ".slot:first-child ", ".slot:last-child "


@pytest.fixture(autouse=True)
def _afresh(page):
    """Each test begins with the page as it opens."""
    page.set_viewport_size({"width": 1280, "height": 900})
    page.evaluate("history.replaceState(null, '', '#')")
    page.reload()


@pytest.fixture(scope="module")
def content(npz_of):
    return npz_of(logits=LOGITS, labels=LABELS)


def fill(page, **fields):
    for name, value in fields.items():
        page.fill(f"#{name}", value)


def loss(page):
    return page.inner_text("#product .loss dd")


def open_file(page, slot, name, content):
    file = {"name": name, "mimeType": "", "buffer": content}
    page.set_input_files(f"{slot}.file", file)


def wait_for_curves(page, slot):
    page.wait_for_function(f"document.querySelector('{slot}.best').textContent.includes('by ECE')")


def figures(page, slot):
    rows = page.inner_text(f"{slot}.figures").splitlines()
    cells = [row.split("\t") for row in rows]
    return {row[0]: [float(cell.rstrip(" %")) for cell in row[1:]] for row in cells[1:]}


def assert_no_nan(page):
    shown = page.inner_text("body") + page.evaluate(
        "[...document.querySelectorAll('svg')].map((each) => each.outerHTML).join()"
    )
    assert not re.search("NaN|undefined|null|Infinity", shown)


def test_a_change_of_any_input_is_shown_at_once(page):
    assert loss(page) == "0.0001574"
    fill(page, gamma="0")
    assert loss(page) == page.inner_text("#product dd >> nth=1") == "0.05499"
    assert page.input_value("#gamma-slider") == "0"
    page.locator("#gamma-slider").press("End")
    assert page.input_value("#gamma") == "10"
    page.check("[value=FLSD-53]")
    assert not page.is_visible("#gamma")
    fill(page, logits="0.5 1.5 1", alpha="0.5, 1, 1")
    expected, _ = reference.sparse_focal(0, [0.5, 1.5, 1], 5, [0.5, 1, 1])
    assert float(loss(page)) == pytest.approx(expected, rel=1e-3)
    assert "γ = 5: 0.5 × (1 − 0.186324)5" in page.inner_text("#worked")
    assert page.inner_text("#summary").startswith(f"Focal loss {loss(page)}")
    page.check("[value=sigmoid]")
    fill(page, logits="-2", alpha="0.25")
    expected, _ = reference.binary_focal(0, -2, 3, 0.25)
    assert float(loss(page)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    "fields",
    [
        {"logits": "0.1, -2.5, 300", "class": "1", "gamma": "0.35"},
        {"logits": "1, 2, -inf", "class": "0", "alpha": "1, 0.5, 2", "rule": "FLSD-532"},
        {"logits": "-1.5", "class": "1", "kind": "sigmoid", "alpha": "0.25"},
    ],
)
def test_a_link_carries_the_inputs(page, fields):
    for name in ("kind", "rule"):
        if name in fields:
            page.check(f"[value={fields[name]}]")
    texts = {name: value for name, value in fields.items() if name not in ("kind", "rule")}
    fill(page, **texts)
    shown = page.inner_text("#one .results")
    link = page.evaluate("document.getElementById('link').href")
    assert link == page.url
    page.goto("about:blank")
    page.goto(link)
    assert page.inner_text("#one .results") == shown
    assert {name: page.input_value(f"#{name}") for name in texts} == texts


CHANGED = "old => document.getElementById('worked').innerText !== old"


def test_examples_are_links_that_work(page):
    fill(page, gamma="1")
    for link in page.locator("nav a").all():
        before = page.inner_text("#worked")
        link.click()
        page.wait_for_function(CHANGED, arg=before)
        assert_no_nan(page)
    page.go_back()
    page.wait_for_function("document.getElementById('worked').innerText.includes('γ = 5')")


BAD = {
    "": ("logits", "", "Enter numbers"),
    "text": ("logits", "4, x, 1", "“x” is not a number"),
    "nan": ("logits", "4, nan", "“nan” is not a number"),
    "too large": ("logits", "1e301, 0", "finite"),
    "one logit": ("logits", "4", "two logits or more"),
    "too many": ("logits", "1," * 1001, "at most 1000"),
    "class beyond": ("class", "3", "0 to 2, as there are 3 logits"),
    "class below": ("class", "-1", "0 to 2"),
    "half a class": ("class", "0.5", "whole number"),
    "no class": ("class", "", "whole number"),
    "impossible class": ("logits", "-inf, 1", "infinite loss"),
    "gamma below": ("gamma", "-1", "from 0 to 1000"),
    "gamma of text": ("gamma", "two", "from 0 to 1000"),
    "two alphas": ("alpha", "1, 2", "one alpha, or 3"),
    "alpha below": ("alpha", "-1", "from 0"),
}


def test_bad_input_is_explained_beside_its_field(page):
    for field, value, message in BAD.values():
        right = page.input_value(f"#{field}")
        before = loss(page)
        page.fill(f"#{field}", value)
        error = "class" if "infinite" in message else field
        assert message in page.inner_text(f"#{error}-error"), (field, value)
        assert page.get_attribute(f"#{error}", "aria-invalid") == "true"
        assert f"{error}-error" in page.get_attribute(f"#{error}", "aria-describedby")
        # What was right before is still shown, as what it is.
        assert page.is_visible("#stale")
        assert page.evaluate("document.getElementById('results').inert")
        assert loss(page) == before
        assert_no_nan(page)
        page.fill(f"#{field}", right)
        assert not page.is_visible("#stale")
        assert page.locator("#one [aria-invalid]").count() == 0


def test_a_link_with_nonsense_is_explained(page):
    page.evaluate("location.hash = '#kind=other&logits=1,b&class=7&gamma=FLSD&alpha=x'")
    page.wait_for_function("document.getElementById('logits').value === '1, b'")
    assert "“b” is not a number" in page.inner_text("#logits-error")
    assert "from 0 to 1000" in page.inner_text("#gamma-error")
    assert_no_nan(page)


@pytest.mark.parametrize(
    "hash",
    [
        "logits=1e300,-1e300&class=1",
        "logits=1e300,-1e300&class=0",
        "logits=-inf,0,-inf&class=1&gamma=0",
        "logits=800,0&class=0&gamma=1000",
        "logits=0,0&class=0&gamma=1e-9&alpha=0",
        "kind=sigmoid&logits=-700&class=1&gamma=0.01&alpha=0",
        f"logits={','.join(['0'] * 1000)}&class=999",
    ],
)
def test_extremes_are_numbers(page, hash):
    page.evaluate("hash => { location.hash = hash }", hash)
    label = re.search(r"class=(\d+)", hash)[1]
    page.wait_for_function("label => document.getElementById('class').value === label", arg=label)
    assert not page.is_visible("#stale")
    assert_no_nan(page)
    assert page.locator("#classes tbody tr").count() <= 12


def test_tabs_follow_the_arrow_keys(page):
    page.focus("#tab-one")
    keys = {"ArrowRight": "files", "End": "files", "Home": "one", "ArrowLeft": "files"}
    for key, tab in keys.items():
        page.keyboard.press(key)
        other = {"one": "files", "files": "one"}[tab]
        assert page.evaluate("document.activeElement.id") == f"tab-{tab}"
        assert page.get_attribute(f"#tab-{tab}", "aria-selected") == "true"
        assert page.get_attribute(f"#tab-{other}", "tabindex") == "-1"
        assert page.is_visible(f"#{tab}")
        assert not page.is_visible(f"#{other}")
    assert page.url.endswith("#files")
    page.reload()
    assert page.is_visible("#files")


NAMELESS = """[...document.querySelectorAll("input, select, button, [role=button], svg[role]")]
  .filter((each) => !each.labels?.length && !each.getAttribute("aria-label"))
  .filter((each) => !each.textContent.trim()).map((each) => each.outerHTML)"""


def test_every_control_has_a_name(page):
    page.click("#tab-files")
    page.click(f"{FIRST}.example")
    assert page.evaluate(NAMELESS) == []


def test_two_files_stand_side_by_side(page, content):
    page.click("#tab-files")
    assert not page.is_visible(f"{SECOND}.drop")
    open_file(page, FIRST, "a.npz", content)
    page.wait_for_selector(f"{SECOND}.drop")
    lines = ["cat,dog,label", *(["0.9,0.1,cat", "0.8,0.2,dog"] * 30)]
    open_file(page, SECOND, "b.csv", "\n".join(lines).encode())
    for slot in (FIRST, SECOND):
        wait_for_curves(page, slot)
    tops = [page.locator(f"{slot}.name").bounding_box()["y"] for slot in (FIRST, SECOND)]
    assert tops[0] == tops[1]
    confidence, correct = reference.top_label(LABELS, reference.softmax64(LOGITS))
    before = figures(page, FIRST)
    assert before["ECE"] == [round(100 * reference.ece(confidence, correct), 2)]
    assert figures(page, SECOND)["ECE"] == [45]
    assert "Read: probabilities from cat, dog; labels from label." in page.inner_text(
        f"{SECOND}.read-as"
    )

    page.fill(f"{FIRST}.temperature", "2")
    page.wait_for_function("document.querySelector('.figures').innerText.includes('T = 2')")
    after = figures(page, FIRST)
    scaled, _ = reference.top_label(LABELS, reference.softmax64(LOGITS / 2))
    assert after["ECE"] == [*before["ECE"], round(100 * reference.ece(scaled, correct), 2)]
    assert figures(page, SECOND)["ECE"] == [45]

    page.fill("#bins", "5")
    page.wait_for_function("document.querySelectorAll('.slot:first-child .hit').length <= 5")
    assert figures(page, FIRST)["ECE"][0] == round(100 * reference.ece(confidence, correct, 5), 2)
    page.fill("#bins", "0")
    assert "from 1 to 100" in page.inner_text("#bins-error")
    page.fill(f"{FIRST}.temperature", "0")
    assert "from 0.05 to 20" in page.inner_text(f"{FIRST}[data-field=temperature]")
    assert figures(page, FIRST)["ECE"][0] == round(100 * reference.ece(confidence, correct, 5), 2)
    assert_no_nan(page)


def test_a_bin_shows_its_rows_and_a_row_its_loss(page, content):
    page.click("#tab-files")
    open_file(page, FIRST, "a.npz", content)
    confidence, correct = reference.top_label(LABELS, reference.softmax64(LOGITS))
    page.locator(f"{FIRST}.hit[tabindex='0']").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    chosen = page.locator(f"{FIRST}.hit[aria-pressed=true]")
    assert chosen.count() == 1
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    inside = (confidence > 13 / 15) & (confidence <= 14 / 15)
    wrong = int((inside & (correct == 0)).sum())
    assert f"{inside.sum()} predictions, {wrong} of them wrong" in page.inner_text(f"{FIRST}.rows")
    assert f": {inside.sum()} predictions" in chosen.get_attribute("aria-label")
    rows = page.locator(f"{FIRST}.rows tbody tr")
    assert rows.count() == min(10, inside.sum())
    index = int(rows.first.locator("th").inner_text().split()[1])
    assert inside[index]
    rows.first.locator("a").click()
    expected, _ = reference.sparse_focal(LABELS[index], LOGITS[index], 2)
    page.wait_for_selector("#results")
    assert float(page.get_attribute("#product .loss dd", "title")) == pytest.approx(
        expected, rel=1e-6
    )


def test_a_file_that_is_refused_says_which_field_to_fill(page):
    page.click("#tab-files")
    text = "\n".join(["a,b,truth", *(["0.9,0.1,0", "0.3,0.7,1"] * 20)]).encode()
    open_file(page, FIRST, "<b>p.csv", text)
    page.wait_for_selector(f"{FIRST}.reading[open]")
    assert page.inner_text(f"{FIRST}.problem").startswith("<b>p.csv is not read yet")
    error = page.inner_text(f"{FIRST}[data-field=labels]")
    assert error.startswith("The file has none of labels")
    assert "but: a, b, truth" in error
    assert not page.is_visible(f"{FIRST}.report")
    for field, value in (("labels", "truth"), ("predictions", "a, b")):
        page.fill(f"{FIRST}.ask-{field}", value)
        page.locator(f"{FIRST}.ask-{field}").blur()
    page.wait_for_selector(f"{FIRST}.report")
    assert page.inner_text(f"{FIRST}.problem") == ""
    assert page.locator(f"{FIRST}[aria-invalid]").count() == 0
    page.select_option(f"{FIRST}.ask-kind", "logits")
    page.wait_for_function("document.querySelector('[data-field=kind]').textContent")
    assert "looks like probabilities" in page.inner_text(f"{FIRST}[data-field=kind]")
    open_file(page, FIRST, "p.parquet", b"PAR1")
    page.wait_for_function("document.querySelector('.problem').textContent.includes('.npz, .csv')")


DROP = """bytes => {
  const data = new DataTransfer();
  for (const name of ["a.npz", "b.npz"]) data.items.add(new File([Uint8Array.from(bytes)], name));
  for (const type of ["dragover", "drop"]) {
    const how = { dataTransfer: data, bubbles: true, cancelable: true };
    document.querySelector(".drop").dispatchEvent(new DragEvent(type, how));
  }
}"""


def test_files_can_be_dropped(page, content):
    page.click("#tab-files")
    page.evaluate(DROP, list(content))
    for slot, name in ((FIRST, "a.npz"), (SECOND, "b.npz")):
        page.wait_for_selector(f"{slot}.report")
        assert page.inner_text(f"{slot}.name") == name


def luminance(colour):
    red, green, blue = (int(part) for part in re.findall(r"\d+", colour)[:3])
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255


def test_nothing_is_cut_off_on_a_phone_in_either_scheme(page):
    page.set_viewport_size({"width": 390, "height": 800})
    width = "document.documentElement.scrollWidth"
    assert page.evaluate(width) <= 390
    fill(page, logits="60, 0, -1", alpha="0.25", gamma="1.25")
    assert page.evaluate(width) <= 390
    # The result stays in sight while the first fields are changed.
    box = page.locator("#product").bounding_box()
    assert 0 < box["y"] < 800
    page.click("#tab-files")
    for slot in (FIRST, SECOND):
        page.click(f"{slot}.example")
        wait_for_curves(page, slot)
        page.locator(f"{slot}.hit").last.click()
        page.fill(f"{slot}.temperature", "2.75")
    assert page.evaluate(width) <= 390
    for box in page.query_selector_all(".scroll"):
        assert box.evaluate("e => e.scrollWidth <= e.clientWidth")
    style = "getComputedStyle(document.querySelector({!r})).{}"
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        paper = luminance(page.evaluate(style.format("body", "backgroundColor")))
        assert (paper < 0.2) == (scheme == "dark")
        for selector in ("h1", "td", "footer", "a", ".hint"):
            ink = luminance(page.evaluate(style.format(selector, "color")))
            assert abs(ink - paper) > 0.4, (selector, scheme)
    page.emulate_media(color_scheme="light")


def test_the_documentation_is_linked_where_it_is_beside_the_page(page, browser, tmp_path):
    assert not page.is_visible("#home")
    shutil.copytree(INDEX.parent, tmp_path / "calculator")
    built = browser.new_page()
    built.goto((tmp_path / "calculator" / INDEX.name).as_uri())
    assert built.get_attribute("#home", "href") == "../index.html"
    assert built.is_visible("#home")
    assert built.inner_text("#product .loss dd") == loss(page)
    built.close()


def test_page_loads_nothing_else(page):
    assert page.requests
    assert [
        url for url in page.requests if not url.startswith(("file:", "data:", "about:", "blob:"))
    ] == []
