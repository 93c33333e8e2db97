"use strict";
/* What is shown of measured predictions: figures, bins, the rows of a bin, curves against T. */
const report = (() => {
  const { figure, html, percent } = page;
  /** Classes up to which a row has a link to the first tab. */
  const MOST_LINKED = 20;

  const FIGURES = [
    ["accuracy", (f) => percent(f.accuracy)],
    ["mean confidence", (f) => percent(f.confidence)],
    ["ECE", (f) => percent(f.ece)],
    ["by chance alone", (f) => percent(f.floor.expected), "sub"],
    ["in 95 % of cases below", (f) => percent(f.floor.upper), "sub"],
    ["AdaECE", (f) => percent(f.adaEce)],
    ["MCE", (f) => percent(f.mce)],
    ["NLL, nats", (f) => f.nll.toFixed(4)],
    ["Brier score", (f) => f.brier.toFixed(4)],
  ];

  const headOf = (titles) => html("thead", {},
    html("tr", {}, ...titles.map((title) => html(title ? "th" : "td", title ? { scope: "col" } : {}, title))));

  /** Return the parts of a table of figures: `shown` are pairs of a title and figures. */
  function figures(shown) {
    const rows = FIGURES.map(([name, of, look = ""]) => html("tr", { class: look },
      html("th", { scope: "row" }, name), ...shown.map(([, each]) => html("td", {}, of(each)))));
    return [headOf(["", ...shown.map(([title]) => title)]), html("tbody", {}, ...rows)];
  }

  const describe = (bin) =>
    `Confidence ${percent(bin.low, 0)} to ${percent(bin.high, 0)}: ${bin.count} predictions, accuracy ` +
    `${percent(bin.accuracy, 1)}, confidence ${percent(bin.confidence, 1)}`;

  /** Return how far the axes of slots must reach, so that pictures side by side have the same. */
  function limitsOf(slots) {
    const most = (of) => Math.max(...slots.map(of));
    return {
      share: most(({ data, now }) => Math.max(...now.bins.map((bin) => bin.count)) / data.size),
      error: 1.15 * most(({ curves: c }) => (c ? Math.max(...c.ece, ...c.adaEce) : 0.01)),
      score: 1.3 * most(({ before, now, curves: c }) =>
        Math.max(before.nll, now.nll, ...(c ? [2 * Math.min(...c.nll), ...c.brier] : []))),
    };
  }

  /** Draw the reliability diagram, whose bins can be chosen, and the histogram. */
  function bins(diagram, histogram, { now, chosen }, limits, onChoose) {
    const { bins: all, floor, accuracy, confidence } = now;
    draw.show(diagram, (width) => draw.reliability(width, {
      height: Math.min(380, Math.max(260, 0.8 * width)), bins: all, intervals: floor.intervals, chosen, onChoose, describe,
    }));
    draw.show(histogram, (width) => draw.histogram(width, {
      height: 190, bins: all, accuracy, confidence, largest: limits.share,
      label: `Histogram of confidence. Accuracy ${percent(accuracy, 1)}, mean confidence ${percent(confidence, 1)}.`,
    }));
  }

  /** Return the rows of the chosen bin, the most confident mistakes first, and `more` if there are. */
  function rows({ data, found, now, map, chosen, numShown }, more) {
    const { low, high } = now.bins[chosen];
    const binOf = calibration.binner(now.bins.length, data.isNarrow);
    const inside = [];
    for (let i = 0; i < data.size; i++) if (binOf(found.confidence[i]) === chosen) inside.push(i);
    inside.sort((a, b) => found.wrong[b] - found.wrong[a] || found.confidence[b] - found.confidence[a]);
    const wrong = inside.filter((i) => found.wrong[i]).length;
    const name = (k) => data.classNames?.[k] ?? String(k);
    const shown = inside.slice(0, numShown).map((i) => html("tr", { class: found.wrong[i] ? "wrong" : "" },
      html("th", { scope: "row" }, data.place(i)), html("td", {}, name(data.labels[i])),
      html("td", {}, name(found.top[i])), html("td", {}, percent(found.confidence[i])),
      html("td", {}, linkTo(data, i, map))));
    const table = html("table", {}, headOf(["", "label", "predicted", "confidence", ""]), html("tbody", {}, ...shown));
    return [
      html("p", {}, html("b", {}, `Confidence ${percent(low, 1)} to ${percent(high, 1)}: `),
        `${inside.length} predictions, ${wrong} of them wrong, listed first.`),
      html("div", { class: "scroll" }, table),
      ...(inside.length > numShown ? [more] : []),
    ];
  }

  /** Return a link that opens a row in the first tab, if it has few classes. */
  function linkTo(data, i, { temperature, gamma }) {
    const k = data.numClasses;
    if (k > MOST_LINKED || gamma !== 0) return "";
    const row = Array.from(data.values.subarray(i * k, (i + 1) * k));
    const logits = data.isLogits ? row : row.map((p) => Math.log(Math.max(p, calibration.TINY)));
    const text = logits.map((z) => Number((z / temperature).toPrecision(9))).join();
    return html("a", { href: `#kind=softmax&logits=${text}&class=${data.labels[i]}&gamma=2` }, "explain");
  }

  /** Return buttons for the best temperatures. */
  function best({ byNll, byEce }, onChoose) {
    const button = (text, temperature) => {
      const made = html("button", { type: "button" }, text);
      made.addEventListener("click", () => onChoose(temperature));
      return made;
    };
    const isBound = calibration.BOUNDS.some((bound) => Math.abs(Math.log(byNll / bound)) < 1e-5);
    return [
      "Best: ", button(`T = ${figure(byNll)} by NLL`, byNll), button(`T = ${figure(byEce)} by ECE`, byEce), button("T = 1", 1),
      html("small", {}, isBound
        ? "The lowest NLL lies at the end of the range: the logits separate the labels, or they are not logits."
        : "Fitted on the rows it is measured on: use a T from validation data."),
    ];
  }

  const T = { title: "temperature T", domain: [0.1, 10], ticks: [0.1, 0.2, 0.5, 1, 2, 5, 10], isLog: true };

  /** Draw errors and scores against T, with a mark at the present one. */
  function curves(errors, scores, { curves: all, map, now }, limits) {
    const { temperatures, ece, adaEce, nll, brier, byNll, byEce } = all;
    const at = { temperatures, here: map.temperature };
    curve(errors, `ECE against T, least at T = ${figure(byEce)}: ${percent(Math.min(...ece))}.`, at,
      [[ece, now.ece], [adaEce, now.adaEce]],
      { domain: [0, limits.error], ticks: draw.ticks(limits.error, 4), format: (x) => String(Number((100 * x).toPrecision(3))) });
    curve(scores, `NLL against T, least at T = ${figure(byNll)}: ${figure(Math.min(...nll))}.`, at,
      [[nll, now.nll], [brier, now.brier]], { domain: [0, limits.score], ticks: draw.ticks(limits.score, 4) });
  }

  function curve(holder, label, { temperatures, here }, pairs, y) {
    const isSeen = here >= T.domain[0] && here <= T.domain[1];
    const looks = ["focal", "cross-entropy"];
    // What is drawn last lies on top.
    const lines = pairs.map(([values], i) => (
      { points: values.map((value, j) => [temperatures[j], value]), look: looks[i] })).reverse();
    const dots = pairs.map(([, value], i) => ({ at: [here, value], look: looks[i] })).reverse();
    draw.show(holder, (width) => draw.curves(width, {
      height: 230, label, x: T, y, lines,
      verticals: isSeen ? [{ at: here, look: "here" }] : [], dots: isSeen ? dots : [],
    }));
  }

  return { best, bins, curves, figures, limitsOf, rows };
})();
