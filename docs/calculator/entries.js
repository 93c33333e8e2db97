"use strict";
/* A table that was read becomes a data set: labels become class ids, logits and probabilities are told
   apart, and what cannot be right is refused by its row, as `keras-focal report` does. */
const entries = (() => {
  /** How far from 1 the probabilities of a row may sum, and how far if they are rounded. */
  const TOLERANCE = 0.01;
  const MOST_TOLERANCE = 0.05;
  /** How far above 1 a probability may be. */
  const ABOVE = 1e-3;
  const NONE = -1;

  /**
   * Return the data set of a table, for `calibration`, with what the page shows of it.
   *
   * @param {Object} table What a reader gives: values, bits, isFloat, shape, labels, labelsShape,
   *     classes, columns, labelsName, ignored, place.
   * @param {{kind: ""|"logits"|"probabilities", skipInvalid: boolean}} ask What the user said.
   * @returns {Object} size, numClasses, values, isLogits, isNarrow, labels; classNames; places: the row
   *     or line of each; numInvalid: rows left out; notes.
   */
  function dataSet(table, ask) {
    const k = table.shape.at(-1);
    const count = table.values.length / k;
    const perRow = count / table.shape[0];
    const place = (i) => table.place(Math.floor(i / perRow));
    const isLogits = areLogits(table, ask.kind, k, place);
    const zero = isLogits ? null : halfStep(table, k);
    const ids = classIds(table, Math.max(2, k), place);
    const kept = [];
    for (let i = 0; i < count; i++) {
      const why = ids[i] === NONE ? "has no label" : invalid(table.values, i * k, k, isLogits);
      if (why && !ask.skipInvalid) {
        throw new ReadError(`${place(i)} ${why}. Correct it, or leave such rows out.`, "skip");
      }
      if (!why) kept.push(i);
    }
    if (!kept.length) {
      throw new ReadError("no row is valid and has a label. Write predictions and labels again.");
    }
    const labels = Int32Array.from(kept, (i) => ids[i]);
    const numClasses = Math.max(2, k);
    const values = new (table.bits <= 32 ? Float32Array : Float64Array)(kept.length * numClasses);
    const data = {
      size: kept.length, numClasses, values, isLogits, isNarrow: table.bits <= 32, labels,
      classNames: table.classes.names, places: kept.map(place), numInvalid: count - kept.length,
      notes: [],
    };
    const fill = isLogits ? fillLogits : fillProbabilities;
    const numZero = fill(table.values, kept, k, data, zero, place);
    data.notes = notesOf(data, numZero, zero);
    return data;
  }

  function invalid(values, at, k, isLogits) {
    let isAllZero = isLogits;
    for (let j = 0; j < k; j++) {
      const x = values[at + j];
      if (Number.isNaN(x)) return "holds NaN or an empty cell among the predictions";
      if (!Number.isFinite(x) && !(isLogits && x === -Infinity)) {
        return "holds infinity among the predictions";
      }
      isAllZero &&= x === -Infinity;
    }
    return isAllZero ? "holds -infinity for every class" : null;
  }

  /** Write logits, of which -infinity is a probability of 0; return how many labels have that. */
  function fillLogits(values, kept, k, data) {
    let numZero = 0;
    kept.forEach((i, row) => {
      const own = Array.from({ length: k }, (_, j) => values[i * k + j]);
      const all = k === 1 ? [0, own[0]] : own;
      const isHuge = all.some((z) => !(Math.abs(z) < 1e30));
      const largest = Math.max(...all);
      if (isHuge && all[data.labels[row]] === -Infinity) numZero++;
      all.forEach((z, j) => {
        data.values[row * data.numClasses + j] =
          isHuge ? 2 * Math.max(z / 2 - largest / 2, -5e29) : z;
      });
    });
    return numZero;
  }

  /** Write probabilities, with what a zero counts as in place of zeros; return their number at labels. */
  function fillProbabilities(values, kept, k, data, zero, place) {
    let numZero = 0;
    const tolerance = Math.min(Math.max(TOLERANCE, k * (zero ?? 0) + 1e-6), MOST_TOLERANCE);
    kept.forEach((i, row) => {
      const at = row * data.numClasses;
      const own = Array.from({ length: k }, (_, j) => values[i * k + j]);
      const bad = own.find((p) => p < 0 || p > 1 + ABOVE);
      if (bad !== undefined) {
        throw new ReadError(
          `${place(i)} holds ${short(bad)}, which is no probability. Correct the row; if the file holds ` +
            "logits, say so.", "kind");
      }
      const total = own.reduce((a, b) => a + b, 0);
      if (k > 1 && Math.abs(total - 1) > tolerance) {
        throw new ReadError(
          `${place(i)} sums to ${short(total)}, and probabilities must sum to 1. Correct the row, or write ` +
            "more decimals; if the outputs are independent (sigmoids), look at each alone; if they are " +
            "logits, say so.", "kind");
      }
      const all = k === 1 ? [Math.max(0, 1 - own[0]), own[0]] : own;
      if (all[data.labels[row]] === 0) numZero++;
      const filled = all.map((p) => (p === 0 && zero !== null ? zero : p));
      const sum = filled.reduce((a, b) => a + b, 0);
      filled.forEach((p, j) => (data.values[at + j] = Math.abs(sum - 1) > TOLERANCE ? p / sum : p));
    });
    return numZero;
  }

  function notesOf(data, numZero, zero) {
    const notes = [];
    if (new Set(data.labels).size === 1) {
      notes.push("Every row has the same label: figures of one class say little. Check the labels.");
    }
    if (numZero) {
      const what = zero === null ? "the least that a float32 holds"
        : `${short(zero)}, half the step that the file is rounded to`;
      notes.push(
        `${numZero.toLocaleString("en")} labels had the probability 0, which counts as ${what}. NLL and the ` +
          "best T depend on that: write logits, or more decimals.");
    }
    if (data.numInvalid) {
      notes.push(`${data.numInvalid.toLocaleString("en")} predictions that are not finite or have no label are left out.`);
    }
    return notes;
  }

  const short = (x) => String(Number(x.toPrecision(4)));

  /** Tell whether predictions are logits, as was said or as they must be, by the first rows. */
  function areLogits(table, declared, k, place) {
    const { values } = table;
    const rows = [];
    const first = Math.max(1, Math.floor(2 ** 20 / Math.max(1, table.values.length / table.shape[0])));
    const stop = Math.min(values.length / k, (first * values.length) / k / table.shape[0]);
    let [low, high] = [Infinity, -Infinity];
    for (let i = 0; i < stop; i++) {
      let [sum, least, most] = [0, Infinity, -Infinity];
      for (let j = 0; j < k; j++) {
        const x = values[i * k + j];
        sum += x;
        least = Math.min(least, x);
        most = Math.max(most, x);
      }
      if (Number.isNaN(sum) || most === Infinity) continue;
      [low, high] = [Math.min(low, least), Math.max(high, most)];
      const isWithin = least >= 0 && most <= 1 + ABOVE;
      rows.push({ i, sum, isWithin, looks: isWithin && (k === 1 || Math.abs(sum - 1) < MOST_TOLERANCE) });
    }
    if (!rows.length) return declared === "logits";
    const within = rows.filter((row) => row.isWithin).length;
    const looking = rows.filter((row) => row.looks).length;
    const found = `from ${short(low)} to ${short(high)}`;
    if (k > 1 && low >= 0 && rows.every((row) => Math.abs(row.sum - 100) < 5)) {
      throw new ReadError("the predictions look like per cent. Divide them by 100.");
    }
    if (declared === "logits") {
      if (looking === rows.length && k > 1) {
        throw new ReadError(
          `every row, ${found}, looks like probabilities. Read the file as probabilities.`, "kind");
      }
      return true;
    }
    if (!declared && k > 1 && looking > rows.length / 2 && within < rows.length) {
      const bad = rows.find((row) => !row.isWithin).i;
      const outside = Array.from({ length: k }, (_, j) => values[bad * k + j])
        .find((x) => x < 0 || x > 1 + ABOVE);
      throw new ReadError(
        `${place(bad)} holds ${short(outside)}, and most rows look like probabilities. Correct the row, or ` +
          "say that the file holds logits.", "kind");
    }
    if (declared === "probabilities" && within < rows.length / 2) {
      throw new ReadError(`the values range ${found}, and are no probabilities. Read them as logits.`, "kind");
    }
    return !declared && within < rows.length;
  }

  /**
   * Return what a probability of 0 counts as: half the step that probabilities are rounded to, of
   * decimals or of float16; null if no rounding is to be seen.
   */
  function halfStep({ values, bits, isFloat, shape }, k) {
    if (isFloat && bits === 16) return 2 ** -25;
    const first = Math.max(1, Math.floor(2 ** 20 / (values.length / shape[0]))) * (values.length / shape[0]);
    const some = [];
    for (let i = 0; i < Math.min(first, values.length) && some.length < 2 ** 16; i++) {
      if (values[i] > 0 && values[i] < 1) some.push(values[i]);
    }
    const unique = [...new Set(some)];
    if (unique.length < 2) return null;
    const ulp = isFloat && bits === 32 ? 2 ** -24 : 2 ** -53;
    for (let digits = 1; digits < 10; digits++) {
      const scaled = unique.map((x) => x * 10 ** digits);
      const allowed = scaled.map((x) => Math.min(1.01 * ulp * x + 1e-9, 0.5));
      // Numbers that are not rounded fit by chance, with a probability of 2 * allowed each.
      const isEvident = allowed.reduce((sum, a) => sum + Math.log(2 * a), 0) < -30;
      const fits = scaled.every((x, i) => Math.abs(x - Math.round(x)) <= allowed[i]);
      if (isEvident && fits) return 0.5 * 10 ** -digits;
    }
    return null;
  }

  /** Return the class id of each prediction; NONE where it has none. */
  function classIds({ labels, labelsShape, shape, classes }, numClasses, place) {
    const k = shape.at(-1);
    if (k > 1 && labelsShape.join() === shape.join()) return ofOneHot(labels, k, place);
    const known = new Map();
    return Int32Array.from(labels, (value, i) => {
      if (known.has(value)) return known.get(value);
      const text = textOf(value);
      const id = csv.isMissing(text) ? NONE : idOf(text, classes, numClasses);
      if (id === undefined) throw new ReadError(`${place(i)}: ${whyNot(text, classes, numClasses)}`, "labels");
      known.set(value, id);
      return id;
    });
  }

  function ofOneHot(labels, k, place) {
    if (Array.isArray(labels)) throw new ReadError("labels must be class ids or one-hot rows of numbers.", "labels");
    return Int32Array.from({ length: labels.length / k }, (_, i) => {
      const row = labels.slice(i * k, (i + 1) * k);
      if (row.some(Number.isNaN)) return NONE;
      const isOneHot = row.every((x) => x === 0 || x === 1) && row.filter((x) => x === 1).length === 1;
      if (!isOneHot) {
        throw new ReadError(
          `${place(i)}: labels must be one-hot rows, one 1 and zeros. Several labels or soft labels in a row ` +
            "are not read: look at each output alone, as a file of two classes.", "labels");
      }
      return row.indexOf(1);
    });
  }

  /** Return a label as text: whole numbers without a point, truth as 1 or 0. */
  function textOf(value) {
    const text = String(value).trim();
    if (/^(true|false)$/i.test(text)) return /^true$/i.test(text) ? "1" : "0";
    const number = csv.numberOf(text);
    return Number.isInteger(number) ? String(number) : text;
  }

  function idOf(text, { names, isOrdered }, numClasses) {
    if (names?.includes(text)) return names.indexOf(text);
    if (names && !isOrdered) return undefined;
    return /^\d+$/.test(text) && Number(text) < numClasses ? Number(text) : undefined;
  }

  function whyNot(text, { names, isOrdered }, numClasses) {
    if (names && !isOrdered) {
      return `labels must name the classes of the columns: ${columns.listed(names)}. Received: ${text}. Give ` +
        "the columns in the order of the class ids under Predictions, or write the names as labels.";
    }
    const hint = csv.numberOf(text) !== undefined ? ""
      : ` Words are matched with the names of columns, such as prob_${text}; or write ids.`;
    return `labels must be class ids in [0, ${numClasses}). Received: ${text}.${hint}`;
  }

  return { dataSet };
})();
