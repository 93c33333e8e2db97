"""The page: its tables, its claims, and that it is what the results give."""

import copy
from dataclasses import replace

import pytest

from examples.paper.report import page
from examples.paper.report.claims import CLAIMS, TRANSLATION_CLAIMS
from examples.paper.reproduce.results import by_experiment


def test_what_is_published_is_what_the_tables_measure(published):
    (items,) = by_experiment(published).values()
    of_loss = page.means(items)
    assert of_loss["CE"]["pre"] > of_loss["FLSD-53"]["pre"]
    assert of_loss["CE"]["error"] == pytest.approx(of_loss["FLSD-53"]["error"])
    assert of_loss["CE"]["T"] > of_loss["FLSD-53"]["T"]


def test_a_loss_of_which_a_seed_diverged_is_in_no_claim(published):
    (items,) = by_experiment(published).values()
    one = next(item for item in items if item.run.loss == "CE")
    lost = dict.fromkeys(("ece", "ada_ece", "confident"), float("nan"))
    lost = {"T": float("nan"), "pre": lost, "post": lost}
    found = page.means([*items, replace(one, figures={"ece": lost})])
    assert found.keys() == {"FLSD-53", "FLSc-531"}


def test_the_two_objectives_stand_side_by_side_where_both_were_run(published):
    (items,) = by_experiment(published).values()
    summed = [
        replace(item, run=replace(item.run, settings={**item.run.settings, "objective": "sum"}))
        for item in items
        if item.run.loss == "CE"
    ]
    rows = [line.split(" | ") for line in page.objectives([*items, *summed]).splitlines()[2:]]
    assert [row[2:4] for row in rows] == [["CE", "mean"], ["CE", "sum"]]
    assert rows[0][4:] == rows[1][4:]
    assert page.objectives(items) == ""


def test_the_summary_has_a_row_for_each_experiment_by_the_temperature_of_cross_entropy(published):
    other = copy.deepcopy(published)
    for item in other:
        item.run.settings["dataset"] = "sst"
        item.figures["ece"]["T"] *= 2
    rows = [line.split(" | ") for line in page.summary([*other, *published]).splitlines()[2:]]
    assert [row[0].strip("| ") for row in rows] == ["cifar10", "sst"]
    ours = page.means(published)
    gain = ours["CE"]["pre"] - ours["FLSD-53"]["pre"]
    assert rows[0][-1].strip(" |") == f"{gain:+.2f}"


def test_how_runs_were_trained_is_said_with_their_cost():
    image = {"dataset": "cifar10", "epochs": 21, "crop": 0, "mixed_precision": True}
    words = page.trained({**image, "objective": "sum", "limit": None})
    assert words == "epochs 21, flips alone, sum of the losses, bfloat16"
    assert page.trained({"dataset": "cifar10", "crop": None}) == "no augmentation"
    assert page.trained({"dataset": "newsgroups20", "crop": None, "length": 500}) == "length 500"


def test_a_claim_is_answered_by_the_figures_and_not_by_hope(published):
    (items,) = by_experiment(published).values()
    ours = page.means(items)
    turned = {"CE": ours["FLSD-53"], "FLSD-53": ours["CE"], "FLSc-531": ours["FLSc-531"]}
    below = CLAIMS[0]
    assert below.holds(ours)
    assert not below.holds(turned)
    assert f"{ours['CE']['pre']:.2f}" in below.figures(ours)


@pytest.mark.parametrize("claim", [*CLAIMS, *TRANSLATION_CLAIMS], ids=lambda claim: claim.text)
def test_every_claim_can_be_asked_of_the_papers_own_figures(claim):
    figures = page.paper("wmt14/transformer" if "FL-1" in claim.losses else "cifar10/resnet50")
    assert claim.figures(figures)
    assert claim.holds(figures) in (True, False)


def test_the_papers_figures_are_those_of_its_tables():
    assert page.paper("cifar10/resnet50")["FLSD-53"] == {
        "pre": 1.55, "post": 0.95, "T": 1.1, "error": 4.98, "nll": 17.55,
        "ada_pre": 1.56, "sure_post": 14.27,
    }  # fmt: skip


def test_the_page_is_what_the_results_give():
    """The committed page, made anew from the committed results."""
    assert page.FILE.read_text() == "\n".join(page.sections())
