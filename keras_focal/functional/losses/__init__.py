"""Losses of labels and logits, without reduction."""
