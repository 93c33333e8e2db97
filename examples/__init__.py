"""Examples. A package, so that no other `examples` on the path is taken for it."""
