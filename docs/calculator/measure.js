"use strict";
/* What takes time: files are read, and measured in parts between which the page answers its user. */
const measure = (() => {
  const NAMES = /\.(npz|csv|tsv|csv\.gz|tsv\.gz)$/i;

  /** Numbers that are measured at once. */
  const BATCH = 2 ** 17;

  let lastPause = performance.now();

  /** Let the page draw and answer, if it has not for a while. */
  async function breathe() {
    if (performance.now() - lastPause < 24) return;
    await new Promise((resolve) => setTimeout(resolve));
    lastPause = performance.now();
  }

  /** Return the table in a file, as `entries.dataSet` takes it. */
  async function tableOf(file, ask) {
    if (!NAMES.test(file.name)) {
      throw new ReadError(`expected a file ending in .npz, .csv, .tsv, .csv.gz or .tsv.gz. Received: ${file.name}.`);
    }
    let bytes = new Uint8Array(await file.arrayBuffer());
    if (!bytes.length) throw new ReadError("the file is empty. Write it again.");
    if (/\.npz$/i.test(file.name)) return npz.read(bytes, ask);
    if (/\.gz$/i.test(file.name)) bytes = await npz.unpacked(bytes, "gzip", "the file");
    return csv.read(bytes, ask);
  }

  /** Return a table of simulated logits: labels are drawn from softmax(z), the logits are z times a factor. */
  function exampleTable(factor) {
    const [size, k] = [2000, 5];
    const random = calibration.generator(factor * 100);
    const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    const values = new Float64Array(size * k);
    const labels = new Float64Array(size);
    for (let i = 0; i < size; i++) {
      const z = Array.from({ length: k }, () => 1.8 * normal());
      // The largest of logits with Gumbel noise is a draw from their softmax.
      const noisy = z.map((each) => each - Math.log(-Math.log(1 - random())));
      labels[i] = noisy.indexOf(Math.max(...noisy));
      z.forEach((each, j) => (values[i * k + j] = factor * each));
    }
    return {
      values, labels, bits: 64, isFloat: true, shape: [size, k], labelsShape: [size],
      classes: { names: null, isOrdered: true }, columns: ["logits"], labelsName: "labels", ignored: [],
      place: (row) => `row ${row}`,
    };
  }

  /** Return what `calibration.predict` finds; null as soon as it is not wanted any more. */
  async function predicted(data, map, isWanted) {
    const out = calibration.room(data.size);
    const step = Math.max(1, Math.floor(BATCH / data.numClasses));
    for (let start = 0; start < data.size; start += step) {
      calibration.predict(data, map, out, start, Math.min(data.size, start + step));
      await breathe();
      if (!isWanted()) return null;
    }
    return out;
  }

  /** Where the curves are drawn: the grid, and what makes them smooth on an axis of log T. */
  const TEMPERATURES = [...calibration.GRID, 0.12, 0.15, 0.17, 0.25, 0.35, 0.45].sort((a, b) => a - b);

  const least = (values) => values.indexOf(Math.min(...values));

  /**
   * Return temperatures, ece, adaEce, nll and brier at each, the T of least NLL, byNll, and that of the
   * grid with the least ECE, byEce; null as soon as they are not wanted any more.
   */
  async function curves(data, gamma, numBins, isWanted, progress) {
    const found = { ece: [], adaEce: [], nll: [], brier: [] };
    for (const [i, temperature] of TEMPERATURES.entries()) {
      const each = await predicted(data, { temperature, gamma }, isWanted);
      if (!each) return null;
      const all = calibration.figures(each, numBins, data.isNarrow);
      for (const [name, values] of Object.entries(found)) values.push(all[name]);
      progress(i + 1, TEMPERATURES.length);
    }
    const byNll = await leastNll(data, gamma, least(found.nll), isWanted);
    const { GRID } = calibration;
    const byEce = GRID[least(found.ece.filter((_, i) => GRID.includes(TEMPERATURES[i])))];
    return isWanted() ? { temperatures: TEMPERATURES, ...found, byNll, byEce } : null;
  }

  /** Return the T of least NLL around one of the temperatures, by golden section in log T. */
  async function leastNll(data, gamma, near, isWanted) {
    const { BOUNDS } = calibration;
    const ratio = (Math.sqrt(5) - 1) / 2;
    const nll = async (logT) => {
      const found = await predicted(data, { temperature: Math.exp(logT), gamma }, isWanted);
      return found ? found.nll.reduce((a, b) => a + b, 0) : 0;
    };
    let low = Math.log(TEMPERATURES[near - 1] ?? BOUNDS[0]);
    let high = Math.log(TEMPERATURES[near + 1] ?? BOUNDS[1]);
    let [a, b] = [high - ratio * (high - low), low + ratio * (high - low)];
    let [ofA, ofB] = [await nll(a), await nll(b)];
    while (high - low > 1e-7 && isWanted()) {
      if (ofA <= ofB) {
        [high, b, ofB] = [b, a, ofA];
        a = high - ratio * (high - low);
        ofA = await nll(a);
      } else {
        [low, a, ofA] = [a, b, ofB];
        b = low + ratio * (high - low);
        ofB = await nll(b);
      }
    }
    return Math.exp((low + high) / 2);
  }

  return { curves, exampleTable, predicted, tableOf };
})();
