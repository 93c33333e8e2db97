import numpy as np
import pytest

from keras_focal import losses
from keras_focal.gammas import SampleDependentGamma


@pytest.mark.parametrize(
    ("name", "gamma"),
    [
        ("CE", 0.0),
        ("FL-1", 1.0),
        ("FL-2", 2.0),
        ("FL-3", 3.0),
        ("FLSc-531", 5.0),
        ("FLSc-532", 5.0),
        ("FLSD-53", SampleDependentGamma([0.2], [5.0, 3.0])),
        ("FLSD-532", SampleDependentGamma([0.2, 0.5], [5.0, 3.0, 2.0])),
    ],
)
def test_a_name_of_the_paper_gives_its_gamma(name, gamma):
    assert losses.get(name).gamma == gamma


@pytest.mark.parametrize(
    ("labels", "cls"),
    [
        ("sparse", losses.SparseCategoricalFocalCrossentropy),
        ("categorical", losses.CategoricalFocalCrossentropy),
        ("binary", losses.BinaryFocalCrossentropy),
    ],
)
def test_the_kind_of_labels_picks_the_class(labels, cls):
    assert type(losses.get("FL-3", labels=labels)) is cls


def test_class_ids_are_the_default():
    assert type(losses.get("FL-3")) is losses.SparseCategoricalFocalCrossentropy


def test_arguments_reach_the_class():
    loss = losses.get("FLSD-53", from_logits=True, ignore_class=255, reduction="sum", name="mine")
    assert loss.from_logits
    assert loss.ignore_class == 255
    assert loss.reduction == "sum"
    assert loss.name == "mine"


@pytest.mark.parametrize(
    ("name", "cls", "own"),
    [
        ("Brier", losses.BrierLoss, {}),
        ("MMCE", losses.MMCELoss, {"weight": 2.0, "form": "published"}),
        ("LS-0.05", losses.LabelSmoothingCrossentropy, {"label_smoothing": 0.05}),
    ],
)
def test_a_baseline_of_the_paper_is_its_class(name, cls, own):
    loss = losses.get(name, from_logits=True, reduction="sum")
    assert type(loss) is cls
    assert loss.get_config().items() >= {"reduction": "sum", **own}.items()


@pytest.mark.parametrize("name", ["Brier", "MMCE", "LS-0.05"])
def test_a_baseline_takes_ids_and_rows(name):
    labels, logits = np.array([0, 2]), np.array([[2.0, 0, 1], [0, 1, 0.5]], "float32")
    sparse, rows = (
        losses.get(name, labels=kind, from_logits=True) for kind in ("sparse", "categorical")
    )
    value = float(sparse(labels, logits))
    assert float(rows(np.eye(3)[labels], logits)) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("name", ["Brier", "MMCE", "LS-0.05"])
def test_a_baseline_has_no_binary_form(name):
    with pytest.raises(ValueError, match=r"`labels` must be one of 'sparse', 'categorical'. Rec"):
        losses.get(name, labels="binary")


def test_mmce_for_text_takes_its_weight():
    assert losses.get("MMCE", weight=8.0).weight == 8.0


def test_list_holds_every_name_that_get_knows():
    names = [row.name for row in losses.list()]
    assert names == [
        *["CE", "Brier", "MMCE", "LS-0.05", "FL-1", "FL-2", "FL-3"],
        *["FLSc-531", "FLSc-532", "FLSD-53", "FLSD-532"],
    ]
    for row in losses.list():
        assert type(losses.get(row.name)).__name__ == row.loss


def test_list_prints_a_table():
    header, *lines = str(losses.list()).splitlines()
    assert header.split() == ["name", "loss", "what", "source", "callback"]
    assert len(lines) == len(losses.list())
    start = header.index("source")
    for line, row in zip(lines, losses.list(), strict=True):
        assert line.startswith(row.name)
        assert line[start:].startswith(row.source)
        assert line == line.rstrip()


def test_list_says_which_callback_a_scheduled_loss_needs():
    assert {row.name: row.callback for row in losses.list() if row.callback} == {
        "FLSc-531": 'GammaScheduler("FLSc-531")',
        "FLSc-532": 'GammaScheduler("FLSc-532")',
    }


def test_from_logits_is_off_by_default():
    assert not losses.get("FLSD-53").from_logits


def test_each_call_gives_a_loss_of_its_own():
    first, second = losses.get("FL-3"), losses.get("FL-3")
    first.gamma = 1.0
    assert second.gamma == 3.0


def test_ce_is_cross_entropy():
    value = losses.get("CE", from_logits=True)(np.array([0]), np.zeros((1, 4), "float32"))
    assert float(value) == pytest.approx(np.log(4), rel=1e-6)


@pytest.mark.parametrize("written", ["flsd-53", "FLSD53", "Flsd53"])
def test_case_and_hyphens_of_a_name_do_not_matter(written):
    rule = SampleDependentGamma([0.2], [5.0, 3.0])
    assert losses.get(written).gamma == rule
    assert losses.BinaryFocalCrossentropy(gamma=written).gamma == rule
    assert type(losses.get("brier")) is losses.BrierLoss
    assert losses.get("flsc531").gamma_state.unscheduled


def test_no_two_names_differ_by_case_and_hyphens_alone():
    letters = [row.name.lower().replace("-", "") for row in losses.list()]
    assert len(set(letters)) == len(letters)


@pytest.mark.parametrize("name", ["FL-4", "FLSD", "", None, 3.0])
def test_an_unknown_name_is_an_error_that_lists_the_names(name):
    with pytest.raises(ValueError, match=r"`name` must be one of 'CE', .*'FLSD-53'.* Received"):
        losses.get(name)


def test_an_unknown_kind_of_labels_is_an_error():
    with pytest.raises(ValueError, match=r"`labels` must be one of 'sparse', .*labels='one-hot'"):
        losses.get("FL-3", labels="one-hot")
