"use strict";
/* The second tab: files of predictions. Each slot has a file, its T and gamma; the bins are common. */
(() => {
  const { figure, html, percent } = page;
  const MOST_BINS = 100;
  const ROWS_AT_ONCE = 10;
  /** Classes up to which a row has a link to the first tab. */
  const MOST_LINKED = 20;
  const common = { numBins: 15, slots: [] };

  // One file -------------------------------------------------------------------------------------

  class Slot {
    constructor(number) {
      this.root = document.getElementById("slot").content.firstElementChild.cloneNode(true);
      this.number = number;
      this.map = { temperature: 1, gamma: 0 };
      this.turn = 0;
      this.root.setAttribute("aria-label", number ? "Second file" : "First file");
      if (number) this.$(".button").textContent = "Choose a second file";
      this.listen();
    }

    $(selector) {
      return this.root.querySelector(selector);
    }

    get isFull() {
      return Boolean(this.data);
    }

    listen() {
      this.$(".file").addEventListener("change", ({ target }) => {
        if (target.files.length) this.open(target.files[0]);
        target.value = "";
      });
      this.$(".example").addEventListener("click", () => this.example());
      for (const field of this.root.querySelectorAll(".reading input, .reading select")) {
        field.addEventListener("change", () => this.file && this.read());
      }
      const field = (name, how) => page.join({
        slider: this.$(`.${name}-slider`), field: this.$(`.${name}`), error: this.$(`[data-field=${name}]`),
        onChange: (value) => this.change({ [name]: value }), ...how,
      });
      this.setTemperature = field("temperature", {
        toSlider: Math.log10, fromSlider: (x) => Number((10 ** x).toPrecision(3)),
        check: (text) => page.numberIn(text, ...calibration.BOUNDS, "T"),
      });
      this.setGamma = field("gamma", { check: (text) => page.numberIn(text, 0, 100, "Gamma") });
    }

    open(file) {
      this.file = file;
      this.$(".reading").hidden = false;
      for (const name of ["predictions", "labels"]) this.$(`.ask-${name}`).value = "";
      this.$(".ask-kind").value = "";
      this.$(".ask-skip").checked = false;
      return this.read();
    }

    example() {
      this.turn++;
      this.$(".reading-now").textContent = "";
      this.file = null;
      this.$(".reading").hidden = true;
      const factor = this.number ? 0.6 : 2.5;
      const what = this.number ? "an under-confident model" : "an over-confident model";
      this.take(measure.exampleTable(factor), `Example: ${what}, simulated`);
    }

    ask() {
      return {
        predictions: this.$(".ask-predictions").value.trim(),
        labels: this.$(".ask-labels").value.trim(),
        kind: this.$(".ask-kind").value,
        skipInvalid: this.$(".ask-skip").checked,
      };
    }

    /** Read the file, or say beside which field it fails. */
    async read() {
      const turn = ++this.turn;
      this.complain(null);
      this.$(".problem").textContent = "";
      this.$(".reading-now").textContent = `Reading ${this.file.name} ...`;
      try {
        const table = await measure.tableOf(this.file, this.ask());
        if (turn === this.turn) this.take(table, this.file.name);
      } catch (problem) {
        if (turn === this.turn) this.fail(problem);
      } finally {
        if (turn === this.turn) this.$(".reading-now").textContent = "";
      }
    }

    fail(problem) {
      this.data = null;
      this.$(".report").hidden = true;
      arrange();
      const message = problem instanceof ReadError ? problem.message
        : `the file cannot be read: ${problem.message}.`;
      this.$(".problem").textContent = `${this.file.name}: ${message}`;
      this.complain(problem.field, message);
    }

    /** Mark the field of "How the file is read" that an error names. */
    complain(name, message) {
      for (const error of this.root.querySelectorAll(".reading .error")) {
        const isIt = error.dataset.field === name;
        page.mark(error.parentElement.querySelector("input, select"), error, isIt ? message : null);
        if (isIt) this.$(".reading").open = true;
      }
    }

    take(table, name) {
      this.data = entries.dataSet(table, this.file ? this.ask() : { kind: "logits", skipInvalid: false });
      this.complain(null);
      this.$(".problem").textContent = "";
      this.chosen = null;
      this.map = { temperature: 1, gamma: 0 };
      this.setTemperature(1);
      this.setGamma(0);
      this.describe(table, name);
      this.$(".report").hidden = false;
      arrange();
      this.update();
      this.updateCurves();
    }

    describe(table, name) {
      const { data } = this;
      const kind = data.isLogits ? "logits" : "probabilities";
      const others = table.ignored.length ? `; not read: ${columns.listed(table.ignored)}` : "";
      this.$(".name").textContent = name;
      this.$(".read-as").textContent =
        `${data.size.toLocaleString("en")} predictions, ${data.numClasses} classes. Read: ${kind} from ` +
        `${columns.listed(table.columns)}; labels from ${table.labelsName}${others}.`;
      this.$(".notes").replaceChildren(...data.notes.map((note) => html("p", {}, note)));
    }

    change(part) {
      this.map = { ...this.map, ...part };
      this.update();
      if ("gamma" in part) this.updateCurves();
    }

    /** Measure the predictions at this T and gamma, and show them. */
    async update() {
      if (!this.isFull) return;
      const job = (this.job = {});
      const isWanted = () => this.job === job && this.isFull;
      const { data, map } = this;
      const { numBins } = common;
      const found = await measure.predicted(data, map, isWanted);
      if (!this.given || this.given.data !== data) {
        const asGiven = await measure.predicted(data, { temperature: 1, gamma: 0 }, isWanted);
        if (asGiven) this.given = { data, found: asGiven };
      }
      if (!found || !isWanted()) return;
      this.found = found;
      this.now = calibration.figures(found, numBins, data.isNarrow);
      this.now.floor = calibration.noiseFloor(this.now.bins);
      this.before = calibration.figures(this.given.found, numBins, data.isNarrow);
      this.before.floor = calibration.noiseFloor(this.before.bins);
      if (this.chosen !== null && !this.now.bins[this.chosen]?.count) this.chosen = null;
      this.show();
    }

    show() {
      this.showFigures();
      this.showBins();
      this.showRows();
      this.showCurves();
    }

    get isChanged() {
      return this.map.temperature !== 1 || this.map.gamma !== 0;
    }

    showFigures() {
      const rows = [
        ["accuracy", (f) => percent(f.accuracy)],
        ["mean confidence", (f) => percent(f.confidence)],
        ["ECE", (f) => percent(f.ece)],
        ["by chance alone", (f) => percent(f.floor.expected)],
        ["in 95 % of cases below", (f) => percent(f.floor.upper)],
        ["AdaECE", (f) => percent(f.adaEce)],
        ["MCE", (f) => percent(f.mce)],
        ["NLL, nats", (f) => f.nll.toFixed(4)],
        ["Brier score", (f) => f.brier.toFixed(4)],
      ];
      const { temperature, gamma } = this.map;
      const now = `T = ${figure(temperature)}${gamma ? `, γ = ${figure(gamma)}` : ""}`;
      const shown = this.isChanged ? [["as given", this.before], [now, this.now]] : [["as given", this.now]];
      this.$(".figures").replaceChildren(
        html("thead", {}, html("tr", {}, html("td"), ...shown.map(([title]) => html("th", { scope: "col" }, title)))),
        html("tbody", {}, ...rows.map(([name, of]) => html("tr", /chance|cases/.test(name) ? { class: "sub" } : {},
          html("th", { scope: "row" }, name), ...shown.map(([, figures]) => html("td", {}, of(figures)))))));
      this.$(".status").textContent = `ECE ${percent(this.now.ece)}, NLL ${this.now.nll.toFixed(4)}.`;
    }

    showBins() {
      const { bins, floor, accuracy, confidence } = this.now;
      const describe = (bin) =>
        `Confidence ${percent(bin.low, 0)} to ${percent(bin.high, 0)}: ${bin.count} predictions, accuracy ` +
        `${percent(bin.accuracy, 1)}, confidence ${percent(bin.confidence, 1)}`;
      const onChoose = (index) => this.choose(index);
      draw.show(this.$(".reliability"), (width) => draw.reliability(width, {
        height: Math.min(380, Math.max(260, 0.8 * width)), bins, intervals: floor.intervals, chosen: this.chosen, onChoose, describe,
      }));
      draw.show(this.$(".histogram"), (width) => draw.histogram(width, {
        height: 190, bins, accuracy, confidence,
        label: `Histogram of confidence. Accuracy ${percent(accuracy, 1)}, mean confidence ${percent(confidence, 1)}.`,
      }));
    }

    choose(index) {
      this.chosen = this.chosen === index ? null : index;
      this.numShown = ROWS_AT_ONCE;
      this.showBins();
      this.showRows();
    }

    /** Show the rows of the chosen bin, the most confident mistakes first. */
    showRows() {
      const holder = this.$(".rows");
      if (this.chosen === null) {
        holder.replaceChildren();
        return;
      }
      const { found, data } = this;
      const { low, high } = this.now.bins[this.chosen];
      const binOf = calibration.binner(common.numBins, data.isNarrow);
      const inside = [];
      for (let i = 0; i < data.size; i++) if (binOf(found.confidence[i]) === this.chosen) inside.push(i);
      inside.sort((a, b) => found.wrong[b] - found.wrong[a] || found.confidence[b] - found.confidence[a]);
      const name = (k) => data.classNames?.[k] ?? String(k);
      const rows = inside.slice(0, this.numShown).map((i) => html("tr", found.wrong[i] ? { class: "wrong" } : {},
        html("th", { scope: "row" }, data.place(i)), html("td", {}, name(data.labels[i])),
        html("td", {}, name(found.top[i])), html("td", {}, percent(found.confidence[i])),
        html("td", {}, this.linkTo(i))));
      const head = ["", "label", "predicted", "confidence", ""].map((text) => html("th", { scope: "col" }, text));
      const wrong = inside.filter((i) => found.wrong[i]).length;
      const more = html("button", { type: "button", class: "plain" }, `Show ${ROWS_AT_ONCE} more`);
      more.addEventListener("click", () => {
        this.numShown += ROWS_AT_ONCE;
        this.showRows();
      });
      holder.replaceChildren(
        html("p", {}, html("b", {}, `Confidence ${percent(low, 1)} to ${percent(high, 1)}: `),
          `${inside.length} predictions, ${wrong} of them wrong, these first.`),
        html("div", { class: "scroll" }, html("table", {}, html("thead", {}, html("tr", {}, ...head)), html("tbody", {}, ...rows))),
        ...(inside.length > this.numShown ? [more] : []));
    }

    /** Return a link that opens a row in the first tab, if it has few classes. */
    linkTo(i) {
      const { data, map } = this;
      const k = data.numClasses;
      if (k > MOST_LINKED || map.gamma !== 0) return "";
      const row = Array.from(data.values.subarray(i * k, (i + 1) * k));
      const logits = data.isLogits ? row : row.map((p) => Math.log(Math.max(p, calibration.TINY)));
      const text = logits.map((z) => Number((z / map.temperature).toPrecision(9))).join();
      return html("a", { href: `#kind=softmax&logits=${text}&class=${data.labels[i]}&gamma=2` }, "explain");
    }

    /** Measure at every T of the grid, and find the best. */
    async updateCurves() {
      if (!this.isFull) return;
      const job = (this.curveJob = {});
      const isWanted = () => this.curveJob === job && this.isFull;
      const { data } = this;
      const { gamma } = this.map;
      const { numBins } = common;
      const progress = (done, all) => {
        this.$(".best").textContent = `Measuring at T = 0.1 to 10: ${done} of ${all}.`;
      };
      const curves = await measure.curves(data, gamma, numBins, isWanted, progress);
      if (!curves) return;
      this.curves = curves;
      this.showBest();
      this.showCurves();
    }

    showBest() {
      const { byNll, byEce } = this.curves;
      const button = (text, temperature) => {
        const made = html("button", { type: "button", class: "plain" }, text);
        made.addEventListener("click", () => {
          this.setTemperature(temperature);
          this.change({ temperature });
        });
        return made;
      };
      const isBound = calibration.BOUNDS.some((bound) => Math.abs(Math.log(byNll / bound)) < 1e-5);
      this.$(".best").replaceChildren(
        "Best: ", button(`T = ${figure(byNll)} by NLL`, byNll), " ", button(`T = ${figure(byEce)} by ECE`, byEce), " ",
        button("T = 1", 1), html("small", {}, isBound
          ? " NLL falls to the end of the range: the logits separate the labels, or are no logits."
          : " Fitted on the rows that it is measured on: take T of validation data."));
    }

    showCurves() {
      if (!this.curves || !this.now) return;
      const { ece, adaEce, nll, brier, byNll, byEce } = this.curves;
      const { GRID } = calibration;
      const x = { title: "temperature T", domain: [0.1, 10], ticks: [0.1, 0.2, 0.5, 1, 2, 5, 10], isLog: true };
      const points = (values) => values.map((value, i) => [GRID[i], value]);
      const T = this.map.temperature;
      const here = T >= 0.1 && T <= 10 ? [{ at: T, look: "here", text: "" }] : [];
      const curve = (holder, label, values, most, numbers, format) => draw.show(this.$(holder), (width) => draw.curves(width, {
        height: 230, label, x, y: { domain: [0, most], ticks: draw.ticks(most, 4), format },
        lines: [{ points: points(values[1]), look: "cross-entropy" }, { points: points(values[0]), look: "focal" }],
        verticals: here,
        dots: here.length ? numbers.map((value, i) => ({ at: [T, value], look: ["focal", "cross-entropy"][i] })).reverse() : [],
      }));
      const [before, now] = [this.before, this.now];
      const mostError = 1.15 * Math.max(...ece, ...adaEce);
      curve(".errors-curve", `ECE against T, least at T = ${figure(byEce)}: ${percent(Math.min(...ece))}.`,
        [ece, adaEce], mostError, [now.ece, now.adaEce], (value) => String(Number((100 * value).toPrecision(3))));
      const mostScore = 1.3 * Math.max(before.nll, now.nll, 2 * Math.min(...nll), Math.max(...brier));
      curve(".scores-curve", `NLL against T, least at T = ${figure(byNll)}: ${figure(Math.min(...nll))}.`,
        [nll, brier], mostScore, [now.nll, now.brier]);
    }
  }

  // All of them ----------------------------------------------------------------------------------

  const holder = document.getElementById("slots");

  /** Show the second slot once the first is full, and both side by side when both are. */
  function arrange() {
    const [first, second] = common.slots;
    second.root.hidden = !first.isFull && !second.isFull;
    holder.classList.toggle("two", first.isFull && second.isFull);
  }

  common.slots = [0, 1].map((number) => new Slot(number));
  holder.append(...common.slots.map((slot) => slot.root));
  arrange();

  let pending;
  const setBins = (numBins) => {
    common.numBins = numBins;
    for (const slot of common.slots) {
      slot.chosen = null;
      slot.update();
    }
    clearTimeout(pending);
    pending = setTimeout(() => common.slots.forEach((slot) => slot.updateCurves()), 150);
  };
  page.join({
    slider: document.getElementById("bins-slider"), field: document.getElementById("bins"),
    error: document.getElementById("bins-error"), onChange: setBins,
    check: (text) => page.numberIn(text, 1, MOST_BINS, "Bins", true),
  });

  // A file that misses a slot would replace the page.
  const panel = document.getElementById("files");
  for (const type of ["dragover", "drop"]) window.addEventListener(type, (event) => event.preventDefault());
  panel.addEventListener("dragover", ({ target }) => {
    for (const slot of common.slots) slot.root.classList.toggle("over", slot.root.contains(target));
  });
  for (const type of ["dragleave", "drop"]) {
    panel.addEventListener(type, () => common.slots.forEach((slot) => slot.root.classList.remove("over")));
  }
  panel.addEventListener("drop", ({ target, dataTransfer }) => {
    const over = common.slots.find((slot) => slot.root.contains(target));
    const slot = over ?? common.slots.find((each) => !each.isFull) ?? common.slots[0];
    const files = [...dataTransfer.files];
    if (files.length) slot.open(files[0]);
    if (files.length > 1) common.slots.find((each) => each !== slot).open(files[1]);
  });
})();
