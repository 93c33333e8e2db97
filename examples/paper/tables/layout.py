"""What each table of the paper holds: its losses and its columns."""

from dataclasses import dataclass, replace

BASELINES = ("CE", "Brier", "MMCE", "LS-0.05")
FOCAL = ("FL-1", "FL-2", "FL-3", "FLSc-531", "FLSc-532", "FLSD-532", "FLSD-53")
CRITERIA = ("ece", "nll")


@dataclass(frozen=True)
class Column:
    """A figure of a table.

    Attributes:
        heading: Its heading.
        path: Where `measure` has it: ("pre", "ece"), ("T",).
        printed: The name of the paper's own figure, "" where there is none.
        criterion: How the temperature was found; "" stands for each that is asked for.
    """

    heading: str
    path: tuple[str, ...]
    printed: str = ""
    criterion: str = ""


@dataclass(frozen=True)
class Layout:
    """A table: losses in the order of the paper, and columns; no losses for all that there are."""

    title: str
    losses: tuple[str, ...]
    columns: tuple[Column, ...]

    def for_criteria(self, criteria: tuple[str, ...]) -> "Layout":
        """Return the table with a column for each criterion where that makes a difference.

        The paper's figures are of temperatures by ECE and stand with no others.
        """
        columns = []
        for column in self.columns:
            if column.path[0] == "pre" or column.criterion:
                columns.append(replace(column, criterion=column.criterion or criteria[0]))
                continue
            columns += [
                replace(
                    column,
                    heading=f"{column.heading} by {criterion.upper()}",
                    printed=column.printed if criterion == "ece" else "",
                    criterion=criterion,
                )
                for criterion in criteria
            ]
        return replace(self, columns=tuple(columns))


def _both(name: str) -> tuple[Column, ...]:
    return (
        Column("before", ("pre", name), "pre"),
        Column("after T", ("post", name), "post"),
        Column("T", ("T",), "T"),
    )


def _one(name: str, when: str) -> tuple[Column, ...]:
    heading = "before T" if when == "pre" else "after T"
    return (Column(heading, (when, name), name),)


_ERROR = (Column("error", ("pre", "error"), "error"),)

TABLES = {
    "1": Layout("ECE %", (*BASELINES, "FLSD-53"), _both("ece")),
    "2": Layout("AdaECE %", (*BASELINES, "FLSD-53"), _both("ada_ece")),
    "3": Layout(
        "Translation: ECE % of the next token, and BLEU",
        ("CE", "LS-0.1", "FL-1"),
        (
            *_both("ece"),
            Column("BLEU before", ("pre", "bleu"), "bleu_pre"),
            Column("BLEU after T", ("post", "bleu"), "bleu_post"),
        ),
    ),
    "4": Layout("Error %", (*BASELINES, "FL-3", "FLSc-532", "FLSD-53"), _ERROR),
    "5": Layout("ECE % of focal losses", FOCAL, _both("ece")),
    "6": Layout("AdaECE % of focal losses", FOCAL, _both("ada_ece")),
    "7": Layout("Error % of focal losses", FOCAL, _ERROR),
    "8": Layout(
        "Top-1 and top-5 accuracy %",
        (*BASELINES, "FLSD-53"),
        (Column("top-1", ("pre", "top1"), "top1"), Column("top-5", ("pre", "top5"), "top5")),
    ),
    "9": Layout("NLL % before temperature scaling", (*BASELINES, *FOCAL), _one("nll", "pre")),
    "10": Layout("NLL % after temperature scaling", (*BASELINES, *FOCAL), _one("nll", "post")),
    "11": Layout("MCE % before temperature scaling", (*BASELINES, *FOCAL), _one("mce", "pre")),
    "12": Layout("MCE % after temperature scaling", (*BASELINES, *FOCAL), _one("mce", "post")),
    "13": Layout(
        "|S99|: share % of the test set with a confidence above 0.99, and its accuracy %",
        ("CE", "MMCE", "FLSD-53"),
        (
            Column("|S99| before", ("pre", "confident"), "confident_pre"),
            Column("accuracy before", ("pre", "confident_accuracy"), "confident_accuracy_pre"),
            Column("|S99| after T", ("post", "confident"), "confident_post"),
            Column("accuracy after T", ("post", "confident_accuracy"), "confident_accuracy_post"),
        ),
    ),
    "beyond": Layout(
        "Beside the paper: more losses; focal temperature scaling against T alone, both by NLL",
        (),
        (
            Column("error", ("pre", "error"), criterion="nll"),
            Column("ECE before", ("pre", "ece"), criterion="nll"),
            Column("ECE after T", ("post", "ece"), criterion="nll"),
            Column("ECE after focal T", ("post", "ece"), criterion="focal"),
            Column("NLL before", ("pre", "nll"), criterion="nll"),
            Column("NLL after T", ("post", "nll"), criterion="nll"),
            Column("NLL after focal T", ("post", "nll"), criterion="focal"),
            Column("T", ("T",), criterion="nll"),
            Column("focal T", ("T",), criterion="focal"),
            Column("gamma", ("gamma",), criterion="focal"),
        ),
    ),
}

PRINTED_LOSS = {("13", "FLSD-53"): "Focal Loss"}
"""Losses that a table of the paper calls otherwise."""
