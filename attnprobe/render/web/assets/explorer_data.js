// The weights of the explorer: unpacked a head at a time, read by word or by piece.
"use strict";

// Heads that are kept unpacked, in bytes; a page of a long text has many times more.
const MOST_BYTES = 3e8;
// As in the rules: a row with less than this on words, in thousandths, says nothing about words.
const LEAST_CONTENT = 50;

/** Fills in what follows from the data of an entry: names of its heads, and units with an index. */
function prepareEntry(entry) {
  entry.columns = entry.columns || entry.rows;
  entry.cross = entry.columns !== entry.rows;
  for (const side of new Set([entry.rows, entry.columns])) prepareSide(side);
  entry.layers = [...new Set(entry.heads.map(([layer]) => layer))];
  entry.names = entry.heads.map(([layer, head]) => `L${layer}H${head}`);
  entry.unpacked = new Map();
  return entry;
}

function prepareSide(side) {
  const sinks = new Set(side.sinks);
  for (const unit of ["words", "pieces"]) {
    side[unit] = side[unit].map(([label, at, selector], index) => ({
      label,
      at,
      selector,
      index,
      sink: at.some((token) => sinks.has(token)),
    }));
    const owner = [];
    side[unit].forEach(({ at, index }) => at.forEach((token) => (owner[token] = index)));
    side[`${unit}Of`] = owner;
  }
}

/** A head's weights as they were packed, `{numbers, factor, …}`; `weightAt` reads them. */
function readHead(entry, maps, head) {
  const { unpacked } = entry;
  const key = maps.blocks[head];
  const found = unpacked.get(key) ?? unpackHead(entry, maps, head);
  // A map keeps its keys in the order in which they were set: the oldest goes first.
  unpacked.delete(key);
  unpacked.set(key, found);
  while (unpacked.size > Math.max(2, MOST_BYTES / bytesOfHead(entry, maps))) {
    unpacked.delete(unpacked.keys().next().value);
  }
  return found;
}

/** The text of a packed element, which may stand behind the script and not be there yet. */
async function blockText(id) {
  if (document.readyState === "loading" && !document.getElementById(id)) {
    await new Promise((done) => document.addEventListener("DOMContentLoaded", done, { once: true }));
  }
  return document.getElementById(id).dataset.packed;
}

async function readBlock(id) {
  return inflate(await blockText(id));
}

function bytesOfHead(entry, maps) {
  return entry.rows.pieces.length * entry.columns.pieces.length * (maps.bits / 8);
}

/** Whether reading all heads takes seconds, since they cannot be kept. */
function isLarge(entry, maps) {
  return bytesOfHead(entry, maps) * entry.heads.length > MOST_BYTES;
}

async function unpackHead(entry, maps, head) {
  const bytes = await readBlock(maps.blocks[head]);
  const [rows, columns] = [entry.rows.pieces.length, entry.columns.pieces.length];
  return {
    numbers: maps.bits === 8 ? bytes : joinBytes(bytes),
    factor: maps.bits === 8 ? 1000 / 255 : 1,
    rows,
    columns,
    causal: entry.causal,
    layer: entry.heads[head][0],
  };
}

/** Numbers of 16 bits whose high bytes all come first. */
function joinBytes(bytes) {
  const count = bytes.length / 2;
  const numbers = new Uint16Array(count);
  for (let at = 0; at < count; at++) numbers[at] = (bytes[at] << 8) | bytes[count + at];
  return numbers;
}

/** A weight in thousandths. */
function weightAt(map, row, column) {
  if (!map.causal) return map.numbers[row * map.columns + column] * map.factor;
  if (column > row) return 0;
  return map.numbers[column * map.rows - (column * (column - 1)) / 2 + row - column] * map.factor;
}

/** What a row of a page with the strongest keys alone leaves out, in thousandths; it stands last. */
function droppedAt({ numbers, rows, factor }, row) {
  return numbers[numbers.length - rows + row] * factor;
}

/** The maps of some heads: what a reader reads. */
function sourcesOf(entry, maps, heads) {
  return Promise.all(heads.map((head) => readHead(entry, maps, head)));
}

/**
 * Reads the mean map of some heads by word or by piece, in thousandths.
 *
 * A word's row is the mean over its pieces, its column their sum. With `sinks` left out, each row
 * is scaled so that the other units sum to 1. Cells that the mask hides are NaN.
 */
function makeReader(entry, sources, { unit, sinks }) {
  const [rows, columns] = [entry.rows[unit], entry.columns[unit]];
  const known = new Map();
  const reader = {
    signed: false,
    plain(row, column) {
      if (!isVisible(entry, sources, rows[row], columns[column])) return NaN;
      let total = 0;
      for (const map of sources) {
        for (const target of rows[row].at) {
          for (const source of columns[column].at) total += weightAt(map, target, source);
        }
      }
      return total / (sources.length * rows[row].at.length);
    },
    /** The share of a row on keys that the page does not have, in thousandths. */
    dropped(row) {
      let total = 0;
      for (const map of sources) {
        for (const target of rows[row].at) total += droppedAt(map, target);
      }
      return total / (sources.length * rows[row].at.length);
    },
    row(row) {
      if (!known.has(row)) known.set(row, readRow(reader, rows[row], columns, sinks));
      return known.get(row);
    },
  };
  // Whole rows are read where a number depends on the others of its row.
  reader.cell = (row, column) => (sinks === "out" ? reader.row(row)[column] : reader.plain(row, column));
  reader.column = (column) => rows.map((_, row) => reader.cell(row, column));
  if (sinks === "out" && isSilent(reader, rows, columns)) reader.row = () => columns.map(() => NaN);
  return reader;
}

function readRow(reader, row, columns, sinks) {
  const numbers = Float64Array.from(columns, (_, column) => reader.plain(row.index, column));
  if (sinks !== "out") return numbers;
  const content = contentOf(numbers, columns);
  const telling = !row.sink && content >= LEAST_CONTENT;
  return numbers.map((number, column) =>
    telling && !columns[column].sink ? (number * 1000) / content : NaN,
  );
}

/** What a row puts on units that are no sinks. */
function contentOf(numbers, columns) {
  let content = 0;
  numbers.forEach((number, column) => {
    if (!columns[column].sink && !Number.isNaN(number)) content += number;
  });
  return content;
}

/** Whether most rows put too little on words for the map to say anything about words. */
function isSilent(reader, rows, columns) {
  const words = rows.filter((row) => !row.sink);
  const telling = words.filter((row) => {
    const numbers = columns.map((_, column) => reader.plain(row.index, column));
    return contentOf(numbers, columns) >= LEAST_CONTENT;
  });
  return telling.length < words.length / 2;
}

function isVisible(entry, sources, row, column) {
  const [first, last] = [column.at[0], row.at.at(-1)];
  if (entry.causal && first > last) return false;
  const gap = Math.max(first - last, row.at[0] - column.at.at(-1));
  return sources.some(({ layer }) => !(gap >= (entry.windows[layer] ?? Infinity)));
}

/** A reader of what one map has more than another. */
function differenceReader(now, before) {
  const reader = {
    signed: true,
    plain: (row, column) => now.plain(row, column) - before.plain(row, column),
    cell: (row, column) => now.cell(row, column) - before.cell(row, column),
    row: (row) => {
      const less = before.row(row);
      return now.row(row).map((number, column) => number - less[column]);
    },
    column: (column) => {
      const less = before.column(column);
      return now.column(column).map((number, row) => number - less[row]);
    },
  };
  return reader;
}

/** The reader of some heads for the model that is shown: one of two, or their difference. */
async function readerOf(entry, model, heads, settings) {
  if (model === "change") {
    const [before, now] = await Promise.all(
      entry.maps.map((maps) => sourcesOf(entry, maps, heads)),
    );
    return differenceReader(makeReader(entry, now, settings), makeReader(entry, before, settings));
  }
  return makeReader(entry, await sourcesOf(entry, entry.maps[model], heads), settings);
}

/** The weight of a pair in every head, in thousandths; a head at a time. */
async function pairWeights(entry, model, unit, row, column) {
  const settings = { unit, sinks: "kept" };
  const found = [];
  for (let head = 0; head < entry.heads.length; head++) {
    found.push((await readerOf(entry, model, [head], settings)).plain(row, column));
  }
  return found;
}
