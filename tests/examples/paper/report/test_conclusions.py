"""What the page concludes in words is in the figures that it speaks of."""

import re

import numpy as np
from scipy.stats import spearmanr

from examples.paper.files import read_json
from examples.paper.report.beyond import PAIR, by_network
from examples.paper.report.claims import CLAIMS
from examples.paper.report.compare import means, paper
from examples.paper.reproduce import shift
from examples.paper.reproduce.beyond import load as load_beyond
from examples.paper.reproduce.maps import MAPS, NO_MAP
from examples.paper.reproduce.results import RESULTS, by_experiment, load

TEXTS = ("newsgroups20", "global-pooling-cnn-small")
SMALL = ("cifar10", "resnet8, 80 epochs")
WHOLE, LONGER = (("cifar10", f"resnet6-wide, sum, {epochs} epochs") for epochs in (21, 42))


def test_what_the_page_concludes_of_the_objectives_is_in_its_figures():
    of = {key: means(items) for key, items in by_experiment(load()).items()}
    mean, summed = of[SMALL], of["cifar10", "resnet8, sum, 80 epochs"]
    for loss in ("CE", "FL-3", "FLSD-53"):
        assert summed[loss]["pre"] > mean[loss]["pre"]
        assert summed[loss]["T"] > mean[loss]["T"]
    assert summed["LS-0.05"]["pre"] < mean["LS-0.05"]["pre"]
    for figures in (mean, summed):
        assert figures["FLSD-53"]["pre"] < figures["CE"]["pre"]
    for loss, figures in summed.items():
        assert abs(figures["error"] - mean[loss]["error"]) < 1.5
        assert abs(figures["post"] - mean[loss]["post"]) < 0.5


def test_what_the_page_concludes_of_when_focal_loss_helps_is_in_its_figures():
    found = by_experiment(load())
    seeds = [
        (
            ce.figures["ece"]["T"],
            ce.figures["ece"]["pre"]["ece"] - flsd.figures["ece"]["pre"]["ece"],
        )
        for items in found.values()
        for ce in items
        for flsd in items
        if (ce.run.loss, flsd.run.loss) == PAIR and ce.run.seed == flsd.run.seed
    ]
    assert spearmanr(*zip(*seeds, strict=True)).statistic > 0.5
    of = {key: means(items) for key, items in found.items()}
    of = {key: figures for key, figures in of.items() if {"CE", "FLSD-53"} <= figures.keys()}
    assert len(of) == 6
    gains = {key: m["CE"]["pre"] - m["FLSD-53"]["pre"] for key, m in of.items()}
    assert [key[0] for key, gain in gains.items() if gain < 0] == ["sst"]
    temperatures = sorted(of, key=lambda key: of[key]["CE"]["T"])
    assert set(temperatures[-2:]) == set(sorted(gains, key=gains.get)[-2:])
    for key, m in of.items():
        assert (m["CE"]["pre"] - m["CE"]["post"] > gains[key]) == (key[0] != "newsgroups20")
        assert (m["FLSD-53"]["post"] < m["CE"]["post"] - 0.5) == (key[0] == "newsgroups20")
    for key in (WHOLE, ("sst", "tree-lstm")):
        ce, flsd = of[key]["CE"], of[key]["FLSD-53"]
        assert flsd["T"] < 1 < ce["T"]
        assert flsd["error"] > ce["error"]
    whole = of[WHOLE]
    assert whole["FLSD-53"]["pre"] < 0.5 * whole["CE"]["pre"]
    assert whole["FLSD-53"]["post"] > whole["CE"]["post"]
    assert paper("sst/tree-lstm")["FLSD-53"]["pre"] > paper("sst/tree-lstm")["CE"]["pre"]


def test_what_the_page_concludes_of_maps_is_in_its_figures():
    of = by_network(load_beyond(), "maps")
    assert of.keys() == {SMALL, WHOLE, LONGER, ("sst", "tree-lstm")}
    for images in of.values():
        for name in MAPS:
            assert name == "isotonic" or abs(np.mean(gaps(images, name, "ece"))) < 0.705
    small, whole, trees = of[SMALL], of[WHOLE], of["sst", "tree-lstm"]
    for images in (small, whole):
        assert [len(images[loss]) for loss in PAIR] == [2, 2]
        assert max(gaps(images, NO_MAP, "nll")) < 0
    longer = of[LONGER]
    assert [list(longer[loss]) for loss in PAIR] == [["0"], ["0"]]
    assert longer["FLSD-53"]["0"][NO_MAP]["ece"] < longer["CE"]["0"][NO_MAP]["ece"] / 3
    assert max(gaps(longer, NO_MAP, "nll")) < -20
    for name in MAPS:
        assert (max(gaps(longer, name, "ece")) < 0) == (name != "temperature")
        assert (min(gaps(longer, name, "nll")) > 0) == (name != "isotonic")
        assert max(gaps(longer, name, "nll")) < 1.105
    assert [len(trees[loss]) for loss in PAIR] == [10, 10]
    ce, flsd = (np.mean([row[NO_MAP]["ece"] for row in whole[loss].values()]) for loss in PAIR)
    assert 0.45 < flsd / ce < 0.55
    for seed, row in small["CE"].items():
        assert small["FLSD-53"][seed][NO_MAP]["ece"] < row[NO_MAP]["ece"] / 2
    for name in MAPS:
        assert abs(np.mean(gaps(small, name, "ece"))) < np.std(gaps(small, name, "ece"), ddof=1)
        assert abs(np.mean(gaps(whole, name, "ece"))) < 0.605
        assert max(gaps(small, name, "nll")) < 0 < min(gaps(whole, name, "nll"))
        assert (min(gaps(whole, name, "nll")) < 0.5) == (name == "isotonic")
        assert -0.505 < np.mean(gaps(trees, name, "ece")) < 0
        assert standard_errors(gaps(trees, name, "nll")) > 1.9
    assert abs(standard_errors(gaps(trees, NO_MAP, "ece"))) < 2
    assert standard_errors(gaps(trees, "temperature", "nll")) > 3


def gaps(of_loss, name, figure):
    """Return what FLSD-53 has more of a figure than cross-entropy, of each seed."""
    ce, flsd = (of_loss[loss] for loss in PAIR)
    return [flsd[seed][name][figure] - ce[seed][name][figure] for seed in ce]


def standard_errors(differences):
    """Return how many of its standard errors a mean is."""
    return np.mean(differences) / (np.std(differences, ddof=1) / np.sqrt(len(differences)))


def test_what_the_page_concludes_of_other_images_and_few_to_learn_from_is_in_its_figures():
    of_loss = by_network(load_beyond(), "shift")[SMALL]
    maps = by_network(load_beyond(), "maps")[SMALL]
    for loss in PAIR:
        usual = np.mean([found["temperature"]["ece"] for found in maps[loss].values()])
        assert all(found[NO_MAP]["error"] > 50 for found in maps[loss].values())
        for kind in shift.DAMAGES:
            before, after = (mean(of_loss[loss], kind, when, "ece") for when in ("pre", "post"))
            assert usual < after < before
            if "contrast" not in kind:
                assert abs(mean(of_loss[loss], kind, "pre", "auroc_confidence") - 50) < 7
    for kind in (*shift.DAMAGES, shift.OTHER):
        for when in ("pre", "post"):
            ce, flsd = (mean(of_loss[loss], kind, when, "auroc_confidence") for loss in PAIR)
            assert (ce > flsd) == ("noise" not in kind)
        if kind in shift.DAMAGES:
            ce, flsd = (mean(of_loss[loss], kind, "post", "ece") for loss in PAIR)
            assert (ce < flsd) == ("noise" not in kind)


def test_what_the_page_concludes_of_other_images_and_all_to_learn_from_is_in_its_figures():
    of_loss = by_network(load_beyond(), "shift")[WHOLE]
    ce, flsd = (of_loss[loss] for loss in PAIR)
    for kind in shift.DAMAGES:
        for of_seed in (ce, flsd):
            for found in of_seed.values():
                assert found[kind]["pre"]["confidence"] > 100 - found[kind]["pre"]["error"]
        lowest = mean(flsd, kind, "pre", "ece")
        assert lowest < mean(ce, kind, "post", "ece")
        assert lowest < mean(flsd, kind, "post", "ece")
        assert mean(flsd, kind, "post", "ece") > mean(ce, kind, "post", "ece") - 0.05
    for kind in (*shift.DAMAGES, shift.OTHER):
        for figure in ("auroc_confidence", "auroc_entropy"):
            best = mean(ce, kind, "post", figure)
            assert best > mean(ce, kind, "pre", figure)
            assert best > mean(flsd, kind, "post", figure)
            assert mean(flsd, kind, "post", figure) < mean(flsd, kind, "pre", figure)
            of_contrast = (kind, figure) == ("contrast, severity 5", "auroc_entropy")
            assert (best > mean(flsd, kind, "pre", figure)) != of_contrast


def test_what_the_page_concludes_of_other_images_and_longer_training_is_in_its_figures():
    of_loss = by_network(load_beyond(), "shift")[LONGER]
    ce, flsd = (of_loss[loss] for loss in PAIR)
    for kind in shift.DAMAGES:
        assert mean(flsd, kind, "pre", "ece") < mean(ce, kind, "pre", "ece")
        lowest = mean(ce, kind, "post", "ece")
        assert lowest < min(mean(flsd, kind, when, "ece") for when in ("pre", "post"))


def mean(of_seed, kind, when, figure):
    """Return the mean over seeds of a figure of images of a kind."""
    return np.mean([found[kind][when][figure] for found in of_seed.values()])


def test_what_the_page_concludes_of_longer_training_is_in_its_figures():
    found = by_experiment(load())
    whole, longer = means(found[WHOLE]), means(found[LONGER])
    papers = paper("cifar10/resnet50")
    assert [item.run.loss for item in found[LONGER]] == list(PAIR)
    asked = [claim for claim in CLAIMS if claim.can_be_asked(longer)]
    differ = [claim.text for claim in asked if claim.holds(longer) != claim.holds(papers)]
    assert len(asked) > 6
    assert [text.endswith("(Table 13)") for text in differ] == [True]
    assert longer["CE"]["T"] > whole["CE"]["T"]
    assert longer["CE"]["pre"] > whole["CE"]["pre"]
    assert longer["CE"]["nll"] > whole["CE"]["nll"]
    assert longer["CE"]["error"] < whole["CE"]["error"]
    assert 1 < longer["FLSD-53"]["T"] < 1.3
    assert longer["FLSD-53"]["nll"] < whole["FLSD-53"]["nll"]
    assert longer["FLSD-53"]["pre"] < longer["CE"]["pre"] / 3
    assert abs(longer["FLSD-53"]["error"] - longer["CE"]["error"]) < 0.5
    assert min(longer[loss]["error"] for loss in PAIR) > 15


def test_what_the_page_concludes_of_the_claims_is_in_its_figures():
    found = by_experiment(load())
    of = {key: means(items) for key, items in found.items()}
    whole, small = of[WHOLE], of[SMALL]
    texts, trees = of[TEXTS], of["sst", "tree-lstm"]
    assert whole["CE"]["T"] > 1 > whole["FLSD-53"]["T"]
    assert whole["CE"]["T"] > 1 / whole["FLSD-53"]["T"]
    errors = {loss: {} for loss in PAIR}
    for item in found[WHOLE]:
        if item.run.loss in PAIR:
            errors[item.run.loss][item.run.seed] = item.figures["ece"]["pre"]["error"]
    assert errors["CE"].keys() == errors["FLSD-53"].keys() == {0, 1, 2}
    assert all(error < errors["FLSD-53"][seed] for seed, error in errors["CE"].items())
    gains = {loss: whole[loss]["pre"] - whole[loss]["post"] for loss in PAIR}
    assert gains["CE"] > gains["FLSD-53"]
    assert min(whole, key=lambda loss: whole[loss]["pre"]) == "FLSc-531"
    assert whole["FLSc-531"]["T"] == 1.0
    for loss in ("AdaFocal", "DualFocal"):
        assert whole[loss]["pre"] < whole["CE"]["pre"] / 2
        assert abs(whole[loss]["error"] - whole["CE"]["error"]) < 0.5
    assert min(figures["error"] for figures in small.values()) > 50
    for order in (small, texts):
        assert order["FLSD-53"]["pre"] < order["CE"]["pre"]
        assert order["FLSD-53"]["pre"] < order["FLSc-531"]["pre"]
    assert texts["LS-0.05"]["T"] < 1
    papers = paper("newsgroups20/global-pooling-cnn")
    assert all(figures["T"] < papers[loss]["T"] for loss, figures in texts.items())
    assert abs(texts["FLSD-53"]["T"] - 1) < 0.1
    assert 0 < texts["FLSD-53"]["error"] - texts["CE"]["error"] < 1.5
    one, other = (item.figures["ece"] for item in found[TEXTS] if item.run.loss == "Brier")
    assert abs(one["pre"]["ece"] - other["pre"]["ece"]) > 5
    for figures in (trees, paper("sst/tree-lstm")):
        assert figures["FLSD-53"]["T"] < 1
        assert figures["LS-0.05"]["pre"] < figures["CE"]["pre"] < figures["FLSD-53"]["pre"]
    of_seed = {loss: {} for loss in (*PAIR, "LS-0.05")}
    for item in found["sst", "tree-lstm"]:
        if item.run.loss in of_seed:
            of_seed[item.run.loss][item.run.seed] = item.figures["ece"]
    assert [len(figures) for figures in of_seed.values()] == [10, 10, 10]
    temperatures = [figures["T"] for figures in of_seed["CE"].values()]
    assert sum(t < 1 for t in temperatures) == 1
    assert sum(t > 4 for t in temperatures) == 3
    assert sum(figures["T"] < 1 for figures in of_seed["FLSD-53"].values()) == 9

    def excess(loss, when, figure):
        of_loss, ce = of_seed[loss], of_seed["CE"]
        differences = [of_loss[seed][when][figure] - ce[seed][when][figure] for seed in ce]
        return standard_errors(differences)

    assert excess("LS-0.05", "pre", "ece") < -2
    assert 0 < excess("FLSD-53", "pre", "ece") < 2
    assert abs(excess("FLSD-53", "post", "ece")) < 2
    assert excess("FLSD-53", "pre", "error") > 2


def test_what_the_page_concludes_of_translation_is_in_its_figures():
    (items,) = (items for key, items in by_experiment(load()).items() if key[0] == "multi30k")
    of = means(items)
    assert min(of, key=lambda loss: of[loss]["pre"]) == "FL-1"
    assert of["FL-1"]["T"] == 1.0
    of_loss = {}
    for item in items:
        of_loss.setdefault(item.run.loss, []).append(item.figures["ece"]["pre"]["bleu"])
    between_losses = np.ptp([figures["bleu_pre"] for figures in of.values()])
    assert max(map(np.ptp, of_loss.values())) > between_losses
    curves = [item.figures["ece"] for item in items if item.run.loss == "LS-0.1"]
    collapsed = [
        curve["bleu_test"][-1] < 0.5 * curve["pre"]["bleu"]
        for curve in curves
        if curve["bleu_temperatures"][-1] > 1
    ]
    assert sorted(collapsed) == [False, True]


def test_what_the_page_concludes_of_the_linear_model_is_in_its_figures():
    seeds = read_json(RESULTS / "linear_model.json")["seeds"].values()
    for of_seed in seeds:
        ce, focal = of_seed["CE"], of_seed["FL-1"]
        for norm in ("weight_norm", "logit_norm"):
            assert ce[norm] > focal[norm]
        assert of_seed["decided_alike"] > 0.99
        assert ce["wrong_confidence"] > focal["wrong_confidence"]
        assert ce["wrong_above_90_percent"] < 0.9


def test_what_the_page_concludes_of_the_published_logits_is_in_its_figures():
    rows = read_json(RESULTS / "published_logits.json")["rows"]
    (row,) = (r for r in rows if (r["loss"], r["figure"]) == ("FLSD-53", "confident_accuracy_pre"))
    fewer, said = map(
        int, re.findall(r"(\d+) are wrong; the paper's figures say (\d+)", row["note"])[0]
    )
    assert fewer < said
