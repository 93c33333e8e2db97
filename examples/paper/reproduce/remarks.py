"""What the figures of the page do not say by themselves."""

REMARKS = {
    "claims": "",
    "translation": "",
    "linear model": (
        "What holds: both norms of cross-entropy are larger, the decisions are the same, and it is "
        'surer where it is wrong. What does not: that cross-entropy errs "almost always" with '
        "more than 90 % confidence, and that its norms blow up. With a tenth of the labels flipped "
        "its optimum is finite, and gradient descent has arrived there by the end.\n"
    ),
    "not measured": "",
}
"""By the place on the page."""
