"""docs/reproduction.md: made of docs/results/*.json, so that no figure in it is typed."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from examples.paper.files import read_json
from examples.paper.recipes import IMAGES
from examples.paper.report import beyond
from examples.paper.report.claims import CLAIMS, TRANSLATION_CLAIMS, Claim
from examples.paper.report.compare import draw_summary, grid, means, objectives, paper, summary
from examples.paper.report.remarks import REMARKS
from examples.paper.reproduce.beyond import load as load_beyond
from examples.paper.reproduce.results import COMMAND, RESULTS, by_experiment, load
from examples.paper.tables.build import Measured, Row, Table, build
from examples.paper.tables.published import nearest_row
from examples.paper.tables.write import caption, grid_of

FILE = RESULTS.parent / "reproduction.md"
PICTURE = RESULTS.parent / "images/reproduction.png"
HEAD = """# The paper, reproduced

What "Calibrating Deep Neural Networks using Focal Loss" (Mukhoti et al., 2020) reports, and what
this package gives: with the authors' own published logits, with small networks on real data that
a CPU trains, and with the theory. Made by `python -m examples.paper.report` from
`docs/results`; no figure is typed. How to train the paper's own networks at full length:
[examples/paper](examples/paper.md).
"""
TABLES = ("1", "5", "2", "6", "4", "7", "9", "10", "11", "12", "beyond")
FIGURES = {
    1: "Figure 1: reliability and confidence of cross-entropy, 21 epochs on all of CIFAR-10.",
    2: "Figure 2: the same run. NLL and entropy of the right and the wrong, errors, ECE.",
    3: "Figure 3: runs on 1,000 images of CIFAR-10, at the end in the paper's order.",
    5: "Figure 5: translation against temperature.",
    7: "Figure 7: the linear model.",
    10: "Figure 10: norms of the last layer's input, the same runs, in the paper's order.",
}
"""Drawn by `python -m examples.paper.figures --figure 1 2 3 5 7 10 --out docs/images/paper`, 1
and 2 with the run of 21 epochs on all of CIFAR-10 as `--runs`."""
SETTINGS = ("epochs", "batch_size", "limit", "length", "size")
AUGMENTATIONS = {None: "no augmentation", 0: "flips alone"}
"""By the crop of a run, if not the paper's."""


def write() -> None:
    """Write the page."""
    FILE.write_text("\n".join(sections()))
    draw_summary(_classified(load()), PICTURE)


def sections() -> Iterator[str]:
    """Yield the parts of the page, each of which has its results file."""
    yield HEAD
    found = load()
    translations = [item for item in found if "bleu" in item.figures["ece"]["pre"]]
    others = _classified(found)
    yield "## In short\n"
    yield (
        "The temperature that a network takes says how confident it was: above 1 too much, below "
        "1 too little. The more cross-entropy is over-confident, the more FLSD-53 tends to lower "
        "the ECE before a temperature is fitted. A point is a seed.\n\n![The gain of FLSD-53 "
        f"against the temperature of cross-entropy](images/{PICTURE.name})\n"
    )
    yield summary(others)
    yield REMARKS["summary"]
    yield "## Claims, held against our runs\n"
    yield _claims(CLAIMS, others, "1")
    yield REMARKS["claims"]
    if both := objectives(others):
        yield f"## The mean of the losses of a batch, or their sum\n\n{both}"
        yield REMARKS["objectives"]
    yield REMARKS["recipes"]
    yield "## Translation\n"
    yield _claims(TRANSLATION_CLAIMS, translations, "3")
    yield grid_of(build("3", found))
    yield REMARKS["translation"]
    if rows := load_beyond():
        yield from beyond.sections(rows)
    yield from _published_logits(read_json(RESULTS / "published_logits.json"))
    yield from _linear_model(read_json(RESULTS / "linear_model.json"))
    yield "## Pictures of these runs\n"
    for number, title in FIGURES.items():
        yield f"{title}\n\n![{title}](images/paper/figure_{number:02d}.png)\n"
    yield "## Our runs beside the paper's tables\n"
    yield (
        "Our networks of images, documents and translation are smaller than the paper's, those of "
        "images and translation train for fewer epochs, and words start from random vectors: the "
        "levels differ, the order of the losses is what is held against the paper. "
        'Rows "paper" are its own figures, of its own network.\n'
    )
    for number in TABLES:
        table = build(number, found, ("ece", "nll") if number == "1" else ("ece",))
        if table.rows:
            yield f"### {caption(table)}\n\n{grid_of(_ran(table))}"
    yield "## Runs and their cost\n"
    yield _costs(found)
    yield REMARKS["not measured"]


def _classified(found: list[Measured]) -> list[Measured]:
    """Return the runs that are not translations."""
    return [item for item in found if "bleu" not in item.figures["ece"]["pre"]]


def _ran(table: Table) -> Table:
    """Return a table without the losses that were not run, and the paper's rows below them."""
    rows: list[Row] = []
    was_run = False
    for row in table.rows:
        was_run = was_run if row.seeds is None else row.seeds > 0
        rows += [row] if was_run else []
    return replace(table, rows=tuple(rows))


def _published_logits(result: dict[str, Any]) -> Iterator[str]:
    rows = result["rows"]
    met = sum(row["is_met"] for row in rows)
    yield f"## The authors' own logits\n\n`{result['command']}`\n"
    yield f"{met} of {len(rows)} published figures are met to the last digit printed.\n"
    yield grid(
        ("table", "loss", "figure", "paper", "ours", "met"),
        (
            (
                *(row[name] for name in ("table", "loss", "figure")),
                f"{row['paper']:g}",
                f"{row['ours']:.4f}",
                _answer(row["is_met"]),
            )
            for row in rows
        ),
    )
    yield from dict.fromkeys(
        f"- Table {row['table']}, {row['loss']}, {row['figure']}: {row['note']}"
        for row in rows
        if row["note"]
    )
    yield REMARKS["published logits"]


def _claims(claims: Sequence[Claim], found: list[Measured], table: str) -> str:
    rows = []
    for claim in claims:
        for (dataset, network), items in by_experiment(found).items():
            place = nearest_row(table, dataset, network)
            ours, theirs = means(items), paper(place)
            if not (claim.can_be_asked(ours) and claim.can_be_asked(theirs)):
                continue
            rows.append(
                (
                    claim.text,
                    dataset,
                    f"{claim.figures(theirs)} ({place.split('/')[1]})",
                    _answer(claim.holds(theirs)),
                    f"{claim.figures(ours)} ({network})",
                    _answer(claim.holds(ours)),
                )
            )
    return grid(("claim", "data", "paper", "holds there", "ours", "holds here"), rows)


def _linear_model(result: dict[str, Any]) -> Iterator[str]:
    yield f"## The linear model of Appendix B\n\n`{result['command']}`\n"
    yield (
        "The paper (Figures 7 and 8): cross-entropy's weights and logits grow larger than those of "
        "focal loss with gamma 1, both decide alike, and cross-entropy is surer where it is wrong."
        "\n"
    )
    names = (
        "weight_norm",
        "logit_norm",
        "test_error",
        "wrong_confidence",
        "wrong_above_90_percent",
    )
    yield grid(
        ("seed", "loss", *(name.replace("_", " ") for name in names), "decided alike"),
        (
            (
                seed,
                loss,
                *(f"{of_seed[loss][name]:.3f}" for name in names),
                f"{of_seed['decided_alike']:.1%}",
            )
            for seed, of_seed in result["seeds"].items()
            for loss in ("CE", "FL-1")
        ),
    )
    yield REMARKS["linear model"]


def _costs(found: list[Measured]) -> str:
    rows = []
    for (dataset, network), items in by_experiment(found).items():
        settings = items[0].run.settings
        seconds = sorted(item.run.settings["seconds"] for item in items)
        rows.append(
            (
                dataset,
                network,
                trained(settings),
                ", ".join(str(seed) for seed in sorted({item.run.seed for item in items})),
                f"{len(items)}",
                f"{seconds[0]:.0f} to {seconds[-1]:.0f}",
                settings["backend"],
                ", ".join(sorted({item.run.settings["commit"][:7] for item in items})),
            )
        )
    headings = ("data", "network", "settings", "seeds", "runs", "seconds", "backend", "commit")
    return f"`{COMMAND}`; seconds on 2 CPU cores shared with other work.\n\n" + grid(headings, rows)


def trained(settings: dict[str, Any]) -> str:
    """Return how a run was trained, in words."""
    words = [f"{name} {settings[name]}" for name in SETTINGS if settings.get(name)]
    if settings["dataset"] in IMAGES:
        crop = settings.get("crop")
        words.append(AUGMENTATIONS.get(crop, f"crops of {crop} pixels and flips"))
    if settings.get("objective") == "sum":
        words.append("sum of the losses")
    if settings.get("mixed_precision"):
        words.append("bfloat16")
    return ", ".join(words)


def _answer(holds: bool) -> str:
    return "yes" if holds else "**no**"
