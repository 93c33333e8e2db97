"use strict";
/* The focal loss of one prediction, step by step, in float64. Letters and numbers such as M1 name
   the equations of docs/maths.md, which the Python package computes too.

   Everything follows from the margin m = logsumexp(other logits) - true logit: p = sigmoid(-m),
   1 - p = sigmoid(m), -log p = softplus(m). Nothing near 1 is subtracted from 1, so the easiest and
   the hardest predictions keep their digits. */
const maths = (() => {
  /** A margin beyond this counts as this, so that no loss is infinite. */
  const LARGEST_MARGIN = 2 ** 100;

  /** The paper's rules: thresholds of p, and the gammas between them (G1). */
  const RULES = {
    "FLSD-53": { thresholds: [0.2], gammas: [5, 3] },
    "FLSD-532": { thresholds: [0.2, 0.5], gammas: [5, 3, 2] },
  };

  /** Return log(sum of exp(values)); -Infinity of none. */
  function logSumExp(values) {
    const largest = values.reduce((a, b) => Math.max(a, b), -Infinity);
    if (!Number.isFinite(largest)) return largest;
    return largest + Math.log(values.reduce((sum, z) => sum + Math.exp(z - largest), 0));
  }

  const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
  const sigmoid = (x) => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));

  /** Return {p, complement: 1 - p, logComplement: log(1 - p), crossEntropy: -log p} of a margin (M1). */
  function ofMargin(margin) {
    const m = Math.min(margin, LARGEST_MARGIN);
    return {
      p: sigmoid(-m),
      complement: sigmoid(m),
      logComplement: -softplus(-m),
      crossEntropy: softplus(m),
    };
  }

  /** Return gamma at p: `rule` is a number, or a name in RULES. */
  function gammaAt(rule, p) {
    if (typeof rule === "number") return rule;
    const { thresholds, gammas } = RULES[rule];
    return gammas[thresholds.filter((threshold) => p >= threshold).length];
  }

  /** Return (1 - p)^gamma and g(p, gamma) = (1 - p)^gamma (1 + gamma p r), r = -log p / (1 - p) (F5). */
  function focalTerms({ p, complement, logComplement, crossEntropy }, gamma) {
    const factor = gamma === 0 ? 1 : Math.exp(gamma * logComplement);
    // r tends to 1 as p does, and 1 - p may be too small to divide by.
    const ratio = complement > 1e-290 ? crossEntropy / complement : 1;
    return { factor, slope: factor * (1 + gamma * p * ratio) };
  }

  /** Return the same three numbers of a plain probability, for curves. */
  const ofProbability = (p) => ({
    p,
    complement: 1 - p,
    logComplement: Math.log1p(-p),
    crossEntropy: -Math.log(p),
  });

  /** Return g(p, gamma), the focal gradient over that of cross-entropy; gamma may be a rule. */
  const gradientRatio = (p, rule) =>
    p === 0 ? 1 : focalTerms(ofProbability(p), gammaAt(rule, p)).slope;

  /** Return the focal loss at a probability p > 0 of the true class. */
  function lossAt(p, rule) {
    const of = ofProbability(p);
    return focalTerms(of, gammaAt(rule, p)).factor * of.crossEntropy;
  }

  /**
   * Return the p0 with g(p0, gamma) = 1, gamma > 0 (Proposition 2, G6): a focal gradient is larger
   * than that of cross-entropy below it, smaller above.
   */
  function thresholdProbability(gamma) {
    let low = -745;
    let high = Math.log(0.5);
    for (let i = 0; i < 64; i++) {
      const middle = (low + high) / 2;
      const p = Math.exp(middle);
      // log g, not g: for a small gamma that is a difference of numbers near 1.
      const logSlope = gamma * Math.log1p(-p) + Math.log1p((gamma * p * -middle) / (1 - p));
      if (logSlope > 0) low = middle;
      else high = middle;
    }
    return Math.exp((low + high) / 2);
  }

  /**
   * Return every step from logits to loss and gradient.
   *
   * @param {number[]} logits All classes of a softmax; one logit of a sigmoid.
   * @param {number} label The true class; of a sigmoid 0 or 1.
   * @param {Object} how
   * @param {"softmax"|"sigmoid"} how.kind
   * @param {number|string} how.gamma A number >= 0, or a name in RULES.
   * @param {null|number|number[]} how.alpha Of a softmax a weight, or one for each class; of a
   *     sigmoid the weight of class 1, and 1 - alpha that of class 0.
   * @returns {Object} margin; probabilities of all classes, p of the true one, complement = 1 - p;
   *     gamma at p; alpha of the true class; crossEntropy, factor, loss, in nats and with alpha;
   *     slope = g(p, gamma); gradients of the loss and of cross-entropy by each logit.
   */
  function explain(logits, label, { kind, gamma: rule, alpha = null }) {
    const { margin, shares } =
      kind === "softmax" ? softmaxMargin(logits, label) : sigmoidMargin(logits[0], label);
    const of = ofMargin(margin);
    const gamma = gammaAt(rule, of.p);
    const { factor, slope } = focalTerms(of, gamma);
    const weight = weightOf(alpha, label, kind);
    // dL/dz is -(1 - p) at the true class, and (1 - p) share = p_j at another (F6).
    const direction = shares.map((share) => (share === null ? -of.complement : of.complement * share));
    const probabilities = shares.map((share) => (share === null ? of.p : of.complement * share));
    const signed = kind === "softmax" ? direction : [label === 1 ? -of.complement : of.complement];
    return {
      margin,
      probabilities,
      p: of.p,
      complement: of.complement,
      gamma,
      alpha: weight,
      crossEntropy: of.crossEntropy,
      factor,
      loss: weight * factor * of.crossEntropy,
      slope,
      gradient: signed.map((d) => weight * slope * d),
      crossEntropyGradient: signed,
    };
  }

  /** Return the margin of a class, and the share of each other class among the others (M3). */
  function softmaxMargin(logits, label) {
    const others = logSumExp(logits.filter((_, j) => j !== label));
    const shares = logits.map((z, j) => {
      if (j === label) return null;
      return others === -Infinity ? 0 : Math.exp(z - others);
    });
    return { margin: others - logits[label], shares };
  }

  const sigmoidMargin = (logit, label) =>
    label === 1 ? { margin: -logit, shares: [1, null] } : { margin: logit, shares: [null, 1] };

  function weightOf(alpha, label, kind) {
    if (alpha === null) return 1;
    if (Array.isArray(alpha)) return alpha[label];
    return kind === "sigmoid" && label === 0 ? 1 - alpha : alpha;
  }

  return { RULES, explain, gammaAt, gradientRatio, lossAt, logSumExp, softplus, thresholdProbability };
})();
