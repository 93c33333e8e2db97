"use strict";
/* The first tab: one prediction. Inputs are read, checked, explained by maths.js and shown. */
(() => {
  const { figure, html } = page;
  const $ = (id) => document.getElementById(id);
  const form = $("inputs");
  const MOST_CLASSES = 1000;
  const MOST_SHOWN = 12;

  // Reading ------------------------------------------------------------------------------------

  /** Return the numbers in a text, or throw. */
  function numbersIn(text, example) {
    const parts = text.trim().split(/[\s,;]+/).filter(Boolean);
    if (!parts.length) throw new ReadError(`Enter numbers separated by commas, such as ${example}.`);
    return parts.map((part) => {
      const number = csv.numberOf(part.replace("−", "-"));
      if (number === undefined || Number.isNaN(number)) {
        throw new ReadError(`“${part.slice(0, 20)}” is not a number. Enter numbers separated by commas, such as ${example}.`);
      }
      return number;
    });
  }

  function readLogits(text, kind) {
    const logits = numbersIn(text, kind === "softmax" ? "4, 1, -1" : "-2");
    if (kind === "softmax" && logits.length < 2) {
      throw new ReadError("Softmax needs two logits or more. For a single logit, choose Sigmoid.");
    }
    if (kind === "sigmoid" && logits.length > 1) {
      throw new ReadError("Sigmoid takes one logit: such outputs are independent, and each has its own loss.");
    }
    if (logits.length > MOST_CLASSES) throw new ReadError(`Enter at most ${MOST_CLASSES} logits.`);
    const isFit = (z) => Math.abs(z) <= 1e300 || (z === -Infinity && kind === "softmax");
    if (!logits.every(isFit)) throw new ReadError("Logits must be finite, or -inf for an impossible class.");
    return logits;
  }

  function readLabel(text, kind, logits) {
    const most = kind === "softmax" ? logits.length - 1 : 1;
    const why = kind === "softmax" ? `, as there are ${logits.length} logits` : ": no or yes";
    const label = csv.numberOf(text);
    if (!Number.isInteger(label) || label < 0 || label > most) {
      throw new ReadError(`The true class must be a whole number from 0 to ${most}${why}.`);
    }
    if (kind === "softmax" && logits[label] === -Infinity) {
      throw new ReadError("The true class has a logit of -inf, so a probability of 0 and an infinite loss.");
    }
    return label;
  }

  function readAlpha(text, kind, logits) {
    if (!text.trim()) return null;
    const alpha = numbersIn(text, kind === "softmax" ? "0.25, 1, 1" : "0.25");
    if (kind === "sigmoid") {
      if (alpha.length > 1 || alpha[0] < 0 || alpha[0] > 1) {
        throw new ReadError("Alpha must be one number from 0 to 1: the weight of yes; no has 1 − alpha.");
      }
      return alpha[0];
    }
    if (![1, logits.length].includes(alpha.length)) {
      throw new ReadError(`Enter one alpha, or ${logits.length}: one per class. Received: ${alpha.length}.`);
    }
    if (!alpha.every((each) => each >= 0 && each <= 1e6)) throw new ReadError("Alpha must hold numbers from 0 to 1000000.");
    return alpha.length === 1 ? alpha[0] : alpha;
  }

  /** Return what the fields hold, with an error beside each that is wrong; null if one is. */
  function read() {
    const kind = form.elements.kind.value;
    const rule = form.elements.rule.value;
    let isRight = true;
    const field = (id, reader) => {
      try {
        const value = reader($(id).value);
        page.mark($(id), $(`${id}-error`));
        return value;
      } catch (problem) {
        page.mark($(id), $(`${id}-error`), problem.message);
        isRight = false;
        return undefined;
      }
    };
    const logits = field("logits", (text) => readLogits(text, kind));
    // What depends on the logits waits for them.
    const label = logits && field("class", (text) => readLabel(text, kind, logits));
    const alpha = logits && field("alpha", (text) => readAlpha(text, kind, logits));
    const gamma = rule === "number" ? field("gamma", (text) => page.numberIn(text, 0, 1000, "Gamma")) : rule;
    return isRight ? { kind, logits, label, gamma, alpha } : null;
  }

  // Links --------------------------------------------------------------------------------------

  function hashOf({ kind, logits, label, gamma, alpha }) {
    const parts = { kind, logits: logits.map((z) => (z === -Infinity ? "-inf" : z)).join(), class: label, gamma };
    if (alpha !== null) parts.alpha = [alpha].flat().join();
    return `#${Object.entries(parts).map(([name, value]) => `${name}=${value}`).join("&")}`;
  }

  /** Put what a link carries into the fields; what it lacks keeps its value, but alpha, which is none. */
  function apply(hash) {
    const parts = new URLSearchParams(hash.replace(/^#/, ""));
    if (!parts.has("logits")) return;
    const kind = parts.get("kind") === "sigmoid" ? "sigmoid" : "softmax";
    form.elements.kind.value = kind;
    const tidy = (text) => text.split(",").join(", ");
    $("logits").value = tidy(parts.get("logits"));
    $("class").value = parts.get("class") ?? "0";
    $("alpha").value = tidy(parts.get("alpha") ?? "");
    const gamma = parts.get("gamma") ?? "2";
    form.elements.rule.value = gamma in maths.RULES ? gamma : "number";
    if (!(gamma in maths.RULES)) {
      $("gamma").value = gamma;
      $("gamma-slider").value = gamma;
    }
  }

  // Showing ------------------------------------------------------------------------------------

  function showProduct(found) {
    const parts = [
      ["factor", html("span", {}, "(1 − p)", html("sup", {}, "γ")), found.factor],
      ["cross-entropy", "−log p", found.crossEntropy],
    ];
    if (found.alpha !== 1) parts.unshift(["alpha", "α", found.alpha]);
    const terms = parts.flatMap(([name, symbol, value], i) => [
      ...(i ? [html("span", { class: "sign", "aria-hidden": "true" }, "×")] : []),
      term(name, symbol, value),
    ]);
    $("product").replaceChildren(
      ...terms, html("span", { class: "sign", "aria-hidden": "true" }, "="), term("focal loss", "in nats", found.loss, "loss"));
    const power = html("sup", {}, figure(found.gamma));
    const alpha = found.alpha === 1 ? "" : `${figure(found.alpha)} × `;
    $("worked").replaceChildren(
      `p = ${figure(found.p, 6)}, γ = ${figure(found.gamma)}: ${alpha}(1 − ${figure(found.p, 6)})`, power,
      ` × −log ${figure(found.p, 6)} = ${alpha}${figure(found.factor, 6)} × ${figure(found.crossEntropy, 6)} = ${figure(found.loss, 6)}`);
  }

  const term = (name, symbol, value, look = "") => html("div", { class: look },
    html("dt", {}, name, " ", html("i", {}, symbol)), html("dd", { title: String(value) }, figure(value)));

  /** Return the classes that are shown: all, or the true one and the likeliest. */
  function shownClasses({ logits, label }, { probabilities }) {
    const all = probabilities.map((_, j) => j);
    if (all.length <= MOST_SHOWN) return all;
    const rank = (j) => (j === label ? 2 : probabilities[j]);
    const chosen = [...all].sort((a, b) => rank(b) - rank(a)).slice(0, MOST_SHOWN);
    $("classes-note").textContent = `${MOST_SHOWN} of ${logits.length} classes: the true one and the likeliest.`;
    return chosen.sort((a, b) => a - b);
  }

  function showClasses(input, found) {
    $("classes-note").textContent = "";
    const isSigmoid = input.kind === "sigmoid";
    const largest = Math.max(...[...found.gradient, ...found.crossEntropyGradient].map(Math.abs)) || 1;
    const rows = shownClasses(input, found).map((j) => {
      const isTrue = j === input.label;
      const probability = found.probabilities[j];
      const at = isSigmoid ? 0 : j;
      const [ofCe, ofFocal] = [found.crossEntropyGradient[at], found.gradient[at]];
      const name = isSigmoid ? ["no, 0", "yes, 1"][j] : String(j);
      const isBlank = isSigmoid && j === 0;
      return html("tr", isTrue ? { class: "true" } : {},
        html("th", { scope: "row" }, name, isTrue ? html("small", {}, " true") : ""),
        html("td", { class: "number" }, isBlank ? "" : figure(input.logits[at])),
        html("td", {}, html("div", { class: "measured" },
          draw.bar(probability, isTrue ? "focal" : "other"), html("span", { title: probability }, figure(probability)))),
        html("td", {}, isBlank ? "" : html("div", { class: "measured" },
          draw.bars([ofCe / largest, ofFocal / largest], ["cross-entropy", "focal"]),
          html("span", {},
            html("span", { class: "faint", title: ofCe }, figure(ofCe)), html("span", { title: ofFocal }, figure(ofFocal))))));
    });
    const head = html("tr", {}, ...["class", "logit", "probability", "gradient by the logit"].map((text) => html("th", { scope: "col" }, text)));
    $("classes").replaceChildren(html("thead", {}, head), html("tbody", {}, ...rows));
  }

  const P = { title: "p, probability of the true class", domain: [0, 1], ticks: [0, 0.2, 0.4, 0.6, 0.8, 1] };

  /** Return points of a function of p under a rule, with the pen lifted where gamma jumps. */
  function pointsOf(rule, f) {
    const edges = [0, ...(maths.RULES[rule]?.thresholds ?? []), 1];
    return edges.slice(1).flatMap((to, i) => {
      const from = edges[i];
      const gamma = maths.gammaAt(rule, from);
      const share = (j) => (i === 0 ? (j / 200) ** 2 : j / 200);
      const points = Array.from({ length: 201 }, (_, j) => from + share(j) * (to - from))
        .filter((p) => p > 0).map((p) => [p, f(p, gamma)]);
      return [null, ...points];
    });
  }

  function showCurves(input, found) {
    const most = Math.min(20, Math.max(5, 1.1 * found.crossEntropy, 1.1 * found.loss));
    draw.show($("loss-curve"), (width) => draw.curves(width, {
      height: 260,
      label: `Loss against p. At p = ${figure(found.p)} cross-entropy is ${figure(found.crossEntropy)}, the focal loss ${figure(found.loss)}.`,
      x: P, y: { domain: [0, most], ticks: draw.ticks(most, 5) },
      lines: [
        { points: pointsOf(0, (p) => -Math.log(p)), look: "cross-entropy" },
        { points: pointsOf(input.gamma, (p, gamma) => found.alpha * maths.lossAt(p, gamma)), look: "focal" },
      ],
      dots: [{ at: [found.p, found.crossEntropy], look: "cross-entropy" }, { at: [found.p, found.loss], look: "focal" }],
    }));
    const points = pointsOf(input.gamma, maths.gradientRatio);
    const top = 1.1 * Math.max(1.1, ...points.map((point) => point?.[1] ?? 0));
    const p0 = found.gamma > 0 ? maths.thresholdProbability(found.gamma) : null;
    draw.show($("ratio-curve"), (width) => draw.curves(width, {
      height: 260,
      label: `g against p. At p = ${figure(found.p)} it is ${figure(found.slope)}.`,
      x: P, y: { domain: [0, top], ticks: draw.ticks(top, 5) },
      lines: [{ points: [[0, 1], [1, 1]], look: "cross-entropy" }, { points, look: "focal" }],
      verticals: p0 === null ? [] : [{ at: p0, look: "threshold", text: `p₀ = ${figure(p0)}` }],
      dots: [{ at: [found.p, found.slope], look: "focal" }],
    }));
    showThreshold(found, p0);
  }

  function showThreshold({ p, gamma, slope }, p0) {
    $("threshold").textContent = p0 === null
      ? "With gamma 0 the focal loss is cross-entropy: g = 1 for every p."
      : `For γ = ${figure(gamma)}, g = 1 at p₀ = ${figure(p0, 6)} (Proposition 2): below it the focal gradient is larger than ` +
        `that of cross-entropy, above it smaller. Here p = ${figure(p, 6)}, and the gradient is ${figure(slope)} times that of cross-entropy.`;
  }

  function showLink(input) {
    const hash = hashOf(input);
    $("link").href = hash;
    $("copied").textContent = "";
    const isHere = !$("one").hidden;
    if (isHere && location.hash !== hash) history.replaceState(null, "", hash);
  }

  function update() {
    const isSigmoid = form.elements.kind.value === "sigmoid";
    $("logits-hint").textContent = isSigmoid ? "One number." : "One number per class, separated by commas.";
    $("class-hint").textContent = isSigmoid ? "1 for yes, 0 for no." : "Counted from 0.";
    $("alpha-hint").textContent = isSigmoid ? "The weight of yes; no has 1 − alpha." : "One weight, or one per class, separated by commas.";
    $("gamma-field").hidden = form.elements.rule.value !== "number";
    const input = read();
    $("stale").hidden = input !== null;
    $("results").classList.toggle("old", input === null);
    $("results").inert = input === null;
    if (!input) return;
    const found = maths.explain(input.logits, input.label, input);
    const share = found.crossEntropy > 0 ? `, ${figure((100 * found.loss) / found.crossEntropy)} % of the cross-entropy ${figure(found.crossEntropy)}` : "";
    $("summary").textContent = `Focal loss ${figure(found.loss)}${share}.`;
    showProduct(found);
    showClasses(input, found);
    showCurves(input, found);
    showLink(input);
  }

  function follow() {
    const isFiles = location.hash === "#files";
    if (isFiles || location.hash.includes("logits=")) page.select(page.tabs[isFiles ? 1 : 0]);
    apply(location.hash);
    update();
  }

  page.join({
    slider: $("gamma-slider"), field: $("gamma"), error: $("gamma-error"),
    check: (text) => page.numberIn(text, 0, 1000, "Gamma"), onChange: () => {},
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", update);
  window.addEventListener("hashchange", follow);
  $("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText($("link").href);
      $("copied").textContent = "Copied.";
    } catch {
      $("copied").textContent = "This browser does not let a page copy: copy the address of the link.";
    }
  });
  follow();
})();
