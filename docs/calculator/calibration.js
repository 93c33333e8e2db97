"use strict";
/* The calibration of many predictions, in float64: confidence, bins, ECE, AdaECE, NLL, Brier score,
   temperature, the posterior of a focal-trained model, and what chance alone shows. Letters and
   numbers such as C2 name the equations of docs/maths.md, which the Python package computes too.

   A data set is {size, numClasses, values, isLogits, isNarrow, labels}: `values` holds `size` rows of
   `numClasses` logits or probabilities, one after another; `isNarrow` says that they were float32 or
   less, whose rounding decides on which side of an edge a confidence lies. */
const calibration = (() => {
  /** The least probability: what is below counts as this before its logarithm is taken. */
  const TINY = 2 ** -126;

  /** Temperatures at which the curves are drawn; T of least ECE is one of them (T4). */
  const GRID = Array.from({ length: 100 }, (_, i) => (i + 1) / 10);

  /** Temperatures within which that of least NLL is sought. */
  const BOUNDS = [0.05, 20];

  /** Return the logits of a data set: those of probabilities are their logarithms, computed once. */
  function logitsOf(data) {
    if (data.isLogits) return data.values;
    data.logits ??= Float64Array.from(data.values, (p) => Math.log(Math.max(p, TINY)));
    return data.logits;
  }

  /** Return room for what `predict` finds of each prediction. */
  const room = (size) => ({
    confidence: new Float64Array(size),
    complement: new Float64Array(size),
    wrong: new Uint8Array(size),
    top: new Int32Array(size),
    nll: new Float64Array(size),
    brier: new Float64Array(size),
  });

  /**
   * Write confidence, 1 - confidence, wrongness, top label, NLL and Brier score of the predictions
   * from `start` to `stop` into `out`.
   *
   * @param {Object} data A data set.
   * @param {{temperature: number, gamma: number}} map Logits are divided by `temperature` (T1); then,
   *     for a `gamma` > 0, the class posterior of a model trained with that focal loss follows (P1).
   */
  function predict(data, { temperature, gamma }, out, start = 0, stop = data.size) {
    const k = data.numClasses;
    const logits = logitsOf(data);
    const isAsGiven = !data.isLogits && temperature === 1 && gamma === 0;
    const below = new Float64Array(k);
    const share = new Float64Array(k);
    for (let i = start; i < stop; i++) {
      const at = i * k;
      const label = data.labels[i];
      const top = firstLargest(data.values, at, k);
      for (let j = 0; j < k; j++) below[j] = (logits[at + j] - logits[at + top]) / temperature;
      if (gamma !== 0) toPosterior(below, top, gamma);
      let rest = 0;
      for (let j = 0; j < k; j++) {
        share[j] = j === top ? 1 : Math.exp(below[j]);
        if (j !== top) rest += share[j];
      }
      out.top[i] = top;
      out.wrong[i] = top === label ? 0 : 1;
      out.nll[i] = -below[label] + Math.log1p(rest);
      if (isAsGiven) {
        // Probabilities stay as they are: a logarithm and back would move some across an edge.
        for (let j = 0; j < k; j++) share[j] = data.values[at + j];
        const complement = Math.max(0, 1 - share[top]);
        out.confidence[i] = share[top];
        out.complement[i] = data.isNarrow ? Math.fround(complement) : complement;
        out.brier[i] = brierOf(share, label, 1 - share[label], 1);
      } else {
        out.confidence[i] = 1 / (1 + rest);
        out.complement[i] = rest / (1 + rest);
        const total = 1 + rest;
        const ofLabel = top === label ? rest / total : 1 - share[label] / total;
        out.brier[i] = brierOf(share, label, ofLabel, total);
      }
    }
    return out;
  }

  function firstLargest(values, at, k) {
    let top = 0;
    for (let j = 1; j < k; j++) if (values[at + j] > values[at + top]) top = j;
    return top;
  }

  /** Return sum_c (p_c - q_c)^2, p = share / total, given 1 - p of the label (C9). */
  function brierOf(share, label, complement, total) {
    let sum = complement * complement;
    for (let j = 0; j < share.length; j++) {
      if (j !== label) sum += (share[j] / total) ** 2;
    }
    return sum;
  }

  /** Turn logits below the top one into those of the posterior h(q) = q / g(q, gamma) (P1 to P3). */
  function toPosterior(below, top, gamma) {
    let second = -Infinity;
    let others = 0;
    for (let j = 0; j < below.length; j++) if (j !== top) second = Math.max(second, below[j]);
    if (second === -Infinity) return;
    for (let j = 0; j < below.length; j++) if (j !== top) others += Math.exp(below[j] - second);
    const rest = second + Math.log(others);
    const logTotal = maths.softplus(rest);
    const ofTop = logDamping(
      Math.exp(-logTotal), Math.exp(rest - logTotal), logTotal, rest - logTotal, gamma);
    for (let j = 0; j < below.length; j++) {
      if (j === top) continue;
      const logQ = below[j] - logTotal;
      const q = Math.exp(logQ);
      below[j] = Math.min(below[j] - logDamping(q, 1 - q, -logQ, Math.log1p(-q), gamma) + ofTop, 0);
    }
  }

  /** Return log g(q, gamma) = gamma log(1 - q) + log(1 + gamma q r), r = -log q / (1 - q) (P2). */
  function logDamping(q, complement, negLogQ, logComplement, gamma) {
    if (q === 0) return 0;
    const ratio = complement > 1e-290 ? negLogQ / complement : 1;
    return gamma * logComplement + Math.log1p(gamma * q * ratio);
  }

  /** Return the bin of a confidence: bin i is (i/M, (i+1)/M], and the first holds 0 too (C1). */
  function binner(numBins, isNarrow) {
    const round = isNarrow ? Math.fround : (x) => x;
    const edges = Array.from({ length: numBins + 1 }, (_, i) => round(i / numBins));
    return (confidence) => {
      const c = round(confidence);
      let bin = Math.min(numBins - 1, Math.max(0, Math.ceil(c * numBins) - 1));
      while (bin > 0 && c <= edges[bin]) bin--;
      while (bin < numBins - 1 && c > edges[bin + 1]) bin++;
      return bin;
    };
  }

  /**
   * Return what the bins of equal width hold.
   *
   * @returns {Object[]} For each bin low, high, count, wrong, gap = sum of confidence - correctness;
   *     and, where it holds something, accuracy and confidence, the mean.
   */
  function binned(found, numBins, isNarrow) {
    const bins = Array.from({ length: numBins }, (_, i) => (
      { low: i / numBins, high: (i + 1) / numBins, count: 0, wrong: 0, gap: 0 }));
    const binOf = binner(numBins, isNarrow);
    for (let i = 0; i < found.confidence.length; i++) {
      const bin = bins[binOf(found.confidence[i])];
      bin.count += 1;
      bin.wrong += found.wrong[i];
      // 1 - confidence is summed, not confidence: numbers near 1 would lose the gap (C5).
      bin.gap += found.wrong[i] - found.complement[i];
    }
    for (const bin of bins) {
      if (bin.count === 0) continue;
      bin.accuracy = 1 - bin.wrong / bin.count;
      bin.confidence = Math.min(1, Math.max(0, bin.accuracy + bin.gap / bin.count));
    }
    return bins;
  }

  const sum = (values) => values.reduce((a, b) => a + b, 0);

  /** Return ECE = sum |B_i| / N |A_i - C_i| of bins (C2). */
  const ece = (bins) => sum(bins.map((b) => Math.abs(b.gap))) / sum(bins.map((b) => b.count));

  /** Return MCE = max |A_i - C_i| over the bins that hold something (C3). */
  const mce = (bins) => Math.max(...bins.map((b) => (b.count ? Math.abs(b.gap) / b.count : 0)));

  /** Return AdaECE: ECE over bins of exactly N / M predictions; ties are divided in proportion (C4). */
  function adaEce(found, numBins) {
    const size = found.complement.length;
    const order = Uint32Array.from({ length: size }, (_, i) => i);
    order.sort((a, b) => found.complement[b] - found.complement[a]);
    const gaps = new Float64Array(numBins);
    const mass = size / numBins;
    for (let i = 0, end; i < size; i = end) {
      // Predictions of one confidence make one cell, each part of it with the cell's mean gap.
      let gap = 0;
      for (end = i; end < size && found.complement[order[end]] === found.complement[order[i]]; end++) {
        gap += found.wrong[order[end]] - found.complement[order[end]];
      }
      let from = i;
      for (let bin = Math.min(numBins - 1, Math.floor(i / mass)); from < end; bin++) {
        const to = bin >= numBins - 1 ? end : Math.min(end, Math.max(from, (bin + 1) * mass));
        gaps[Math.min(bin, numBins - 1)] += (gap * (to - from)) / (end - i);
        from = to;
      }
    }
    return sum(Array.from(gaps, Math.abs)) / size;
  }

  /** Return the figures of predictions that `predict` has filled. */
  function figures(found, numBins, isNarrow) {
    const size = found.confidence.length;
    const bins = binned(found, numBins, isNarrow);
    const accuracy = 1 - sum(found.wrong) / size;
    return {
      bins,
      accuracy,
      confidence: accuracy + sum(bins.map((b) => b.gap)) / size,
      ece: ece(bins),
      mce: mce(bins),
      adaEce: adaEce(found, numBins),
      nll: sum(found.nll) / size,
      brier: sum(found.brier) / size,
    };
  }

  /**
   * Return the probabilities of 0, 1, ... right predictions of n, of which each is right with
   * probability p: {first, weights}, where weights[i] is that of first + i.
   */
  function binomial(n, p) {
    if (p <= 0 || p >= 1) return { first: p <= 0 ? 0 : n, weights: [1] };
    const reach = Math.ceil(10 * Math.sqrt(n * p * (1 - p))) + 20;
    const mode = Math.min(n, Math.floor((n + 1) * p));
    const first = Math.max(0, mode - reach);
    const last = Math.min(n, mode + reach);
    const weights = new Float64Array(last - first + 1);
    weights[mode - first] = 1;
    const odds = p / (1 - p);
    for (let k = mode; k < last; k++) {
      weights[k + 1 - first] = (weights[k - first] * (n - k) * odds) / (k + 1);
    }
    for (let k = mode; k > first; k--) {
      weights[k - 1 - first] = (weights[k - first] * k) / ((n - k + 1) * odds);
    }
    const total = sum(weights);
    return { first, weights: weights.map((w) => w / total) };
  }

  /**
   * Return the ECE and the accuracies that chance alone gives: what bins would show if every
   * prediction were right as often as its confidence says, as functional.noise_floor defines it.
   *
   * @returns {Object} expected: the mean of the ECE, exact; upper: what it exceeds with probability
   *     1 - level, of 2000 seeded draws; intervals: of each bin the [low, high] between which its
   *     accuracy lies with probability `level`, exact; null of an empty bin.
   */
  function noiseFloor(bins, level = 0.95, numDraws = 2000) {
    const size = sum(bins.map((b) => b.count));
    const errors = new Float64Array(numDraws);
    const random = generator(0);
    let expected = 0;
    const intervals = bins.map(({ count, confidence }) => {
      if (count === 0) return null;
      const { first, weights } = binomial(count, confidence);
      const off = Array.from(weights, (_, i) => Math.abs(first + i - count * confidence));
      expected += sum(off.map((distance, i) => distance * weights[i]));
      let reached = 0;
      const reach = weights.map((w) => (reached += w));
      for (let i = 0; i < numDraws; i++) errors[i] += off[quantile(reach, random())];
      const ends = [(1 - level) / 2, (1 + level) / 2];
      return ends.map((q) => (first + quantile(reach, q)) / count);
    });
    errors.sort();
    const position = level * (numDraws - 1);
    const below = errors[Math.floor(position)];
    const upper = below + (position % 1) * (errors[Math.ceil(position)] - below);
    return { expected: expected / size, upper: upper / size, intervals };
  }

  /** Return the first index where the rising sums reach a share. */
  function quantile(reach, share) {
    let low = 0;
    let high = reach.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (reach[middle] >= share) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Return a seeded source of uniform numbers in [0, 1) (mulberry32). */
  function generator(seed) {
    let state = seed >>> 0;
    return () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = Math.imul(state ^ (state >>> 15), state | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
    };
  }

  return { BOUNDS, GRID, TINY, adaEce, binned, binner, figures, generator, noiseFloor, predict, room };
})();
