"use strict";
/* The second tab: files of predictions. Each slot has a file, its T and gamma; the bins are common. */
(() => {
  const { figure, html, percent } = page;
  const MOST_BINS = 100;
  const ROWS_AT_ONCE = 10;
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
      const { message, field } = problem;
      const isMarked = this.complain(field, `${message.charAt(0).toUpperCase()}${message.slice(1)}`);
      this.$(".problem").textContent = isMarked ? `${this.file.name} is not read yet: see the marked field.`
        : problem instanceof ReadError ? `${this.file.name}: ${message}`
          : `${this.file.name} cannot be read: ${message}.`;
    }

    /** Mark the field of "How the file is read" that an error names, and tell whether there is one. */
    complain(name, message) {
      let isMarked = false;
      for (const error of this.root.querySelectorAll(".reading .error")) {
        const isIt = error.dataset.field === name;
        page.mark(error.parentElement.querySelector("input, select"), error, isIt ? message : null);
        isMarked ||= isIt;
      }
      if (isMarked) this.$(".reading").open = true;
      return isMarked;
    }

    take(table, name) {
      this.data = entries.dataSet(table, this.file ? this.ask() : { kind: "logits", skipInvalid: false });
      this.complain(null);
      this.$(".problem").textContent = "";
      this.chosen = this.now = this.curves = null;
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
      const { map, now, before } = this;
      const title = `T = ${figure(map.temperature)}${map.gamma ? `, γ = ${figure(map.gamma)}` : ""}`;
      const isChanged = map.temperature !== 1 || map.gamma !== 0;
      const shown = isChanged ? [["as given", before], [title, now]] : [["as given", now]];
      this.$(".figures").replaceChildren(...report.figures(shown));
      this.$(".status").textContent = `ECE ${percent(now.ece)}, NLL ${now.nll.toFixed(4)}.`;
      this.showRows();
      drawAll();
    }

    /** Show the rows of the chosen bin. */
    showRows() {
      const more = html("button", { type: "button" }, `Show ${ROWS_AT_ONCE} more`);
      more.addEventListener("click", () => {
        this.numShown += ROWS_AT_ONCE;
        this.showRows();
      });
      this.$(".rows").replaceChildren(...(this.chosen === null ? [] : report.rows(this, more)));
    }

    choose(index) {
      this.chosen = this.chosen === index ? null : index;
      this.numShown = ROWS_AT_ONCE;
      this.showRows();
      drawAll();
    }

    /** Measure at every T of the grid, and find the best; until then the curves are those of before. */
    async updateCurves() {
      if (!this.isFull) return;
      const job = (this.curveJob = {});
      const isWanted = () => this.curveJob === job && this.isFull;
      const holders = [this.$(".errors-curve"), this.$(".scores-curve")];
      for (const holder of holders) holder.classList.add("old");
      this.curves = null;
      const progress = (done, all) => {
        this.$(".best").textContent = `Measuring at T = 0.1 to 10: ${done} of ${all}.`;
      };
      const curves = await measure.curves(this.data, this.map.gamma, common.numBins, isWanted, progress);
      if (!curves) return;
      this.curves = curves;
      for (const holder of holders) holder.classList.remove("old");
      this.$(".best").replaceChildren(...report.best(curves, (temperature) => {
        this.setTemperature(temperature);
        this.change({ temperature });
      }));
      drawAll();
    }

    draw(limits) {
      report.bins(this.$(".reliability"), this.$(".histogram"), this, limits, (index) => this.choose(index));
      if (this.curves) report.curves(this.$(".errors-curve"), this.$(".scores-curve"), this, limits);
    }
  }

  // All of them ----------------------------------------------------------------------------------

  const holder = document.getElementById("slots");

  /** Show the second slot once the first is full, and both side by side when both are. */
  function arrange() {
    const [first, second] = common.slots;
    second.root.hidden = !first.isFull && !second.isFull;
    holder.classList.toggle("two", first.isFull && second.isFull);
    holder.classList.toggle("empty", !first.isFull && !second.isFull);
    document.getElementById("bins-field").hidden = !first.isFull && !second.isFull;
  }

  /** Draw all pictures, those side by side on the same axes. */
  function drawAll() {
    const full = common.slots.filter((slot) => slot.isFull && slot.now);
    const limits = report.limitsOf(full);
    for (const slot of full) slot.draw(limits);
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
