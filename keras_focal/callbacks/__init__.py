"""Callbacks for `model.fit`."""

from keras_focal.callbacks._gamma import GammaScheduler, attach

__all__ = ["GammaScheduler", "attach"]
