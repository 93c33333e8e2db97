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

  const least = (values) => values.indexOf(Math.min(...values));

  /**
   * Return ece, adaEce, nll and brier at every T of the grid, and the T of least NLL, byNll, and of least
   * ECE, byEce; null as soon as they are not wanted any more.
   */
  async function curves(data, gamma, numBins, isWanted, progress) {
    const { GRID } = calibration;
    const found = { ece: [], adaEce: [], nll: [], brier: [] };
    for (const [i, temperature] of GRID.entries()) {
      const each = await predicted(data, { temperature, gamma }, isWanted);
      if (!each) return null;
      const all = calibration.figures(each, numBins, data.isNarrow);
      for (const [name, values] of Object.entries(found)) values.push(all[name]);
      progress(i + 1, GRID.length);
    }
    const byNll = await leastNll(data, gamma, least(found.nll), isWanted);
    return isWanted() ? { ...found, byNll, byEce: GRID[least(found.ece)] } : null;
  }

  /** Return the T of least NLL around a point of the grid, by golden section in log T. */
  async function leastNll(data, gamma, near, isWanted) {
    const { GRID, BOUNDS } = calibration;
    const ratio = (Math.sqrt(5) - 1) / 2;
    const nll = async (logT) => {
      const found = await predicted(data, { temperature: Math.exp(logT), gamma }, isWanted);
      return found ? found.nll.reduce((a, b) => a + b, 0) : 0;
    };
    let low = Math.log(GRID[near - 1] ?? BOUNDS[0]);
    let high = Math.log(GRID[near + 1] ?? BOUNDS[1]);
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
