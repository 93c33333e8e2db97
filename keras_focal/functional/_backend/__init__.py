"""Where a kernel is compiled and differentiated: the one place that knows of a backend."""
