"use strict";
/* Archives of NumPy arrays, .npz: a zip archive of .npy files. Nothing is ever unpickled. */
const npz = (() => {
  const MOST_NUMBERS = 2 ** 26;
  const CLASS_NAMES = ["classes", "class_names", "label_names"];

  /**
   * Return the table that an archive holds, as `entries.dataSet` takes it.
   *
   * @param {Uint8Array} bytes The file.
   * @param {{predictions: string, labels: string}} ask Names of the arrays; "" to find them.
   */
  async function read(bytes, ask) {
    const members = directory(bytes).filter((each) => each.path.endsWith(".npy"));
    const arrays = new Map();
    for (const member of members) {
      const content = await inflated(bytes, member);
      arrays.set(member.path.slice(0, -4), header(member.path, content));
    }
    return tableOf(arrays, ask);
  }

  function tableOf(arrays, ask) {
    const names = [...arrays.keys()];
    const labelsName = columns.named("labels", ask.labels, names, columns.LABELS);
    refuseConfidences(arrays, ask);
    const name = columns.named("predictions", ask.predictions, names, columns.PREDICTIONS);
    const x = arrays.get(name);
    const y = arrays.get(labelsName);
    checkPredictions(name, x);
    checkLabels(labelsName, y, name, x);
    const classes = classesOf(arrays, x.shape.at(-1));
    const read = [name, labelsName, ...(classes.names ? CLASS_NAMES : [])];
    return {
      values: numbersOf(x),
      bits: x.kind === "f" ? 8 * x.itemSize : x.itemSize <= 4 ? 32 : 64,
      isFloat: x.kind === "f",
      shape: x.shape,
      labels: valuesOf(y),
      labelsShape: y.shape,
      classes,
      columns: [name],
      labelsName,
      ignored: names.filter((each) => !read.includes(each)),
      place: (row) => `row ${row}`,
      names,
    };
  }

  function refuseConfidences(arrays, ask) {
    const flat = [...arrays].filter(([, each]) => each.shape.length === 1).map(([name]) => name);
    const has = (words) => flat.some((name) => words.includes(name.toLowerCase()));
    const isFull = [...arrays.keys()].some(
      (name) => columns.PREDICTIONS.includes(name.toLowerCase()) && !flat.includes(name));
    if (!ask.predictions && !isFull && has(columns.CONFIDENCE) && has(columns.PREDICTED)) {
      throw new ReadError(columns.CONFIDENCES_ALONE, "predictions");
    }
  }

  function checkPredictions(name, { shape, kind, dtype }) {
    checkNumbers(name, kind, dtype, "predictions");
    if (shape.length < 2) {
      throw new ReadError(
        `${name} must have shape (rows, classes). Received: ${shown(shape)}. Of two classes the ` +
          "probability of the second makes one column, shape (rows, 1).", "predictions");
    }
    const count = shape.reduce((a, b) => a * b, 1);
    if (count > MOST_NUMBERS) {
      throw new ReadError(
        `${name} holds ${count.toLocaleString("en")} numbers, and this page reads up to ` +
          `${MOST_NUMBERS.toLocaleString("en")}. The command keras-focal report reads files of any size.`);
    }
    if (count === 0) throw new ReadError("there are no rows. Write predictions and labels.");
  }

  function checkLabels(name, { shape, kind, dtype }, of, predictions) {
    if (kind !== "U" && kind !== "S") checkNumbers(name, kind, dtype, "labels");
    if (shape[0] !== predictions.shape[0]) {
      throw new ReadError(
        `${name} must have a label for each row of ${of}. Received: shape ${shown(shape)} for ` +
          `predictions of shape ${shown(predictions.shape)}.`, "labels");
    }
    const rows = predictions.shape.slice(0, -1);
    const fits = [rows, [...rows, 1], predictions.shape].some((each) => shown(each) === shown(shape));
    if (!fits) {
      throw new ReadError(
        `labels must have shape ${shown(rows)}, one class id for each prediction, or ` +
          `${shown(predictions.shape)}, one-hot rows. Received: ${name} of shape ${shown(shape)}.`,
        "labels");
    }
  }

  function checkNumbers(name, kind, dtype, field) {
    if ("fiub".includes(kind) && dtype !== "f16") return;
    throw new ReadError(
      `${name} must hold numbers. Received: dtype ${dtype}. Write a float or integer array; ` +
        "objects are never unpickled.", field);
  }

  function classesOf(arrays, numClasses) {
    for (const name of CLASS_NAMES) {
      const each = arrays.get(name);
      if (each && "US".includes(each.kind) && shown(each.shape) === shown([numClasses])) {
        return { names: valuesOf(each), isOrdered: true };
      }
    }
    return { names: null, isOrdered: true };
  }

  /** Return a shape as Python writes it. */
  const shown = (shape) => `(${shape.join(", ")}${shape.length === 1 ? "," : ""})`;

  // Zip ----------------------------------------------------------------------------------------

  const damaged = (what) => new ReadError(`${what} is truncated or damaged. Write it again.`);

  /** Return the members that the directory at the end of an archive lists. */
  function directory(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let end = bytes.length - 22;
    while (end >= 0 && end > bytes.length - 66000 && view.getUint32(end, true) !== 0x06054b50) end--;
    if (end < 0 || view.getUint32(end, true) !== 0x06054b50) {
      throw new ReadError("the file is truncated or no .npz file. Write it again.");
    }
    const count = view.getUint16(end + 10, true);
    let at = view.getUint32(end + 16, true);
    const members = [];
    try {
      for (let i = 0; i < count; i++) {
        if (view.getUint32(at, true) !== 0x02014b50) throw damaged("the file");
        const [name, extra, comment] = [28, 30, 32].map((offset) => view.getUint16(at + offset, true));
        members.push({
          method: view.getUint16(at + 10, true),
          crc: view.getUint32(at + 16, true),
          ...sizes(view, at, name, extra),
          path: new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + name)),
        });
        at += 46 + name + extra + comment;
      }
    } catch (error) {
      throw error instanceof RangeError ? damaged("the file") : error;
    }
    return members;
  }

  /** Return size, packed size and offset of a member: from the 64-bit field where they need it. */
  function sizes(view, at, name, extra) {
    const found = {
      size: view.getUint32(at + 24, true),
      packed: view.getUint32(at + 20, true),
      offset: view.getUint32(at + 42, true),
    };
    let field = at + 46 + name;
    const stop = field + extra;
    while (field + 4 <= stop) {
      const length = view.getUint16(field + 2, true);
      if (view.getUint16(field, true) === 1) {
        let value = field + 4;
        for (const key of ["size", "packed", "offset"]) {
          if (found[key] !== 0xffffffff) continue;
          found[key] = Number(view.getBigUint64(value, true));
          value += 8;
        }
      }
      field += 4 + length;
    }
    return found;
  }

  /** Return the content of a member, checked against its size and checksum. */
  async function inflated(bytes, { path, method, crc, size, packed, offset }) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (offset + 30 > bytes.length || view.getUint32(offset, true) !== 0x04034b50) throw damaged(path);
    const start = offset + 30 + view.getUint16(offset + 26, true) + view.getUint16(offset + 28, true);
    let content = bytes.subarray(start, start + packed);
    if (method === 8) {
      content = await unpacked(content, "deflate-raw", path);
    } else if (method !== 0) {
      throw new ReadError(`${path} is compressed in a way that NumPy does not use. Write it with numpy.savez.`);
    }
    if (content.length !== size || checksum(content) !== crc) throw damaged(path);
    return content;
  }

  /** Return bytes unpacked: of format "deflate-raw" or "gzip". */
  async function unpacked(bytes, format, name) {
    try {
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream(format));
      return new Uint8Array(await new Response(stream).arrayBuffer());
    } catch {
      throw damaged(name);
    }
  }

  const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
    let c = n;
    for (let i = 0; i < 8; i++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
    return c;
  });

  function checksum(bytes) {
    let crc = 0xffffffff;
    for (let i = 0; i < bytes.length; i++) crc = CRC[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
    return (crc ^ 0xffffffff) >>> 0;
  }

  // Arrays -------------------------------------------------------------------------------------

  /** Return what the header of a .npy file says, and its data: {shape, kind, itemSize, ...}. */
  function header(path, bytes) {
    const isNpy = bytes.length > 10 && String.fromCharCode(...bytes.subarray(1, 6)) === "NUMPY";
    const wide = bytes[6] > 1;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const length = isNpy ? (wide ? view.getUint32(8, true) : view.getUint16(8, true)) : 0;
    const start = (wide ? 12 : 10) + length;
    const text = new TextDecoder("latin1").decode(bytes.subarray(start - length, start));
    const descr = /'descr':\s*'([<>|=]?)([a-zA-Z])(\d*)'/.exec(text);
    const shape = /'shape':\s*\(([\d,\sL]*)\)/.exec(text);
    const order = /'fortran_order':\s*(True|False)/.exec(text);
    if (!isNpy || !shape || !order) throw new ReadError(`${path} is not an array. Write it with numpy.savez.`);
    const array = {
      shape: (shape[1].match(/\d+/g) ?? []).map(Number),
      isFortran: order[1] === "True",
      isBig: descr?.[1] === ">",
      kind: descr?.[2] ?? "V",
      dtype: descr ? `${descr[2]}${descr[3]}` : "structured",
      itemSize: Number(descr?.[3] || 1) * (descr?.[2] === "U" ? 4 : 1),
      data: new DataView(bytes.buffer, bytes.byteOffset + start, bytes.byteLength - start),
    };
    const size = array.shape.reduce((a, b) => a * b, array.itemSize);
    if (array.kind !== "O" && array.data.byteLength < size) throw damaged(path);
    return array;
  }

  const isLittle = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

  /** Return the numbers of an array, rows first; float32 and less stay float32. */
  function numbersOf(array) {
    const { shape, kind, itemSize, isBig, isFortran, data } = array;
    const count = shape.reduce((a, b) => a * b, 1);
    const isPlain = kind === "f" && itemSize >= 4 && !isBig && isLittle;
    if (isPlain && (!isFortran || shape.length === 1)) {
      const bytes = data.buffer.slice(data.byteOffset, data.byteOffset + count * itemSize);
      return itemSize === 4 ? new Float32Array(bytes) : new Float64Array(bytes);
    }
    const read = reader(kind, itemSize, data, !isBig);
    const isNarrow = kind === "f" ? itemSize <= 4 : itemSize < 4;
    const values = isNarrow ? new Float32Array(count) : new Float64Array(count);
    for (let i = 0; i < count; i++) values[i] = read(i * itemSize);
    return isFortran && shape.length > 1 ? transposed(values, shape) : values;
  }

  function reader(kind, itemSize, data, little) {
    const readers = {
      f2: (at) => half(data.getUint16(at, little)),
      f4: (at) => data.getFloat32(at, little),
      f8: (at) => data.getFloat64(at, little),
      i1: (at) => data.getInt8(at),
      i2: (at) => data.getInt16(at, little),
      i4: (at) => data.getInt32(at, little),
      i8: (at) => Number(data.getBigInt64(at, little)),
      u1: (at) => data.getUint8(at),
      u2: (at) => data.getUint16(at, little),
      u4: (at) => data.getUint32(at, little),
      u8: (at) => Number(data.getBigUint64(at, little)),
      b1: (at) => data.getUint8(at),
    };
    return readers[`${kind}${itemSize}`];
  }

  /** Return the number that 16 bits stand for. */
  function half(bits) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
  }

  /** Return values that were written columns first, rows first. */
  function transposed(values, shape) {
    const found = new values.constructor(values.length);
    const strides = shape.map((_, axis) => shape.slice(0, axis).reduce((a, b) => a * b, 1));
    const index = shape.map(() => 0);
    for (let i = 0; i < values.length; i++) {
      found[i] = values[index.reduce((at, n, axis) => at + n * strides[axis], 0)];
      for (let axis = shape.length - 1; axis >= 0 && ++index[axis] === shape[axis]; axis--) {
        index[axis] = 0;
      }
    }
    return found;
  }

  /** Return numbers, or the words of an array of text. */
  function valuesOf(array) {
    const { kind, shape, itemSize, isBig, data } = array;
    if (kind !== "U" && kind !== "S") return numbersOf(array);
    const count = shape.reduce((a, b) => a * b, 1);
    const decoder = new TextDecoder();
    return Array.from({ length: count }, (_, i) => {
      const at = data.byteOffset + i * itemSize;
      if (kind === "S") {
        return decoder.decode(new Uint8Array(data.buffer, at, itemSize)).replace(/\0+$/, "");
      }
      const codes = Array.from({ length: itemSize / 4 }, (_, j) =>
        data.getUint32(i * itemSize + 4 * j, !isBig));
      return String.fromCodePoint(...codes.filter((code) => code > 0));
    });
  }

  return { read, unpacked };
})();
