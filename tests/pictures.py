"""What a test of a picture looks at."""

import numpy as np


def picture(ax):
    """The pixels of the figure."""
    ax.figure.canvas.draw()
    return np.asarray(ax.figure.canvas.buffer_rgba())


def legend_texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def is_inside_the_figure(ax):
    """Whether nothing of the axes and of what hangs on them is cut off."""
    ax.figure.canvas.draw()
    box = ax.get_tightbbox().transformed(ax.figure.transFigure.inverted())
    return min(box.x0, box.y0) >= -0.01 and max(box.x1, box.y1) <= 1.01


def grey_looks(lines):
    """(luminance in steps of 0.1, dashes) of each line: what is left of it in greyscale."""
    from matplotlib.colors import to_rgb

    weights = 0.299, 0.587, 0.114
    return [
        (round(10 * np.dot(weights, to_rgb(line.get_color()))), str(line._unscaled_dash_pattern))
        for line in lines
    ]
