// Attention maps and sentences, built from packed numbers. The same as `web/maps.py` writes.
"use strict";

const STEPS = 32;
const HIDDEN = 0xffff;
const ZERO = 0x4000;
const MOST_WITH_DIGITS = 14;

/** Inflates base64 text to bytes. */
async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Packed values as thousandths; NaN for cells that are hidden. */
async function unpack(text) {
  const bytes = await inflate(text);
  const count = bytes.length / 2;
  const numbers = new Float32Array(count);
  for (let at = 0; at < count; at++) {
    const word = (bytes[at] << 8) | bytes[count + at];
    numbers[at] = word === HIDDEN ? NaN : word - ZERO;
  }
  return numbers;
}

/** A value in thousandths as a cell shows it: 0, .5, .123, 1, −.04. */
function formatThousandths(number) {
  const text = (Math.abs(number) / 1000).toFixed(3).replace(/\.?0+$/, "");
  return (number < 0 ? "−" : "") + (text.replace(/^0(?=\.)/, "") || "0");
}

/** The class of the colour of a value in thousandths, for a scale up to `scale`. */
function stepOf(number, scale, signed) {
  const share = Math.min(Math.abs(number) / (1000 * scale), 1);
  if (!signed) return `m${Math.floor(share * (STEPS - 1) + 0.5)}`;
  const at = Math.floor(share * (STEPS / 2) + 0.5);
  return at ? `${number < 0 ? "n" : "p"}${at}` : "m0";
}

/** The largest magnitude outside the sinks, at least 0.001; in the unit of the weights. */
function scaleOf(map) {
  const sinks = new Set(map.withSinks ? [] : map.sinks);
  let top = 1;
  map.numbers.forEach((number, at) => {
    if (!sinks.has(at % map.columns.length)) top = Math.max(top, Math.abs(number) || 0);
  });
  return top / 1000;
}

/**
 * The table of a map: {rows, columns, numbers, sinks, expected, contrast, signed}.
 * `numbers` are thousandths in row order; `expected` and `contrast` are {rows, columns} or null.
 */
function mapTable(map, caption, scale = scaleOf(map)) {
  const table = document.createElement("table");
  const width = map.columns.length;
  const digits = Math.max(map.rows.length, width) <= MOST_WITH_DIGITS;
  table.className = digits ? "attn-map attn-digits" : "attn-map";
  const cells = [];
  map.rows.forEach((_, row) => {
    cells.push('<tr><th scope="row"></th>');
    const marks = marksOfRow(map, row);
    for (let column = 0; column < width; column++) {
      const number = map.numbers[row * width + column];
      cells.push(
        Number.isNaN(number)
          ? `<td class="h${marks[column]}"></td>`
          : `<td class="${stepOf(number, scale, map.signed)}${marks[column]}">` +
              `${formatThousandths(number)}</td>`,
      );
    }
    cells.push("</tr>");
  });
  // Numbers and class names alone are written as HTML; labels are set as text.
  table.innerHTML =
    "<caption></caption><thead><tr><td></td>" +
    '<th scope="col"><span></span></th>'.repeat(width) +
    `</tr></thead><tbody>${cells.join("")}</tbody>`;
  table.caption.textContent = caption;
  table.querySelectorAll("thead th").forEach((cell, column) => {
    setLabel(cell, cell.firstChild, map.columns[column], labelClass(map, column, "columns"));
  });
  table.querySelectorAll("tbody th").forEach((cell, row) => {
    setLabel(cell, cell, map.rows[row], labelClass(map, row, "rows"));
  });
  return table;
}

function setLabel(cell, holder, text, name) {
  holder.textContent = text;
  if (name) cell.className = name;
}

function labelClass(map, at, side) {
  for (const [cells, name] of [[map.expected, "attn-to"], [map.contrast, "attn-over"]]) {
    if (cells && cells[side].includes(at)) return side === "rows" ? "attn-from" : name;
  }
  return "";
}

/** The further classes of the cells of a row: e expected, c contrast, s sink. */
function marksOfRow(map, row) {
  const marks = new Array(map.columns.length).fill("");
  for (const column of map.sinks) marks[column] += " s";
  for (const [cells, mark] of [[map.expected, " e"], [map.contrast, " c"]]) {
    if (cells && cells.rows.includes(row)) cells.columns.forEach((at) => (marks[at] += mark));
  }
  return marks;
}

/**
 * A paragraph with the text; tokens are tinted by a weight and marked by their role.
 * `parts` are [text, token or null]; `numbers` thousandths of each token, or null.
 */
function sentence(parts, { special = [], numbers = null, scale = 1, marks = {} } = {}) {
  const paragraph = document.createElement("p");
  paragraph.className = "attn-sentence";
  paragraph.dir = "auto";
  for (const [text, token] of parts) {
    if (token === null) {
      paragraph.append(text);
      continue;
    }
    const span = document.createElement("span");
    span.textContent = text;
    span.className = [
      numbers && !Number.isNaN(numbers[token]) ? stepOf(numbers[token], scale, false) : "",
      special.includes(token) ? "s" : "",
      token in marks ? `attn-${marks[token]}` : "",
    ].filter(Boolean).join(" ");
    span.dataset.token = token;
    paragraph.append(span);
  }
  return paragraph;
}
