"use strict";
/* Which columns of a table are predictions, and of which classes: said by the user, or plain. The
   rules are those of `keras-focal report`: only names that say so are read, the rest is refused. */
const columns = (() => {
  const PREDICTIONS = ["logits", "probabilities", "probs", "predictions", "y_pred", "scores", "outputs"];
  const LABELS = ["labels", "label", "y_true", "y", "targets", "target"];
  const PREDICTED = [
    "predicted", "prediction", "pred", "y_pred", "y_hat", "yhat", "predicted_class",
    "predicted_label", "pred_class", "pred_label", "top_label",
  ];
  const CONFIDENCE = [
    "confidence", "confidences", "conf", "max_prob", "max_probability", "top_prob", "top_probability",
  ];
  const WORDS = [
    "logit", "logits", "prob", "probs", "proba", "probability", "probabilities", "p", "pred", "preds",
    "prediction", "predictions", "score", "scores", "softmax", "sigmoid", "output", "outputs", "class",
    "cls", "yhat", "hat",
  ];
  const ONE_COLUMN = [
    "logit", "prob", "proba", "probability", "p", "score", "y_prob", "y_proba", "y_score",
  ];
  const BOOKKEEPING = [
    "id", "ids", "index", "idx", "row", "fold", "split", "weight", "weights", "sample_weight",
    "timestamp", "time", "date", "datetime", "file", "filename", "path", "name", "url", "uuid",
    "subject", "patient", "group", "loss", "correct", "entropy", ...PREDICTED, ...CONFIDENCE,
  ];
  const CONFIDENCES_ALONE =
    "the file holds predicted classes and their confidence alone, and this page needs a number for " +
    "each class. The command keras-focal report reads such files.";

  /** Return names for an error, a few of many. */
  function listed(names) {
    const all = names.map((name) => name || "(no name)");
    return (all.length <= 8 ? all : [...all.slice(0, 3), "...", all.at(-1)]).join(", ");
  }

  /** Return the one of the names that was given, or that is a usual one. */
  function named(field, given, names, usual) {
    const found = names.filter((name) => (given ? name === given : usual.includes(name.toLowerCase())));
    if (found.length === 1) return found[0];
    const known = names.slice(0, 20).join(", ") || "nothing";
    const fix = `Enter its name under ${field === "labels" ? "Labels" : "Predictions"}`;
    if (found.length) throw new ReadError(`the file has ${found.join(" and ")}. ${fix}.`, field);
    const what = given ? `no ${given}` : `none of ${usual.join(", ")}`;
    throw new ReadError(`the file has ${what}, but: ${known}. ${fix}.`, field);
  }

  /**
   * Return the columns of a table that are labels and predictions, or throw.
   *
   * @param {string[]} names All columns.
   * @param {{predictions: string, labels: string}} ask What the user said: names with commas between,
   *     or what they begin with and a star, p_*; "" to find them.
   * @param {function(string): Set<string>} wordsOf Gives the values of a column that are not numbers.
   */
  function choose(names, ask, wordsOf) {
    const label = named("labels", ask.labels, names, LABELS);
    const rest = names.filter((name) => name !== label);
    const asked = ask.predictions.trim();
    const family = asked.endsWith("*") ? begun(rest, asked.slice(0, -1))
      : asked ? chosen(rest, asked, wordsOf(label))
      : recognised(rest, wordsOf(label));
    for (const name of [...family.columns, label]) {
      if (names.filter((each) => each === name).length > 1) {
        throw new ReadError(`two columns have one name, ${name}. Give each its own name.`, "predictions");
      }
    }
    const read = new Set([...family.columns, label]);
    return { label, ...family, ignored: names.filter((name) => !read.has(name)) };
  }

  const numberedOnly = () => ({ names: null, isOrdered: true });
  const stripped = (name, [before, after]) => name.slice(before.length, name.length - after.length);

  /** Return the columns that were named, in that order. */
  function chosen(rest, given, words) {
    const found = given.split(",").map((name) => name.trim());
    const absent = found.find((name) => !rest.includes(name));
    if (absent !== undefined) {
      throw new ReadError(
        `predictions must be names of columns, separated by commas. Received: ${absent || given}; the ` +
          `file has: ${rest.slice(0, 20).join(", ")}.`, "predictions");
    }
    if (new Set(found).size < found.length) {
      throw new ReadError(`predictions must name each column once. Received: ${given}.`, "predictions");
    }
    if (found.length === 1) return { columns: found, classes: numberedOnly() };
    if (!words.size) {
      const numbers = numbersOf(found);
      return { columns: found, classes: { names: numbers ?? found, isOrdered: !numbers } };
    }
    const ends = around(found, words);
    return { columns: found, classes: { names: found.map((name) => stripped(name, ends)), isOrdered: true } };
  }

  /** Return the columns that begin with what was said. */
  function begun(rest, prefix) {
    const found = rest.filter((name) => name.startsWith(prefix));
    if (!found.length) {
      throw new ReadError(
        `no column begins with ${prefix}. The file has: ${rest.slice(0, 20).join(", ")}.`, "predictions");
    }
    if (found.length === 1) return { columns: found, classes: numberedOnly() };
    const ends = found.map((name) => name.slice(prefix.length));
    if (ends.every((end) => /^\d+$/.test(end))) {
      return inOrder(new Map(found.map((name, i) => [name, Number(ends[i])])));
    }
    return { columns: found, classes: { names: ends, isOrdered: false } };
  }

  /** Return the one family of columns that are predictions by their names. */
  function recognised(rest, words) {
    const ofWords = namedByWords(rest, words);
    const families = numbered(rest.filter((name) => !ofWords?.columns.includes(name)));
    if (ofWords) families.push(ofWords);
    const among = (known) => rest.filter((name) => known.includes(name.toLowerCase()));
    if (!families.length && among(PREDICTED).length === 1 && among(CONFIDENCE).length === 1) {
      throw new ReadError(CONFIDENCES_ALONE, "predictions");
    }
    if (!families.length && !among(PREDICTED).length) {
      families.push(...among(ONE_COLUMN).map((name) => ({ columns: [name], classes: numberedOnly() })));
    }
    if (families.length === 1) return families[0];
    if (families.length) {
      throw new ReadError(
        "several sets of columns may be predictions: " +
          `${families.map((family) => listed(family.columns)).join(" and ")}. Enter under Predictions ` +
          "their names, or their common prefix with a star.", "predictions");
    }
    throw new ReadError(
      `no column names look like predictions: ${listed(rest) || "there are none"}. Name them under ` +
        `Predictions in the order of the classes, such as ${example(rest)}. Names with numbers ` +
        "(prob_0, prob_1, ...) and the labels' own words are recognised.", "predictions");
  }

  /** Return the sets of columns that differ in a number alone and say that they are predictions. */
  function numbered(rest) {
    const groups = new Map();
    for (const name of rest) {
      const match = /^(.*?)(\d+)(\D*)$/s.exec(name);
      if (!match) continue;
      const key = `${match[1]}\0${match[3]}`;
      if (!groups.has(key)) groups.set(key, new Map());
      if (groups.get(key).has(name)) {
        throw new ReadError(`two columns have one name, ${name}. Give each its own name.`, "predictions");
      }
      groups.get(key).set(name, Number(match[2]));
    }
    const families = [];
    for (const [key, numbers] of groups) {
      const isSaid = key === "\0" ||
        (key.toLowerCase().match(/[a-z]+/g) ?? []).some((word) => WORDS.includes(word));
      const values = [...numbers.values()];
      if (isSaid && (values.length > 1 || values[0] === 1)) families.push(inOrder(numbers));
    }
    return families;
  }

  /** Return columns ordered by their numbers, which must begin at 0 or 1 and leave none out. */
  function inOrder(numbers) {
    const order = [...numbers.keys()].sort((a, b) => numbers.get(a) - numbers.get(b));
    const found = order.map((name) => numbers.get(name));
    for (let i = 1; i < order.length; i++) {
      if (found[i] === found[i - 1]) {
        throw new ReadError(
          `${order[i - 1]} and ${order[i]} have one number. Name the columns under Predictions.`, "predictions");
      }
    }
    if (found.length === 1 && found[0] === 1) return { columns: order, classes: numberedOnly() };
    const first = found[0];
    if (first > 1 || found.length === 1 || found.some((n, i) => n !== first + i)) {
      const absent = found.findIndex((n, i) => n !== first + i);
      const what = absent > 0 ? `${first + absent} is not there` : `they begin at ${first}`;
      throw new ReadError(
        `the columns ${listed(order)} must be numbered 0, 1, 2 ... or 1, 2, 3 ...: ${what}. Name those of ` +
          "all classes under Predictions.", "predictions");
    }
    return { columns: order, classes: first ? { names: found.map(String), isOrdered: false } : numberedOnly() };
  }

  /** Return the columns that are named by the labels, or null. */
  function namedByWords(rest, words) {
    const ends = words.size ? findAround(rest, words) : null;
    if (!ends) return null;
    const [before, after] = ends;
    const wanted = new Set([...words].map((word) => before + word + after));
    const found = rest.filter((name) => wanted.has(name));
    const others = rest.filter((name) =>
      !wanted.has(name) && name.startsWith(before) && name.endsWith(after) &&
      (before || after || !isBookkeeping(name)));
    if (others.length) {
      throw new ReadError(
        `the labels name the columns ${listed(found)}, and not ${listed(others)}. Name the columns of all ` +
          `classes under Predictions, such as ${example(found)}.`, "predictions");
    }
    return { columns: found, classes: { names: found.map((name) => stripped(name, ends)), isOrdered: false } };
  }

  /** Return what stands before and after the words in the names of columns, or null. */
  function findAround(names, words) {
    const present = new Set(names);
    const word = [...words].reduce((a, b) => (b.length > a.length ? b : a));
    for (const name of [...names].sort((a, b) => a.length - b.length)) {
      const at = name.indexOf(word);
      if (at < 0) continue;
      const [before, after] = [name.slice(0, at), name.slice(at + word.length)];
      if ([...words].every((each) => present.has(before + each + after))) return [before, after];
    }
    return null;
  }

  function around(names, words) {
    const ends = findAround(names, words);
    if (ends) return ends;
    const missing = [...words].sort().find((each) => !names.includes(each)) ?? [...words][0];
    throw new ReadError(
      `the label ${missing} has no column among ${listed(names)}. Name the columns by the labels, or ` +
        "write class ids as labels.", "predictions");
  }

  /** Return the numbers of names that differ in nothing else, or null. */
  function numbersOf(names) {
    const parts = names.map((name) => /^(.*?)(\d+)(\D*)$/s.exec(name));
    if (names.length === 1 || parts.includes(null)) return null;
    const ends = new Set(parts.map((part) => `${part[1]}\0${part[3]}`));
    return ends.size > 1 ? null : parts.map((part) => String(Number(part[2])));
  }

  const isBookkeeping = (name) =>
    !name || BOOKKEEPING.includes(name.toLowerCase()) || /^(unnamed: \d+|__index_level_\d+__)$/i.test(name);

  const example = (names) =>
    names.filter((name) => !isBookkeeping(name)).slice(0, 4).join(",") || "prob_0,prob_1";

  return { CONFIDENCE, CONFIDENCES_ALONE, LABELS, PREDICTED, PREDICTIONS, choose, listed, named };
})();
