"""What the paper says of training, what its authors' code does, and what is done here."""

from examples.paper.recipes import LAST_EPOCHS, RECIPES, Recipe

_TRANSLATED = {"wmt14": "WMT14", "multi30k": "Multi30k"}


def _translation(recipe: Recipe) -> str:
    """Return a recipe of translation in words."""
    of = recipe.translation
    kept = f"the mean of the last {LAST_EPOCHS}" if recipe.keep == "average" else "the last"
    return (
        f"size {of.size}, {recipe.epochs} epochs, of whose weights {kept}, {recipe.batch_size:,} "
        f"positions in a batch, sentences of {of.length} tokens, {of.warm_up:,} steps of warm-up, "
        f"T up to {of.highest_temperature:g}"
    )


_HEAD = ("", "paper", "authors' code", "here")
_ROWS = (
    (
        "losses of a batch",
        "not said",
        "summed; the Brier loss is a mean; MMCE is the batch size times the mean",
        "images: as in the code, `--objective mean` takes the mean; texts: the mean, on which the "
        "steps of Adam and AdaGrad hardly depend",
    ),
    (
        "norm of the gradient",
        "not said",
        "images: clipped to 2, before weight decay is added; texts: not clipped",
        "as in the code",
    ),
    (
        "MMCE",
        "lambda 2 for images, 8 for texts",
        "the weighted form",
        'the published form; `MMCELoss(form="repository")` is theirs',
    ),
    (
        "Brier loss",
        "as the other losses",
        "learning rate 0.035 on Tiny-ImageNet; 430 epochs with ResNet-110 on CIFAR-100, 550 with "
        "Wide ResNet on CIFAR-10, both without moving the drops of the learning rate",
        "as the other losses",
    ),
    (
        "FLSc",
        "gamma changes after 100 and 250 of 350 epochs",
        "images and 20 Newsgroups: in this proportion, 30 and 70 of 100 on Tiny-ImageNet; "
        "treebank: after 3 and 7 of 25",
        "as in the code, but in the proportion of 350 on the treebank too",
    ),
    (
        "weights of convolutions at the start",
        "not said",
        "ResNet: PyTorch's default, uniform",
        "He's normal distribution of the fan-out",
    ),
    (
        "ResNet-110",
        "no more than its name",
        "bottleneck blocks, 45.9 M parameters",
        "`resnet110-bottleneck` is theirs; `resnet110` is He's, 1.7 M: a row of the paper beside "
        "it is of another network",
    ),
    (
        "held-out images of Tiny-ImageNet",
        "50 of each class",
        "the test images",
        "50 of each class, taken from the training images",
    ),
    (
        "words of 20 Newsgroups",
        "GloVe",
        "GloVe, 100 values, not trained; counted in all texts; others dropped",
        "random, trained; with `--glove` GloVe, trained; counted in the training texts; others "
        "share an id",
    ),
    (
        "words of the treebank",
        "GloVe, trained",
        "GloVe, 300 values, trained by plain gradient descent at a rate of 0.1",
        "random, trained by AdaGrad as all weights",
    ),
    (
        "classes of the treebank",
        "2",
        "3, of which the neutral one is left out of predictions",
        "2; neutral phrases do not count",
    ),
    (
        "translation",
        "Transformer base on WMT14",
        "none",
        "the recipe of the Transformer's own paper. "
        + "; ".join(f"{name}: {_translation(RECIPES[key])}" for key, name in _TRANSLATED.items()),
    ),
)

RECIPE_TABLE = (
    "## The recipe\n\nWhat the paper leaves open, its authors' "
    "[code](https://github.com/torrvision/focal_calibration) decides. Where it is not followed, "
    "the last column says so.\n\n"
    + "".join(f"| {' | '.join(row)} |\n" for row in (_HEAD, ("---",) * len(_HEAD), *_ROWS))
)
"""A section of the page."""
