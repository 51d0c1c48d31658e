// The table of a map, built once and filled anew when another head is shown.
"use strict";

const MOST_WITH_DIGITS = 14;

/** A value in thousandths as a cell shows it: 0, .5, .123, 1, −.04. */
function formatThousandths(number) {
  const text = (Math.abs(number) / 1000).toFixed(3).replace(/\.?0+$/, "");
  return (number < 0 ? "−" : "") + (text.replace(/^0(?=\.)/, "") || "0");
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
 *
 * Beyond 14 tokens a number is the name of its cell, for a screen reader: text that nobody sees
 * makes the layout of a large table several times as slow.
 */
function mapTable(map, scale) {
  const table = document.createElement("table");
  const width = map.columns.length;
  const digits = Math.max(map.rows.length, width) <= MOST_WITH_DIGITS;
  table.className = digits ? "attn-map attn-digits" : "attn-map";
  // Class names and numbers alone are written as HTML; labels are set as text.
  const row = ([name, text]) =>
    digits ? `<td class="${name}">${text}</td>` : `<td class="${name}"${text && ` aria-label="${text}"`}></td>`;
  const rows = looksOfCells(map, scale).map((looks) => `<tr><th scope="row"></th>${looks.map(row).join("")}</tr>`);
  table.innerHTML =
    "<caption></caption><thead><tr><td></td>" +
    '<th scope="col"><span></span></th>'.repeat(width) +
    `</tr></thead><tbody>${rows.join("")}</tbody>`;
  setLabels(table, map);
  return table;
}

/** Shows another map of the same rows and columns in a table of `mapTable`. */
function refillTable(table, map, scale) {
  const digits = table.classList.contains("attn-digits");
  looksOfCells(map, scale).forEach((looks, row) => {
    let cell = table.tBodies[0].rows[row].firstElementChild;
    for (const [name, text] of looks) {
      cell = cell.nextElementSibling;
      if (cell.className !== name) cell.className = name;
      if (digits) cell.textContent = text;
      else if (text) cell.setAttribute("aria-label", text);
      else cell.removeAttribute("aria-label");
    }
  });
  setLabels(table, map);
}

/** Class and text of every cell, by row. */
function looksOfCells(map, scale) {
  const width = map.columns.length;
  return map.rows.map((_, row) => {
    const marks = marksOfRow(map, row);
    return map.columns.map((_, column) => {
      const number = map.numbers[row * width + column];
      if (Number.isNaN(number)) return [`h${marks[column]}`, ""];
      return [`${stepOf(number, scale, map.signed)}${marks[column]}`, formatThousandths(number)];
    });
  });
}

function setLabels(table, map) {
  table.querySelectorAll("thead th").forEach((cell, column) => {
    setLabel(cell, cell.firstChild, map.columns[column], labelClass(map, column, "columns"));
  });
  table.querySelectorAll("tbody th").forEach((cell, row) => {
    setLabel(cell, cell, map.rows[row], labelClass(map, row, "rows"));
  });
}

function setLabel(cell, holder, text, name) {
  if (holder.textContent !== text) holder.textContent = text;
  cell.className = name;
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
