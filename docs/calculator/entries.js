"use strict";
/* A table that was read becomes a data set: labels become class ids, logits and probabilities are told
   apart, and what cannot be right is refused by its row, as `keras-focal report` does. */
const entries = (() => {
  /** How far from 1 the probabilities of a row may sum, and how far if they are rounded. */
  const TOLERANCE = 0.01;
  const MOST_TOLERANCE = 0.05;
  /** How far above 1 a probability may be. */
  const ABOVE = 1e-3;
  /** Differences of logits beyond which a probability is 0 at every temperature. */
  const LARGEST = 1e30;
  const NONE = -1;

  /**
   * Return the data set of a table, for `calibration`, with what the page shows of it.
   *
   * @param {Object} table What a reader gives: values, bits, isFloat, shape, labels, labelsShape,
   *     classes, columns, labelsName, ignored, place.
   * @param {{kind: ""|"logits"|"probabilities", skipInvalid: boolean}} ask What the user said.
   * @returns {Object} size, numClasses, values, isLogits, isNarrow, labels; classNames; place(i): the row
   *     or line of a prediction; numInvalid: those left out; notes.
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
        throw new ReadError(`${place(i)} ${why}. Correct it, or skip such rows.`, "skip");
      }
      if (!why) kept.push(i);
    }
    if (!kept.length) {
      throw new ReadError("no row is valid and has a label. Write predictions and labels again.");
    }
    const numClasses = Math.max(2, k);
    const data = {
      size: kept.length, numClasses, isLogits, isNarrow: table.bits <= 32,
      values: new (table.bits <= 32 ? Float32Array : Float64Array)(kept.length * numClasses),
      labels: Int32Array.from(kept, (i) => ids[i]),
      classNames: table.classes.names, place: (row) => place(kept[row]), numInvalid: count - kept.length,
    };
    const numZero = fill(data, table.values, kept, k, isLogits ? finishLogits : probabilityFinisher(k, zero));
    data.notes = notesOf(data, numZero, zero);
    return data;
  }

  /**
   * Write the rows that are kept into a data set, each finished by `finish(row, label, place)`, which
   * tells whether its label has probability 0; return how many do.
   */
  function fill(data, values, kept, k, finish) {
    const row = new Float64Array(data.numClasses);
    let numZero = 0;
    for (let i = 0; i < data.size; i++) {
      const at = kept[i] * k;
      if (k === 1) {
        // One column is the second of two classes.
        row[0] = data.isLogits ? 0 : 1 - values[at];
        row[1] = values[at];
      } else {
        for (let j = 0; j < k; j++) row[j] = values[at + j];
      }
      if (finish(row, data.labels[i], () => data.place(i))) numZero++;
      data.values.set(row, i * data.numClasses);
    }
    return numZero;
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

  /** A logit of -infinity, a probability of 0, becomes one so low that no difference overflows. */
  function finishLogits(row, label) {
    const low = row.reduce((a, b) => Math.min(a, b));
    const high = row.reduce((a, b) => Math.max(a, b));
    if (low > -LARGEST && high < LARGEST) return false;
    const isZero = row[label] === -Infinity;
    row.forEach((z, j) => (row[j] = 2 * Math.max(z / 2 - high / 2, -LARGEST / 2)));
    return isZero;
  }

  /** Return what checks probabilities and puts what a zero counts as in place of zeros. */
  function probabilityFinisher(k, zero) {
    const tolerance = Math.min(Math.max(TOLERANCE, k * (zero ?? 0) + 1e-6), MOST_TOLERANCE);
    return (row, label, place) => {
      const bad = (k === 1 ? row.subarray(1) : row).find((p) => p < 0 || p > 1 + ABOVE);
      if (bad !== undefined) {
        throw new ReadError(
          `${place()} holds ${short(bad)}, which is not a probability. Correct the row; if the file holds ` +
            "logits, choose that kind.", "kind");
      }
      let total = row.reduce((a, b) => a + b, 0);
      if (k > 1 && Math.abs(total - 1) > tolerance) {
        throw new ReadError(
          `${place()} sums to ${short(total)}, and probabilities must sum to 1. Correct the row, or write ` +
            "more decimals; if the outputs are independent (sigmoids), look at each alone; if they are " +
            "logits, choose that kind.", "kind");
      }
      const isZero = row[label] <= 0;
      row.forEach((p, j) => (row[j] = p > 0 || zero === null ? Math.max(0, p) : zero));
      total = row.reduce((a, b) => a + b, 0);
      if (Math.abs(total - 1) > TOLERANCE) row.forEach((p, j) => (row[j] = p / total));
      return isZero;
    };
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
      notes.push(`${data.numInvalid.toLocaleString("en")} predictions with NaN, infinity or a missing label are skipped.`);
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
      throw new ReadError("the predictions look like percentages. Divide them by 100.");
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
          "choose logits as the kind.", "kind");
    }
    if (declared === "probabilities" && within < rows.length / 2) {
      throw new ReadError(`the values range ${found}, and are not probabilities. Read them as logits.`, "kind");
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
