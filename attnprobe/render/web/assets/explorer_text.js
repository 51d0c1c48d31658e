// The text and the arcs of the explorer.
"use strict";

const ARC_ROW = 19;
const ARC_WIDTH = 400;
// The weakest arc that is drawn, as a share of the strongest, and how many are drawn at most.
const LEAST_ARC = 0.05;
const MOST_ARCS = 900;
// A text of more tokens and spaces is set in blocks of about as many, laid out when they come in sight.
const BLOCK_PARTS = 500;

/** Builds the paragraphs once; `tintText` then changes classes alone. */
function drawText(page) {
  const { entry } = page;
  const sides = entry.cross ? [["rows", "target"], ["columns", "source"]] : [["rows", "text"]];
  page.spans = {};
  const paragraphs = sides.map(([side, name]) => {
    const paragraph = make("p", { class: "attn-sentence", dir: "auto", tabindex: 0, role: "group",
      "aria-label": `${name}: arrow keys choose a word`, "data-side": side,
      click: (event) => chooseInText(page, side, event), keydown: (event) => moveInText(page, side, event),
      pointermove: (event) => hoverText(page, side, event), pointerleave: () => page.hover(null) });
    page.spans[side] = new Map();
    for (const parts of textBlocks(entry[side].parts)) {
      const spans = parts.map(([text, token]) => (token === null ? text : make("span", { text, "data-token": token })));
      parts.forEach(([, token], at) => token !== null && page.spans[side].set(token, spans[at]));
      if (parts.length === entry[side].parts.length) paragraph.append(...spans);
      else paragraph.append(make("span", { class: "attn-block" }, ...spans));
    }
    return entry.cross ? make("div", {}, make("h3", { text: name }), paragraph) : paragraph;
  });
  if (!entry.cross) page.spans.columns = page.spans.rows;
  const direction = segmented("tint", [["to", "what the word attends to"], ["by", "what attends to it"]],
    page.state.direction, (direction) => page.turn(direction));
  page.parts.text.replaceChildren(make("div", { class: "attn-controls" }, direction), ...paragraphs);
}

/** The parts of a text in blocks that end between words, or anywhere where none end soon. */
function textBlocks(parts) {
  const blocks = [[]];
  for (const part of parts) {
    const { length } = blocks.at(-1);
    if (length > BLOCK_PARTS && (part[1] === null || length > 1.5 * BLOCK_PARTS)) blocks.push([]);
    blocks.at(-1).push(part);
  }
  return blocks;
}

function unitAt(page, side, event) {
  const token = event.target.dataset?.token;
  return token === undefined ? null : page.entry[side][`${page.state.unit}Of`][token];
}

/** The end of a pair that a word of this paragraph is: in one text, the direction decides. */
function endOf(page, side) {
  if (page.entry.cross) return side === "rows" ? "from" : "to";
  return page.state.direction === "to" ? "from" : "to";
}

function chooseInText(page, side, event) {
  const unit = unitAt(page, side, event);
  if (unit === null) return;
  const end = endOf(page, side);
  // A second word in the same text with Shift is the other end of the pair.
  if (event.shiftKey && !page.entry.cross) page.choose({ [end === "from" ? "to" : "from"]: unit });
  else page.choose({ from: null, to: null, [end]: page.state[end] === unit ? null : unit }, page.entry.cross ? end : null);
}

function moveInText(page, side, event) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const end = endOf(page, side);
  const count = page.entry[side][page.state.unit].length;
  const at = Math.min(Math.max((page.state[end] ?? -1) + step, 0), count - 1);
  page.choose({ from: null, to: null, [end]: at }, page.entry.cross ? end : null);
}

function hoverText(page, side, event) {
  const unit = unitAt(page, side, event);
  page.hover(unit === null ? null : { end: endOf(page, side), unit });
}

/** Tints the text by a row or a column of the shown map. */
function tintText(page) {
  const { entry, reader, state } = page;
  const from = page.hovered?.end === "from" ? page.hovered.unit : page.hovered ? null : state.from;
  const to = page.hovered?.end === "to" ? page.hovered.unit : page.hovered ? null : state.to;
  const byColumn = from === null || (state.direction === "by" && to !== null && !page.hovered);
  const columnTints = from !== null && !(byColumn && !entry.cross) ? reader.row(from) : null;
  const rowTints = to !== null && (byColumn || entry.cross) ? reader.column(to) : null;
  if (entry.cross) {
    tintSide(page, "rows", from === null || state.direction === "by" ? rowTints : null, from, "from");
    tintSide(page, "columns", columnTints, to, "to");
  } else {
    tintSide(page, "rows", rowTints ?? columnTints, null, "");
    markSide(page, "rows", from, "attn-from");
    markSide(page, "rows", to, "attn-to");
  }
}

function tintSide(page, side, numbers, marked, role) {
  const owner = page.entry[side][`${page.state.unit}Of`];
  const sinks = new Set(page.state.sinks === "muted" ? page.entry[side].sinks : []);
  const found = page.found;
  page.spans[side].forEach((span, token) => {
    const number = numbers ? numbers[owner[token]] : NaN;
    const step = Number.isNaN(number) ? "" : stepOf(number, page.scale, page.reader.signed);
    const special = page.entry[side].special.includes(token);
    span.className = `${step}${sinks.has(token) ? " s" : ""}${special ? " attn-special" : ""}` +
      (found?.side === side && found.tokens.has(token) ? " attn-found" : "");
  });
  if (role) markSide(page, side, marked, `attn-${role}`);
}

function markSide(page, side, unit, name) {
  if (unit === null) return;
  const { at } = page.entry[side][page.state.unit][unit];
  // A word's name stands below its first piece alone.
  at.forEach((token, place) => page.spans[side].get(token)?.classList.add(name, ...(place ? ["attn-more"] : [])));
}

/** The arcs between target words on the left and source words on the right, each head's in its colour. */
function drawArcs(page) {
  const { rows, columns } = page.window;
  const height = ARC_ROW * Math.max(rows.length, columns.length) + 12;
  const svg = shape("svg", {
    viewBox: `0 0 ${ARC_WIDTH} ${height}`, width: ARC_WIDTH, height, role: "img",
    "font-family": "system-ui, sans-serif", "font-size": 12,
    "aria-label": "arcs from target words on the left to source words on the right",
  });
  const group = shape("g", { fill: "none", "stroke-linecap": "round" });
  svg.append(group);
  for (const arc of strongestArcs(page)) group.append(arcShape(page, arc));
  appendArcLabels(page, svg, "rows", rows, "from");
  appendArcLabels(page, svg, "columns", columns, "to");
  page.parts.arcs.replaceChildren(svg);
}

function appendArcLabels(page, svg, side, units, end) {
  const chosen = page.state[end];
  units.forEach((unit, place) => {
    const label = shape("text", {
      x: end === "from" ? 132 : ARC_WIDTH - 132,
      y: ARC_ROW * place + 18,
      "text-anchor": end === "from" ? "end" : "start",
      fill: page.entry[side][page.state.unit][unit].sink ? page.colours.muted : page.colours.ink,
      "font-weight": unit === chosen ? 700 : 400,
      "text-decoration": unit === chosen ? "underline" : "none",
      class: "attn-arc-label",
      "data-unit": unit,
    }, page.entry[side][page.state.unit][unit].label);
    label.addEventListener("click", () =>
      page.choose({ [end]: unit === chosen ? null : unit, [end === "from" ? "to" : "from"]: null }));
    label.addEventListener("pointerenter", () => page.hover({ end, unit }));
    label.addEventListener("pointerleave", () => page.hover(null));
    svg.append(label);
  });
}

/** The arcs to draw, strongest last: of the chosen word, or of all words. */
function strongestArcs(page) {
  const { from, to } = page.state;
  const { rows, columns } = page.window;
  const shown = page.readers.length > 1 && page.state.focus === null ? page.readers : [{ reader: page.reader, colour: 0 }];
  const least = LEAST_ARC * page.scale * 1000;
  const found = [];
  for (const { reader, colour } of shown) {
    rows.forEach((row, left) => {
      if (from !== null && row !== from) return;
      columns.forEach((column, right) => {
        if (from === null && to !== null && column !== to) return;
        const number = reader.cell(row, column);
        if (Math.abs(number) >= least) found.push({ number, left, right, column, row, colour });
      });
    });
  }
  found.sort((a, b) => Math.abs(a.number) - Math.abs(b.number));
  return found.slice(-MOST_ARCS);
}

function arcShape(page, { number, left, right, row, column, colour }) {
  const muted = page.state.sinks === "muted" && page.entry.columns[page.state.unit][column].sink;
  const share = Math.min(Math.abs(number) / (1000 * page.scale), 1);
  const [x, far] = [137, ARC_WIDTH - 137];
  const [y, end] = [ARC_ROW * left + 14, ARC_ROW * right + 14];
  const own = page.reader.signed ? page.colours[number < 0 ? "n13" : "p13"] : page.colours.heads[colour % 6];
  return shape("path", {
    d: `M${x} ${y}C${x + 55} ${y} ${far - 55} ${end} ${far} ${end}`,
    stroke: muted ? page.colours.muted : own,
    "stroke-width": (0.6 + 5 * share).toFixed(2),
    "stroke-opacity": (muted ? 0.12 + 0.25 * share : 0.15 + 0.75 * share).toFixed(2),
    "data-row": row,
    "data-column": column,
  });
}
