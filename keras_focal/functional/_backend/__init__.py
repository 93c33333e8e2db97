"""Compilation, custom derivatives and operations that depend on the backend."""
