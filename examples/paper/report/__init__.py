"""docs/reproduction.md: what came of the runs, held against the paper, and what is concluded."""
