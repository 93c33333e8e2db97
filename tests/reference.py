"""The oracle: every quantity again, straight from the papers, in 50 digits or plain NumPy float64.

It never imports keras_focal and shares no code and no algebra with it: probabilities are formed by
dividing exponentials, 1 - p by adding up the others, bins by comparing with edges in a loop.
"""

import itertools
from collections.abc import Callable

import mpmath
import numpy as np

mpmath.mp.dps = 50
Rule = Callable[[mpmath.mpf], float]


def exact(z) -> mpmath.mpf:
    """A float, or a number that already has all digits."""
    return z if isinstance(z, mpmath.mpf) else mpmath.mpf(float(z))


def softmax(row) -> list[mpmath.mpf]:
    exponentials = [mpmath.e ** exact(z) for z in row]
    total = mpmath.fsum(exponentials)
    return [e / total for e in exponentials]


def complements(p) -> list[mpmath.mpf]:
    """1 - p of each class, by adding up the other classes, so that 50 digits suffice."""
    return [mpmath.fsum(p[:c] + p[c + 1 :]) for c in range(len(p))]


def focal_value(p: mpmath.mpf, complement: mpmath.mpf, gamma: float) -> mpmath.mpf:
    """A gamma < 0 is that of the inverse focal loss."""
    if gamma < 0:
        return (1 + p) ** -mpmath.mpf(gamma) * -mpmath.log(p)
    return complement ** mpmath.mpf(gamma) * -mpmath.log(p) if gamma else -mpmath.log(p)


def focal_slope(p: mpmath.mpf, complement: mpmath.mpf, gamma: float) -> mpmath.mpf:
    """p times the derivative of -focal_value with respect to p."""
    if gamma == 0:
        return mpmath.mpf(1)
    gamma = mpmath.mpf(gamma)
    if gamma < 0:
        return (1 + p) ** -gamma - gamma * p * (1 + p) ** (-gamma - 1) * mpmath.log(p)
    return complement**gamma - gamma * p * complement ** (gamma - 1) * mpmath.log(p)


def _gamma_at(gamma, p) -> float:
    return gamma(p) if callable(gamma) else gamma


def categorical_focal(targets, row, gamma, alpha=None) -> tuple[float, np.ndarray]:
    """Loss sum_c a_c q_c (1-p_c)^g (-log p_c) of one row of logits, and its gradient."""
    alpha = [1.0] * len(row) if alpha is None else alpha
    p = softmax(row)
    u = complements(p)
    loss = mpmath.mpf(0)
    gradient = [mpmath.mpf(0)] * len(row)
    for c, q in enumerate(targets):
        if q == 0:
            continue
        weight = mpmath.mpf(float(alpha[c])) * mpmath.mpf(float(q))
        gamma_c = _gamma_at(gamma, p[c])
        loss += weight * focal_value(p[c], u[c], gamma_c)
        slope = weight * focal_slope(p[c], u[c], gamma_c)
        for k in range(len(row)):
            # d log p_c / d z_k = [c = k] - p_k
            gradient[k] -= slope * (u[c] if c == k else -p[k])
    return float(loss), np.array([float(g) for g in gradient])


def sparse_focal(label, row, gamma, alpha=None) -> tuple[float, np.ndarray]:
    targets = [1.0 if c == label else 0.0 for c in range(len(row))]
    return categorical_focal(targets, row, gamma, alpha)


def binary_focal(target, logit, gamma, alpha=None) -> tuple[float, float]:
    """Loss and gradient of one logit: two classes with logits 0 and z (equation 5 of the paper)."""
    weights = None if alpha is None else [1.0 - alpha, alpha]
    loss, gradient = categorical_focal([1.0 - target, target], [0.0, logit], gamma, weights)
    return loss, float(gradient[1])


def gradient_ratio(p: float, gamma: float) -> float:
    p = mpmath.mpf(p)
    return float(focal_slope(p, 1 - p, gamma))


def gamma_star(p0: float) -> float:
    """The positive root of g(p0, gamma) = 1, found by bisection on g itself."""
    p0 = mpmath.mpf(p0)
    low, high = mpmath.mpf("1e-12"), mpmath.mpf(1)
    while focal_slope(p0, 1 - p0, high) > 1:
        high *= 2
    for _ in range(150):
        middle = (low + high) / 2
        if focal_slope(p0, 1 - p0, middle) > 1:
            low = middle
        else:
            high = middle
    return float((low + high) / 2)


def threshold_probability(gamma: float) -> float:
    """The p0 < 1/2 with g(p0, gamma) = 1, by bisection of its digits."""
    low, high = mpmath.mpf(0), mpmath.mpf("0.5")
    for _ in range(150):
        middle = (low + high) / 2
        if focal_slope(middle, 1 - middle, gamma) > 1:
            low = middle
        else:
            high = middle
    return float((low + high) / 2)


def focal_posterior(row, gamma) -> np.ndarray:
    """log of h(q_c) / h(q of the top), h(q) = q / g(q, gamma), in digits enough for any gap."""
    with mpmath.workdps(500):
        q = softmax(row)
        h = [a / focal_slope_continued(a, u, gamma) for a, u in zip(q, complements(q), strict=True)]
        top = h[int(np.argmax(row))]
        return np.array([float(mpmath.log(x / top)) for x in h])


def focal_slope_continued(p, complement, gamma):
    """g(p, gamma) by the formula of Proposition 1, also for gamma < 0."""
    gamma = mpmath.mpf(gamma)
    return complement**gamma - gamma * p * complement ** (gamma - 1) * mpmath.log(p)


def focal_minimiser(eta, gamma) -> np.ndarray:
    """The q of each row that minimises sum_c eta_c (1 - q_c)^gamma (-log q_c), sum q = 1.

    The derivative of every term by its own q_c is the same number, which two bisections find.
    """
    eta = np.asarray(eta, "float64")

    def slope(logit):
        q, u = 1 / (1 + np.exp(-logit)), 1 / (1 + np.exp(logit))
        return u**gamma / q - gamma * u ** (gamma - 1) * np.log(q)

    def q_of(multiplier):
        low, high = np.full(eta.shape, -60.0), np.full(eta.shape, 35.0)
        for _ in range(80):
            middle = (low + high) / 2
            is_below = eta * slope(middle) > multiplier
            low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
        return 1 / (1 + np.exp(-(low + high) / 2))

    low, high = np.full((len(eta), 1), -30.0), np.full((len(eta), 1), 30.0)
    for _ in range(80):
        middle = (low + high) / 2
        is_over = q_of(np.exp(middle)).sum(1, keepdims=True) > 1
        low, high = np.where(is_over, middle, low), np.where(is_over, high, middle)
    return q_of(np.exp((low + high) / 2))


def focal_temperature_nll(labels, logits, temperature, gamma) -> float:
    """NLL of q / g(q, gamma), normalised, q = softmax(logits / temperature)."""
    q = softmax64(np.asarray(logits, "float64") / temperature)
    u = np.stack([np.delete(q, c, axis=1).sum(1) for c in range(q.shape[1])], axis=1)
    h = q / (u**gamma - gamma * q * u ** (gamma - 1) * np.log(q))
    return float(-np.log(h[np.arange(len(q)), labels] / h.sum(1)).mean())


def adafocal(gamma, gap, rate=1.0, low=-2.0, high=20.0, switch=0.2) -> float:
    """One step of the gamma of one bin, as the authors' algorithm goes."""
    following = gamma * np.exp(rate * gap) if gamma > 0 else gamma * np.exp(-rate * gap)
    if abs(following) < switch:
        following = -switch if following > 0 else switch
    return float(max(min(following, high), low))


def top_label(labels, probabilities) -> tuple[np.ndarray, np.ndarray]:
    """Confidence and correctness of the most probable class; ties go to the lowest index."""
    probabilities = np.asarray(probabilities, "float64")
    return probabilities.max(-1), (probabilities.argmax(-1) == np.asarray(labels)).astype("float64")


def softmax64(logits) -> np.ndarray:
    z = np.asarray(logits, "float64")
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def equal_width_gaps(confidence, correct, num_bins, weights=None) -> list[tuple[float, float]]:
    """Weight and confidence minus accuracy of each bin (a, b]; the first holds 0 too."""
    weights = np.ones(len(confidence)) if weights is None else np.asarray(weights, "float64")
    bins = []
    for i in range(num_bins):
        low, high = i / num_bins, (i + 1) / num_bins
        inside = (confidence > low) & (confidence <= high)
        if i == 0:
            inside |= confidence == 0
        weight = weights[inside].sum()
        gap = (weights[inside] * (confidence[inside] - correct[inside])).sum()
        bins.append((weight, gap / weight if weight else 0.0))
    return bins


def ece(confidence, correct, num_bins=15, weights=None) -> float:
    bins = equal_width_gaps(confidence, correct, num_bins, weights)
    total = sum(weight for weight, _ in bins)
    return sum(weight * abs(gap) for weight, gap in bins) / total if total else 0.0


def detection_ece(matches, scores, num_bins=15, columns=(), column_bins=(), weights=None) -> float:
    """D-ECE: precision and mean score of the boxes in each cell of score and other columns."""
    matches, scores = np.asarray(matches, "float64"), np.asarray(scores, "float64")
    weights = np.ones(len(scores)) if weights is None else np.asarray(weights, "float64")
    error = 0.0
    axes = list(zip((scores, *columns), (num_bins, *column_bins), strict=True))
    for cell in itertools.product(*(range(number) for _, number in axes)):
        inside = np.ones(len(scores), bool)
        for i, (values, number) in zip(cell, axes, strict=True):
            inside &= (values > i / number) | ((values == 0) & (i == 0))
            inside &= values <= (i + 1) / number
        if weights[inside].sum() > 0:
            precision = np.average(matches[inside], weights=weights[inside])
            score = np.average(scores[inside], weights=weights[inside])
            error += weights[inside].sum() / weights.sum() * abs(precision - score)
    return error


def la_ece(overlaps, scores, class_ids, num_bins=25, weights=None) -> dict[int, float]:
    """LaECE of each class that has detections: precision times the mean IoU of what is matched."""
    weights = np.ones(len(scores)) if weights is None else np.asarray(weights, "float64")
    errors = {}
    for k in np.unique(class_ids[weights > 0]):
        own = (class_ids == k) & (weights > 0)
        errors[int(k)] = 0.0
        for i in range(num_bins):
            inside = own & (scores > i / num_bins) & (scores <= (i + 1) / num_bins)
            if i == 0:
                inside |= own & (scores == 0)
            if not inside.any():
                continue
            w, iou = weights[inside], overlaps[inside]
            precision = w[iou > 0].sum() / w.sum()
            mean_iou = np.average(iou[iou > 0], weights=w[iou > 0]) if (iou > 0).any() else 0.0
            gap = precision * mean_iou - np.average(scores[inside], weights=w)
            errors[int(k)] += w.sum() / weights[own].sum() * abs(gap)
    return errors


def mce(confidence, correct, num_bins=15) -> float:
    return max(
        abs(gap) for weight, gap in equal_width_gaps(confidence, correct, num_bins) if weight
    )


def rmsce(confidence, correct, num_bins=15) -> float:
    bins = equal_width_gaps(confidence, correct, num_bins)
    return (sum(weight * gap**2 for weight, gap in bins) / len(confidence)) ** 0.5


def classwise_ece(labels, probabilities, num_bins=15, weights=None) -> np.ndarray:
    """ECE of p_k against the event "the label is k", for each class k."""
    columns = np.asarray(probabilities, "float64").T
    return np.array(
        [
            ece(column, (np.asarray(labels) == k).astype("float64"), num_bins, weights)
            for k, column in enumerate(columns)
        ]
    )


def adaptive_ece(confidence, correct, num_bins=15, weights=None) -> float:
    """Bins of equal weight; samples of one confidence are spread alike over the bins they cross."""
    weights = np.ones(len(confidence)) if weights is None else np.asarray(weights, "float64")
    size = weights.sum() / num_bins
    gaps = np.zeros(num_bins)
    start = 0.0
    for value in np.unique(confidence):
        tied = confidence == value
        mass = weights[tied].sum()
        if mass == 0:
            continue
        density = (weights[tied] * (value - correct[tied])).sum() / mass
        for i in range(num_bins):
            overlap = min(start + mass, (i + 1) * size) - max(start, i * size)
            gaps[i] += max(overlap, 0.0) * density
        start += mass
    return np.abs(gaps).sum() / weights.sum()


def nll(labels, logits, temperature=1.0, weights=None) -> float:
    z = np.asarray(logits, "float64") / temperature
    log_p = z - z.max(-1, keepdims=True)
    log_p = log_p - np.log(np.exp(log_p).sum(-1, keepdims=True))
    return float(np.average(-log_p[np.arange(len(z)), np.asarray(labels)], weights=weights))


def best_temperature(labels, logits, weights=None) -> float:
    """The temperature of least NLL, by golden-section search in 1 / T on a log scale."""
    low, high = np.log(1e-3), np.log(1e3)
    ratio = (np.sqrt(5) - 1) / 2
    for _ in range(120):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        if nll(labels, logits, np.exp(a), weights) < nll(labels, logits, np.exp(b), weights):
            high = b
        else:
            low = a
    return float(np.exp((low + high) / 2))


# --- losses besides the focal one: a row of logits in, a number of 80 digits out


def gradient_of(value: Callable[[list], mpmath.mpf], row) -> np.ndarray:
    """Central differences of a function of logits, in 80 digits."""
    with mpmath.workdps(80):
        step = mpmath.mpf(10) ** -20
        row = [exact(z) for z in row]
        slopes = []
        for k in range(len(row)):
            above, below = list(row), list(row)
            above[k] += step
            below[k] -= step
            slopes.append((value(above) - value(below)) / (2 * step))
        return np.array([float(slope) for slope in slopes])


def of_probabilities(value: Callable[[list], mpmath.mpf], row) -> tuple[float, np.ndarray]:
    """A function of logits at probabilities p, whose logits are log p, and its gradient by them."""
    with mpmath.workdps(80):
        logs = [mpmath.log(exact(p)) for p in row]
        return value_of(value, logs), gradient_of(value, logs) / np.asarray(row, "float64")


def of_output(value: Callable[[list], mpmath.mpf], p) -> tuple[float, float]:
    """The same at the probability of one output, whose logit is log p - log(1 - p)."""
    with mpmath.workdps(80):
        p, other = exact(p), 1 - exact(p)
        row = [mpmath.log(p) - mpmath.log(other)]
        slope = gradient_of(value, row)[0] / (float(p) * float(other))
        return value_of(value, row), float(slope)


def value_of(value: Callable[[list], mpmath.mpf], row) -> float:
    with mpmath.workdps(80):
        return float(value([exact(z) for z in row]))


def _shares(row) -> list[mpmath.mpf]:
    exponentials = [mpmath.e**z for z in row]
    return [e / mpmath.fsum(exponentials) for e in exponentials]


def crossentropy(q, row) -> mpmath.mpf:
    p = _shares(row)
    return -mpmath.fsum(float(a) * mpmath.log(b) for a, b in zip(q, p, strict=True) if a)


def brier(q, row) -> mpmath.mpf:
    p = _shares(row)
    total = mpmath.mpf(0)
    for c, a in enumerate(q):
        # 1 - p by the other classes, as everywhere here.
        gap = complements(p)[c] - (1 - float(a)) if a > 0.5 else p[c] - float(a)
        total += gap**2
    return total


def smoothed(q, row, s) -> mpmath.mpf:
    k = len(row)
    return crossentropy([(1 - s) * float(a) + s * (1 - float(a)) / (k - 1) for a in q], row)


def entropy_regularized(q, row, weight) -> mpmath.mpf:
    p = _shares(row)
    return crossentropy(q, row) + weight * mpmath.fsum(a * mpmath.log(a) for a in p)


def margin_smoothed(q, row, weight, margin) -> mpmath.mpf:
    hinges = [max(mpmath.mpf(0), max(row) - z - margin) for z in row]
    return crossentropy(q, row) + weight * mpmath.fsum(hinges)


def dual_focal(q, row, gamma) -> mpmath.mpf:
    t = int(np.argmax(q))
    p = _shares(row)
    p_j = max((p[j] for j in range(len(row)) if row[j] < row[t]), default=mpmath.mpf(0))
    base = complements(p)[t] + p_j
    return (base**gamma if gamma else 1) * -mpmath.log(p[t])


def poly_focal(q, row, gamma, epsilon) -> mpmath.mpf:
    p = _shares(row)
    u = complements(p)
    return mpmath.fsum(
        float(a) * (focal_value(p[c], u[c], gamma) + epsilon * u[c] ** (gamma + 1))
        for c, a in enumerate(q)
        if a
    )


def focal_calibration(q, row, gamma, weight) -> mpmath.mpf:
    return poly_focal(q, row, gamma, 0) + weight * brier(q, row)


def asymmetric(q, row, gamma_pos, gamma_neg, shift) -> mpmath.mpf:
    no, yes = _shares([mpmath.mpf(0), row[0]])
    shifted = max(yes - mpmath.mpf(shift), mpmath.mpf(0))
    # Without a shift 1 - p is what `no` is, to all digits.
    rest = no if shift == 0 else 1 - shifted
    positive = (no**gamma_pos if gamma_pos else 1) * -mpmath.log(yes)
    negative = (shifted**gamma_neg if gamma_neg else 1) * -mpmath.log(rest)
    return float(q) * positive + (1 - float(q)) * negative


def quality_focal(q, row, gamma) -> mpmath.mpf:
    no, yes = _shares([mpmath.mpf(0), row[0]])
    gap = no - (1 - mpmath.mpf(float(q))) if q > 0.5 else mpmath.mpf(float(q)) - yes
    entropy = -float(q) * mpmath.log(yes) - (1 - float(q)) * mpmath.log(no)
    return (abs(gap) ** gamma if gamma else 1) * entropy


def varifocal(q, row, gamma, alpha) -> mpmath.mpf:
    no, yes = _shares([mpmath.mpf(0), row[0]])
    if q == 0:
        return mpmath.mpf(alpha) * (yes**gamma if gamma else 1) * -mpmath.log(no)
    return float(q) * (-float(q) * mpmath.log(yes) - (1 - float(q)) * mpmath.log(no))


def mmce(labels, logits, weights=None, form="published") -> float:
    """Kumar et al., 2018: the double sum over pairs; or as the code of Mukhoti et al. divides."""
    confidence, correct = top_label(labels, softmax64(logits))
    weights = np.ones(len(confidence)) if weights is None else np.asarray(weights, "float64")
    right, wrong = (weights * correct).sum(), (weights * (1 - correct)).sum()
    if form == "repository" and not (right and wrong):
        return 0.0
    total = 0.0
    for i in range(len(confidence)):
        for j in range(len(confidence)):
            kernel = np.exp(-abs(confidence[i] - confidence[j]) / 0.4)
            product = (correct[i] - confidence[i]) * (correct[j] - confidence[j])
            product *= weights[i] * weights[j] * kernel
            if form == "published":
                total += product / weights.sum() ** 2
                continue
            pair = (right if correct[i] else wrong) * (right if correct[j] else wrong)
            total += product / pair ** (2 if form == "repository" else 1)
    return float(np.sqrt(max(total, 0.0) + (1e-10 if form == "repository" else 0.0)))


def conformal_score(p, label, method, penalty=0.0, rank=0, u=1.0) -> float:
    """The score of a label, of one row of probabilities, by counting what ranks before it."""
    before = [c for c in range(len(p)) if p[c] > p[label] or (p[c] == p[label] and c < label)]
    if method == "lac":
        return 1.0 - float(p[label])
    score = sum(float(p[c]) for c in before) + u * float(p[label])
    if method == "raps":
        score += penalty * max(0, len(before) + 1 - rank)
    return score


def conformal_threshold(scores, alpha) -> float:
    """The smallest t that at least (n + 1)(1 - alpha) of n scores do not exceed; inf if none."""
    for t in sorted(scores):
        if sum(s <= t for s in scores) >= (len(scores) + 1) * (1 - alpha) - 1e-9:
            return float(t)
    return float("inf")


def _shares_of(labels, logits, weights):
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, "float64")
    return softmax64(logits), weights, weights / weights.sum()


def mdca(labels, logits, weights=None) -> float:
    p, _, share = _shares_of(labels, logits, weights)
    classes = range(p.shape[1])
    rates = [sum(s for s, y in zip(share, labels, strict=True) if y == k) for k in classes]
    means = [float(share @ p[:, k]) for k in classes]
    return float(np.mean([abs(m - r) for m, r in zip(means, rates, strict=True)]))


def dca(labels, logits, weights=None) -> float:
    p, _, share = _shares_of(labels, logits, weights)
    confidence, correct = top_label(labels, p)
    return abs(float(share @ confidence) - float(share @ correct))


def soft_binned_ece(labels, logits, weights=None, bins=15, temperature=0.01, norm=2) -> float:
    """Karandikar et al., 2021: bin by bin."""
    p, _, share = _shares_of(labels, logits, weights)
    confidence, correct = top_label(labels, p)
    middles = [(2 * j + 1) / (2 * bins) for j in range(bins)]
    total = 0.0
    closeness = [np.exp(-((confidence - x) ** 2) / temperature) for x in middles]
    for own in closeness:
        member = share * own / np.sum(closeness, axis=0)
        size = member.sum()
        if size > 1e-12:
            accuracy, mean = (member @ correct) / size, (member @ confidence) / size
            total += size * abs(accuracy - mean) ** norm
    return float(total ** (1 / norm))


def focal_tversky(labels, logits, weights=None, alpha=0.7, beta=0.3, gamma=4 / 3) -> float:
    """Abraham and Khan, 2019, eq. 4, class by class, divided by the number of classes there."""
    p, weights, _ = _shares_of(labels, logits, weights)
    found = []
    for k in range(p.shape[1]):
        is_class = np.asarray(labels) == k
        if weights[is_class].sum() == 0:
            continue
        overlap = (weights * p[:, k])[is_class].sum()
        missed = (weights * (1 - p[:, k]))[is_class].sum()
        wrong = (weights * p[:, k])[~is_class].sum()
        index = overlap / (overlap + alpha * missed + beta * wrong)
        found.append((1 - index) ** (1 / gamma))
    return float(np.mean(found))


def unified_focal(
    labels, logits, weights=None, weight=0.5, delta=0.6, gamma=0.5, form="asymmetric", background=0
) -> np.ndarray:
    """Yeung et al., 2022, and their code: the loss of each pixel."""
    p, weights, _ = _shares_of(labels, logits, weights)
    overlaps = []
    for k in set(np.asarray(labels)[weights > 0].tolist()):
        is_class = np.asarray(labels) == k
        overlap = (weights * p[:, k])[is_class].sum()
        missed = (weights * (1 - p[:, k]))[is_class].sum()
        wrong = (weights * p[:, k])[~is_class].sum()
        gap = 1 - overlap / (overlap + delta * missed + (1 - delta) * wrong)
        focused = form == "symmetric" or k != background
        overlaps.append(gap * gap**-gamma if focused else gap)
    values = []
    for k, row in zip(labels, p, strict=True):
        focused = form == "symmetric" or k == background
        alpha = 1 - delta if k == background else delta
        focal = alpha * ((1 - row[k]) ** gamma if focused else 1) * -np.log(row[k])
        values.append(weight * focal + (1 - weight) * np.mean(overlaps))
    return np.array(values)


def soft_binned_ace(labels, logits, weights=None, bins=20) -> float:
    """Barfoot et al., 2025: class by class, bin by bin, of one image."""
    p, weights, _ = _shares_of(labels, logits, weights)
    found = []
    for k in range(p.shape[1]):
        is_class = np.asarray(labels) == k
        gaps = []
        for j in range(bins):
            middle = (j + 0.5) / bins
            member = np.maximum(0.0, 1.0 - bins * np.abs(p[:, k] - middle))
            is_end = ((j == 0) & (p[:, k] < middle)) | ((j == bins - 1) & (p[:, k] > middle))
            member = weights * np.where(is_end, 1.0, member)
            if member.sum() >= 0.01:
                gaps.append(abs(member @ p[:, k] - member @ is_class) / member.sum())
        found.append(np.mean(gaps) if gaps and weights @ is_class > 0 else 0.0)
    return float(np.mean(found))


def acls(row, margin, positive, negative) -> float:
    top = int(np.argmax(row))
    others = [max(0.0, row[top] - z - margin) ** 2 for j, z in enumerate(row) if j != top]
    return positive * max(0.0, row[top] - margin) ** 2 + negative * float(np.mean(others))


def cals(row, multipliers, rho, margin) -> float:
    """Powell, Hestenes and Rockafellar, by its two branches."""
    total = 0.0
    for z, own in zip(row, multipliers, strict=True):
        h = (max(row) - z) / margin - 1
        total += own * h + rho / 2 * h * h if own + rho * h >= 0 else -own * own / (2 * rho)
    return float(total)


def nacl(labels, logits, counts=None, size=3, norm=1) -> np.ndarray:
    """Murugesan et al., 2024: image by image, pixel by pixel, neighbour by neighbour."""
    labels, logits = np.asarray(labels), np.asarray(logits, "float64")
    counts = np.ones(labels.shape, bool) if counts is None else np.asarray(counts, bool)
    found = np.zeros(labels.shape)
    reach = range(-(size // 2), size // 2 + 1)
    for place in zip(*np.nonzero(counts), strict=True):
        share = np.zeros(logits.shape[-1])
        for step in itertools.product(reach, repeat=labels.ndim - 1):
            near = (place[0], *(at + by for at, by in zip(place[1:], step, strict=True)))
            inside = all(0 <= at < end for at, end in zip(near, labels.shape, strict=True))
            if inside and counts[near]:
                share[labels[near]] += 1
        found[place] = np.mean(np.abs(logits[place] - share / share.sum()) ** norm)
    return found
