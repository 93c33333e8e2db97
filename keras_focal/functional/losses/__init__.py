"""Losses as functions of labels and logits, without reduction."""
