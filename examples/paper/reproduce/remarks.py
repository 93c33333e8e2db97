"""What the figures of the page do not say by themselves."""

REMARKS = {
    "claims": "",
    "translation": "",
    "not measured": "",
}
"""By the place on the page."""
