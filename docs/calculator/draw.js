"use strict";
/* Pictures in SVG. Each is drawn at the width that its holder has, and again when that changes, so
   that text keeps its size on a phone. Colours are classes of style.css. */
const draw = (() => {
  const SVG = "http://www.w3.org/2000/svg";

  /** Return an SVG element. */
  function el(tag, attributes = {}, ...children) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  /** Patterns and clips need ids of their own in the page. */
  let numPictures = 0;

  const drawings = new WeakMap();
  const observer = new ResizeObserver((changes) => {
    for (const { target } of changes) {
      const drawing = drawings.get(target);
      if (drawing && target.clientWidth && target.clientWidth !== drawing.width) redraw(target);
    }
  });

  /** Show in `holder` what `render(width)` returns, now and at every width that the holder takes. */
  function show(holder, render) {
    drawings.set(holder, { render });
    observer.observe(holder);
    if (holder.clientWidth) redraw(holder);
  }

  function redraw(holder) {
    const drawing = drawings.get(holder);
    drawing.width = holder.clientWidth;
    const focused = holder.contains(document.activeElement) ? document.activeElement.dataset.bin : null;
    holder.replaceChildren(drawing.render(drawing.width));
    if (focused) holder.querySelector(`[data-bin="${focused}"]`)?.focus();
  }

  /** Return a function from numbers in a domain to positions in a range. */
  function scale([from, to], [start, stop], isLog = false) {
    const f = isLog ? Math.log : (x) => x;
    return (x) => start + ((f(x) - f(from)) / (f(to) - f(from))) * (stop - start);
  }

  /** Return about `count` round numbers from 0 to a largest one. */
  function ticks(largest, count) {
    const rough = largest / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].find((each) => each * power >= rough) * power;
    return Array.from({ length: Math.floor(largest / step + 1e-9) + 1 }, (_, i) => i * step);
  }

  const plain = (x) => String(Number(x.toPrecision(3)));

  /**
   * Return {svg, plot, x, y}: a frame with axes and lines at the ticks.
   *
   * @param {number} width
   * @param {Object} how height, label (for screen readers; with none the picture is a group of
   *     parts that have their own), x and y: {title, domain, ticks, isLog, format}.
   */
  function frame(width, { height, label, name, x, y }) {
    const margin = { left: 46, right: 12, top: 10, bottom: 42 };
    const ranges = { x: [margin.left, width - margin.right], y: [height - margin.bottom, margin.top] };
    const at = { x: scale(x.domain, ranges.x, x.isLog), y: scale(y.domain, ranges.y) };
    const role = label ? { role: "img", "aria-label": label } : { role: "group", "aria-label": name };
    const svg = el("svg", { width, height, viewBox: `0 0 ${width} ${height}`, ...role });
    const axes = el("g", { class: "axes", "aria-hidden": "true" });
    for (const tick of y.ticks) {
      const level = at.y(tick);
      axes.append(
        el("line", { x1: ranges.x[0], x2: ranges.x[1], y1: level, y2: level, class: tick ? "grid" : "base" }),
        el("text", { x: ranges.x[0] - 7, y: level + 4, "text-anchor": "end" }, (y.format ?? plain)(tick)),
      );
    }
    for (const tick of x.ticks) {
      const place = at.x(tick);
      axes.append(
        el("line", { x1: place, x2: place, y1: ranges.y[0], y2: ranges.y[0] + 4, class: "base" }),
        el("text", { x: place, y: ranges.y[0] + 18, "text-anchor": "middle" }, (x.format ?? plain)(tick)),
      );
    }
    axes.append(
      el("text", { x: (ranges.x[0] + ranges.x[1]) / 2, y: height - 5, "text-anchor": "middle", class: "title" }, x.title));
    const id = `clip-${++numPictures}`;
    svg.append(
      el("clipPath", { id }, el("rect", {
        x: ranges.x[0], y: margin.top - 4, width: ranges.x[1] - ranges.x[0], height: ranges.y[0] - margin.top + 8,
      })),
      axes,
    );
    const plot = el("g", { "clip-path": `url(#${id})` });
    svg.append(plot);
    return { svg, plot, x: at.x, y: at.y, ranges };
  }

  /** Return a path through points; null lifts the pen. */
  function path(points, x, y, look) {
    let d = "";
    let isDown = false;
    for (const point of points) {
      if (point === null) {
        isDown = false;
        continue;
      }
      d += `${isDown ? "L" : "M"}${x(point[0]).toFixed(2)},${y(point[1]).toFixed(2)}`;
      isDown = true;
    }
    return el("path", { d, class: `line ${look}` });
  }

  /**
   * Return curves.
   *
   * @param {number} width
   * @param {Object} how As `frame` takes it; lines: [{points, look}]; verticals: [{at, look, text}];
   *     dots: [{at: [x, y], look}].
   */
  function curves(width, how) {
    const { svg, plot, x, y, ranges } = frame(width, how);
    for (const { at, look, text } of how.verticals ?? []) {
      plot.append(el("line", { x1: x(at), x2: x(at), y1: ranges.y[0], y2: ranges.y[1], class: `vertical ${look}` }));
      const isRight = x(at) > (ranges.x[0] + 3 * ranges.x[1]) / 4;
      const place = { x: x(at) + (isRight ? -5 : 5), y: ranges.y[1] + 10, "text-anchor": isRight ? "end" : "start" };
      if (text) plot.append(el("text", { ...place, class: `note ${look}` }, text));
    }
    for (const { points, look } of how.lines) plot.append(path(points, x, y, look));
    for (const { at, look } of how.dots ?? []) {
      svg.append(el("circle", { cx: x(at[0]), cy: Math.max(y(at[1]), ranges.y[1] - 2), r: 5, class: `dot ${look}` }));
    }
    return svg;
  }

  /** Return a bar from 0 to a share in [0, 1] of the width. */
  function bar(share, look) {
    return el("svg", { class: "bar", "aria-hidden": "true" },
      el("rect", { width: `${100 * share}%`, height: "100%", rx: 2, class: look }));
  }

  /** Return two bars, one below the other, from the middle to shares in [-1, 1] of half the width. */
  function bars(shares, looks) {
    const svg = el("svg", { class: "bars", "aria-hidden": "true" });
    shares.forEach((share, i) => {
      const length = 50 * Math.abs(share);
      const y = i * (100 / shares.length);
      svg.append(el("rect", {
        x: `${share < 0 ? 50 - length : 50}%`, y: `${y}%`, width: `${length}%`, height: `${82 / shares.length}%`,
        rx: 1.5, class: looks[i],
      }));
    });
    svg.append(el("line", { x1: "50%", x2: "50%", y1: 0, y2: "100%", class: "middle" }));
    return svg;
  }

  const percent = (x) => `${Math.round(100 * x)}`;
  const tenths = [0, 0.2, 0.4, 0.6, 0.8, 1];

  /**
   * Return the reliability diagram: accuracy of each bin, the gap to its confidence, and between which
   * accuracies chance alone keeps it. Bins that hold something can be chosen.
   *
   * @param {number} width
   * @param {Object} how height, bins, intervals, chosen: index or null, onChoose(index), describe(bin).
   */
  function reliability(width, { height, bins, intervals, chosen, onChoose, describe }) {
    const { svg, plot, x, y, ranges } = frame(width, {
      height,
      name: "Reliability diagram: accuracy against confidence, a button for each bin",
      x: { title: "confidence, %", domain: [0, 1], ticks: tenths, format: percent },
      y: { domain: [0, 1], ticks: tenths, format: percent },
    });
    const hatch = `hatch-${++numPictures}`;
    const pattern = el("pattern", { id: hatch, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      el("rect", { width: 6, height: 6, class: "hatch-ground" }), el("rect", { width: 2, height: 6, class: "hatch-line" }));
    svg.append(el("defs", {}, pattern));
    const hits = el("g");
    bins.forEach((bin, i) => {
      if (!bin.count) return;
      const [left, right] = [x(bin.low), x(bin.high)];
      const box = { x: left, width: right - left };
      const middle = (left + right) / 2;
      plot.append(el("rect", { ...box, y: y(bin.accuracy), height: y(0) - y(bin.accuracy), class: "accuracy" }));
      const [low, high] = [bin.accuracy, bin.confidence].sort((a, b) => a - b);
      plot.append(el("rect", { ...box, y: y(high), height: y(low) - y(high), class: "gap", fill: `url(#${hatch})` }));
      const [from, to] = intervals[i];
      const cap = Math.min(4, box.width / 4);
      plot.append(el("path", {
        d: `M${middle - cap},${y(to)}h${2 * cap}M${middle},${y(to)}V${y(from)}M${middle - cap},${y(from)}h${2 * cap}`,
        class: "interval",
      }));
      const hit = el("rect", {
        ...box, y: ranges.y[1], height: ranges.y[0] - ranges.y[1], class: "hit", role: "button",
        "aria-label": describe(bin), "aria-pressed": String(i === chosen), "data-bin": i, tabindex: -1,
      });
      hit.append(el("title", {}, describe(bin)));
      hits.append(hit);
    });
    plot.append(el("line", { x1: x(0), y1: y(0), x2: x(1), y2: y(1), class: "diagonal" }));
    svg.append(hits);
    operate(hits, chosen, onChoose);
    return svg;
  }

  /** Let bins be chosen: by pointer, or by Tab, arrow keys, and Enter or the space bar. */
  function operate(hits, chosen, onChoose) {
    const all = [...hits.children];
    const first = all.find((hit) => Number(hit.dataset.bin) === chosen) ?? all.at(-1);
    first?.setAttribute("tabindex", 0);
    hits.addEventListener("click", ({ target }) => {
      const hit = target.closest(".hit");
      if (hit) onChoose(Number(hit.dataset.bin));
    });
    hits.addEventListener("keydown", (event) => {
      const at = all.indexOf(event.target);
      const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: all.length - 1 }[event.key];
      if (event.key === "Enter" || event.key === " ") onChoose(Number(event.target.dataset.bin));
      else if (to === undefined) return;
      else if (all[to]) {
        event.target.setAttribute("tabindex", -1);
        all[to].setAttribute("tabindex", 0);
        all[to].focus();
      }
      event.preventDefault();
    });
  }

  /** Return the histogram of confidence, up to a largest share, with the mean confidence and the accuracy. */
  function histogram(width, { height, bins, accuracy, confidence, largest, label }) {
    const total = bins.reduce((sum, bin) => sum + bin.count, 0);
    const { svg, plot, x, y, ranges } = frame(width, {
      height, label,
      x: { title: "confidence, %", domain: [0, 1], ticks: tenths, format: percent },
      y: { domain: [0, largest * 1.08], ticks: ticks(largest, 3), format: percent },
    });
    for (const bin of bins) {
      const top = y(bin.count / total);
      plot.append(el("rect", { x: x(bin.low), width: x(bin.high) - x(bin.low), y: top, height: y(0) - top, class: "share" }));
    }
    for (const [at, look] of [[accuracy, "mean-accuracy"], [confidence, "mean-confidence"]]) {
      plot.append(el("line", { x1: x(at), x2: x(at), y1: ranges.y[0], y2: ranges.y[1], class: look }));
    }
    return svg;
  }

  return { bar, bars, curves, histogram, reliability, scale, show, ticks };
})();
