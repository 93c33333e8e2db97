"""Which gamma raises the gradient below a probability p0 and lowers it above (Proposition 2)."""

import argparse

from keras_focal._theory import gamma_star, threshold_probability
from keras_focal.cli._errors import UsageError
from keras_focal.cli._tables import figure, print_json

HELP = "gamma for a threshold p0, or p0 for a gamma"
EXAMPLE = "  keras-focal gamma --p0 0.25\n  keras-focal gamma --gamma 3"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--p0", type=float, help="probability of the true class in (0, 0.5)")
    given.add_argument("--gamma", type=float, help="focusing exponent > 0")


def run(arguments: argparse.Namespace) -> None:
    """Print gamma and p0."""
    gamma, p0 = arguments.gamma, arguments.p0
    try:
        if p0 is None:
            p0 = threshold_probability(gamma)
        else:
            gamma = gamma_star(p0)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if arguments.json:
        print_json({"gamma": gamma, "p0": p0})
        return
    p0, gamma = figure(p0), figure(gamma)
    print(f"gamma {gamma}, p0 {p0}")
    print(f"The focal gradient is larger than that of cross-entropy where p < {p0}, else smaller.")
