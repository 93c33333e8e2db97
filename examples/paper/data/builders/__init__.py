"""Data sets that tensorflow-datasets lacks, as builders for it."""
