"""The experiments of docs/reproduction.md: run, measured and written down."""
