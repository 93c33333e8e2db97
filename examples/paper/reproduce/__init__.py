"""The experiments of docs/reproduction.md: run, written down, and turned into the page."""
