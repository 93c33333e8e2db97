"""What a test of a picture looks at."""

import numpy as np


def picture(ax):
    """The pixels of the figure."""
    ax.figure.canvas.draw()
    return np.asarray(ax.figure.canvas.buffer_rgba())


def legend_texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def is_inside_the_figure(*axes):
    """Whether nothing of the axes of a figure and of what hangs on them is cut off."""
    figure = axes[0].figure
    figure.canvas.draw()
    boxes = [ax.get_tightbbox().transformed(figure.transFigure.inverted()) for ax in axes]
    return all(min(box.x0, box.y0) >= -0.01 and max(box.x1, box.y1) <= 1.01 for box in boxes)


def grey_looks(lines):
    """(luminance in steps of 0.1, dashes) of each line: what is left of it in greyscale."""
    from matplotlib.colors import to_rgb

    weights = 0.299, 0.587, 0.114
    return [
        (round(10 * np.dot(weights, to_rgb(line.get_color()))), str(line._unscaled_dash_pattern))
        for line in lines
    ]
