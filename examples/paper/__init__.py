"""Calibrating Deep Neural Networks using Focal Loss (Mukhoti et al., 2020), reproduced."""
