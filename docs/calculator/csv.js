"use strict";
/* Text with a line of names, .csv and .tsv: read as `keras-focal report` reads it. */
const csv = (() => {
  const MARKS = ["\t", ";", "|", ","];
  const MISSING = ["", "na", "n/a", "nan", "null", "none", "<na>", "#n/a"];
  const BOOLS = ["True", "False", "true", "false", "TRUE", "FALSE"];
  const MOST_BYTES = 4e8;

  /** Return the number that a text is, NaN for "nan"; undefined if it is none. */
  function numberOf(text) {
    const cell = text.trim();
    if (/^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(cell)) return Number(cell);
    if (/^[-+]?inf(inity)?$/i.test(cell)) return cell.startsWith("-") ? -Infinity : Infinity;
    return /^[-+]?nan$/i.test(cell) ? NaN : undefined;
  }

  const isMissing = (text) => MISSING.includes(text.trim().toLowerCase());

  /**
   * Return the table that a text holds, as `entries.dataSet` takes it.
   *
   * @param {Uint8Array} bytes The file.
   * @param {{predictions: string, labels: string}} ask As `columns.choose` takes it.
   */
  function read(bytes, ask) {
    const text = decoded(bytes);
    const [, first, second] = /^([^\r\n]*)(?:\r\n|\n|\r)?([^\r\n]*)/.exec(text);
    const mark = markOf(first, second, ask);
    const rows = parsed(text, mark);
    const names = (rows.shift()?.cells ?? []).map((name) => name.trim());
    if (names.every((name) => numberOf(name) !== undefined)) {
      throw new ReadError(
        "the file must name its columns in the first line, such as prob_0,prob_1,label. Received: " +
          `${first.trim().slice(0, 40)}.`);
    }
    const kept = rows.filter(({ cells, line }) => isRow(cells, line, names.length));
    const wordsOf = (name) => wordsIn(kept, names.indexOf(name));
    const choice = columns.choose(names, ask, wordsOf);
    if (!kept.length) throw new ReadError("there are no rows. Write predictions and labels.");
    const at = choice.columns.map((name) => names.indexOf(name));
    const label = names.indexOf(choice.label);
    return {
      values: valuesOf(kept, at, choice.columns, mark),
      bits: 64,
      isFloat: true,
      shape: [kept.length, at.length],
      labels: kept.map(({ cells }) => cells[label].trim()),
      labelsShape: [kept.length],
      classes: choice.classes,
      columns: choice.columns,
      labelsName: choice.label,
      ignored: choice.ignored,
      place: (row) => `line ${kept[row].line}`,
      names,
    };
  }

  /**
   * Return what parts the cells of the first two lines: a mark in the name of a class parts the
   * second line into another number of cells, or leaves no name of labels.
   */
  function markOf(first, second, ask) {
    const cells = (line, mark) => (parsed(line, mark)[0]?.cells ?? []).map((cell) => cell.trim());
    const isLabels = (name) => name === ask.labels || columns.LABELS.includes(name.toLowerCase());
    const rank = (mark) => {
      const names = cells(first, mark);
      const isEven = names.length === cells(second, mark).length;
      return (2 * isEven + names.some(isLabels)) * MOST_BYTES + names.length;
    };
    const marks = MARKS.filter((mark) => first.includes(mark));
    return marks.reduce((best, mark) => (rank(mark) > rank(best) ? mark : best), marks[0] ?? ",");
  }

  function decoded(bytes) {
    if (bytes.length > MOST_BYTES) {
      throw new ReadError(
        "the text is larger than the 400 MB that this page reads. The command keras-focal report reads " +
          "files of any size.");
    }
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    } catch {
      throw new ReadError("the file is not text in UTF-8. Save it as CSV in UTF-8 (Excel: 'CSV UTF-8').");
    }
  }

  /** Return the rows of a text: {cells, line}, the number of its last line in the file. */
  function parsed(text, mark) {
    if (!text.includes('"')) {
      const lines = text.split(/\r\n|\n|\r/);
      if (lines.at(-1) === "") lines.pop();
      return lines.map((line, i) => ({ cells: line.split(mark), line: i + 1 }));
    }
    const rows = [];
    const separator = mark === "|" ? "\\|" : mark;
    const token = new RegExp(`(?:"((?:[^"]|"")*)"([^${separator}\r\n]*)|([^${separator}\r\n]*))(${separator}|\r\n|\n|\r|$)`, "y");
    let cells = [];
    let line = 1;
    while (token.lastIndex < text.length) {
      const [whole, quoted, tail, plain, end] = token.exec(text);
      cells.push(quoted === undefined ? plain : quoted.replaceAll('""', '"') + tail);
      line += (whole.match(/\r\n|\n|\r/g) ?? []).length;
      if (end === mark) continue;
      rows.push({ cells, line: end ? line - 1 : line });
      cells = [];
    }
    if (cells.length) rows.push({ cells: [...cells, ""], line });
    return rows;
  }

  /** Tell whether a row holds something; throw if it has too few or too many cells. */
  function isRow(cells, line, width) {
    if (cells.length === width && (width > 1 || cells[0].trim())) return true;
    if (!cells.some((cell) => cell.trim())) return false;
    throw new ReadError(
      `line ${line} has ${cells.length} cells, and the first line ${width} names. Write the line again, ` +
        "or quote text that holds the separator.");
  }

  function wordsIn(rows, at) {
    const found = new Set(rows.slice(0, 2 ** 14).map(({ cells }) => cells[at].trim()));
    for (const cell of [...found, ...BOOLS]) {
      if (numberOf(cell) !== undefined || isMissing(cell) || BOOLS.includes(cell)) found.delete(cell);
    }
    return found;
  }

  /** Return the numbers of the columns that are read, rows first; NaN where a cell is empty or NA. */
  function valuesOf(rows, at, names, mark) {
    const values = new Float64Array(rows.length * at.length);
    let i = 0;
    for (const { cells, line } of rows) {
      const hasCommas = mark !== "," && !at.some((column) => cells[column].includes("."));
      at.forEach((column, k) => {
        const cell = cells[column];
        const isDecimal = hasCommas && /^\s*[-+]?\d*,\d+(e[-+]?\d+)?\s*$/i.test(cell);
        const value = isMissing(cell) ? NaN : numberOf(isDecimal ? cell.replace(",", ".") : cell);
        if (value === undefined) {
          throw new ReadError(
            `line ${line} must hold numbers in the columns that are read. Received: ` +
              `${cell.trim().slice(0, 40)} in ${names[k]}. Name columns of numbers under Predictions.`,
            "predictions");
        }
        values[i++] = value;
      });
    }
    return values;
  }

  return { isMissing, numberOf, read };
})();
