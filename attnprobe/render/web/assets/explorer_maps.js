// The heatmap of the explorer: a table of the window, or a canvas where that would be too large.
"use strict";

const MOST_CELLS_WIDE = 60;
const FIRST_CELLS_WIDE = 40;
const WINDOWS = [20, 40, 60, 128, 256, 512, 1024];

/** What is shown of a text at first: all of a short one, less of a long one. */
function firstWindow({ entry, state }) {
  const count = Math.max(entry.rows[state.unit].length, entry.columns[state.unit].length);
  return { start: 0, size: count > MOST_CELLS_WIDE ? FIRST_CELLS_WIDE : MOST_CELLS_WIDE };
}

/** The units that the window shows on each side; none that are left out. */
function unitsInWindow(page) {
  const { entry, state } = page;
  const { start, size } = state.window;
  const side = (units) =>
    units.slice(start, start + size).filter(({ sink }) => !(sink && state.sinks === "out")).map(({ index }) => index);
  return { rows: side(entry.rows[state.unit]), columns: side(entry.columns[state.unit]) };
}

/** The window's map as `mapTable` takes it. */
function mapOfWindow(page) {
  const { entry, state, reader, window: shown } = page;
  const numbers = new Float64Array(shown.rows.length * shown.columns.length);
  shown.rows.forEach((row, at) => {
    shown.columns.forEach((column, place) => (numbers[at * shown.columns.length + place] = reader.cell(row, column)));
  });
  const marked = page.markedCells();
  return {
    rows: shown.rows.map((row) => entry.rows[state.unit][row].label),
    columns: shown.columns.map((column) => entry.columns[state.unit][column].label),
    numbers,
    sinks: shown.columns.flatMap((column, at) => (entry.columns[state.unit][column].sink ? [at] : [])),
    withSinks: state.sinks === "kept",
    signed: reader.signed,
    expected: marked && within(shown, marked.rows, marked.expected),
    contrast: marked && within(shown, marked.rows, marked.contrast),
  };
}

/** Units as places in the window, for cells to outline. */
function within(shown, rows, columns) {
  const places = (units, list) => units.map((unit) => list.indexOf(unit)).filter((at) => at >= 0);
  return columns.length ? { rows: places(rows, shown.rows), columns: places(columns, shown.columns) } : null;
}

function drawMap(page) {
  const { parts, map } = page;
  const large = Math.max(map.rows.length, map.columns.length) > MOST_CELLS_WIDE;
  const table = parts.map.querySelector("table");
  if (!parts.map.firstChild) {
    parts.map.append(make("div", { class: "attn-map-scroll", tabindex: 0, role: "group",
      "aria-label": "heatmap: arrow keys choose a cell", keydown: (event) => moveInMap(page, event) }));
  }
  const [scroll, legend] = parts.map.children;
  parts.map.parentElement.classList.toggle("attn-wide", large);
  if (large) scroll.replaceChildren(mapCanvas(page));
  else if (table && page.drawnWindow === windowName(page)) refillTable(table, mapOfTable(page), page.scale);
  else scroll.replaceChildren(tableOfMap(page));
  page.drawnWindow = windowName(page);
  if (!large) scroll.firstChild.caption.textContent = `weights of ${page.title()}: rows attend to columns`;
  legend?.remove();
  parts.map.append(scaleLegend(page));
  markMap(page);
}

/** What a table can be filled anew for: the same words. */
function windowName({ data, entry, state, window: shown }) {
  return [data.entries.indexOf(entry), state.unit, ...shown.rows, "/", ...shown.columns].join();
}

function mapOfTable({ map }) {
  return map.withSinks ? { ...map, sinks: [] } : map;
}

function tableOfMap(page) {
  const shown = page.window;
  const table = mapTable(mapOfTable(page), page.scale);
  table.addEventListener("click", (event) => {
    const cell = event.target.closest("td, th");
    const row = cell?.closest("tbody")?.contains(cell) ? cell.parentElement.rowIndex - 1 : null;
    const column = cell && cell.cellIndex > 0 ? cell.cellIndex - 1 : null;
    if (row === null && column === null) return;
    page.choose({ from: row === null ? null : shown.rows[row], to: column === null ? null : shown.columns[column] });
  });
  table.addEventListener("pointerover", (event) => {
    const cell = event.target.closest("tbody td");
    page.point(cell ? { from: shown.rows[cell.parentElement.rowIndex - 1], to: shown.columns[cell.cellIndex - 1] } : null);
  });
  table.addEventListener("pointerleave", () => page.point(null));
  return table;
}

/** Outlines the chosen row, column and cell. */
function markMap(page) {
  const { state, window: shown } = page;
  const row = shown.rows.indexOf(state.from);
  const column = shown.columns.indexOf(state.to);
  const canvas = page.parts.map.querySelector("canvas");
  if (canvas) return markCanvas(page, canvas, row, column);
  const table = page.parts.map.querySelector("table");
  table.querySelectorAll(".attn-chosen").forEach((cell) => cell.classList.remove("attn-chosen"));
  if (row >= 0) table.tBodies[0].rows[row].cells[0].classList.add("attn-chosen");
  if (column >= 0) table.tHead.rows[0].cells[column + 1].classList.add("attn-chosen");
  const cells = row >= 0 ? [...table.tBodies[0].rows[row].cells].slice(1) : [];
  if (row >= 0 && column >= 0) cells[column].classList.add("attn-chosen");
  else if (row >= 0) table.tBodies[0].rows[row].classList.add("attn-chosen");
  for (const other of table.tBodies[0].rows) {
    if (other.sectionRowIndex !== row || column >= 0) other.classList.remove("attn-chosen");
    if (row < 0 && column >= 0) other.cells[column + 1].classList.add("attn-chosen");
  }
}

function mapCanvas(page) {
  const { map, colours } = page;
  const [width, height] = [map.columns.length, map.rows.length];
  const canvas = make("canvas", { width, height, class: "attn-canvas", role: "img", "aria-label": `heatmap of ${page.title()}` });
  const image = new ImageData(width, height);
  const shades = {};
  const pixels = new Uint32Array(image.data.buffer);
  map.numbers.forEach((number, at) => {
    if (Number.isNaN(number)) return;
    const name = stepOf(number, page.scale, map.signed);
    pixels[at] = shades[name] ??= pixelOf(colours[name]);
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
  page.picture = image;
  const cellAt = (event) => {
    const box = canvas.getBoundingClientRect();
    const at = (offset, length, count) => Math.min(Math.floor((offset / length) * count), count - 1);
    return {
      from: page.window.rows[at(event.clientY - box.top, box.height, height)],
      to: page.window.columns[at(event.clientX - box.left, box.width, width)],
    };
  };
  canvas.addEventListener("click", (event) => page.choose(cellAt(event)));
  canvas.addEventListener("pointermove", (event) => page.point(cellAt(event)));
  canvas.addEventListener("pointerleave", () => page.point(null));
  return canvas;
}

function markCanvas(page, canvas, row, column) {
  const context = canvas.getContext("2d");
  context.putImageData(page.picture, 0, 0);
  context.fillStyle = page.colours.h1;
  context.globalAlpha = 0.55;
  if (row >= 0) context.fillRect(0, row, canvas.width, 1);
  if (column >= 0) context.fillRect(column, 0, 1, canvas.height);
  context.globalAlpha = 1;
}

function moveInMap(page, event) {
  const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [];
  if (down === undefined) return;
  event.preventDefault();
  const { rows, columns } = page.window;
  const moved = (units, chosen, step) =>
    units[Math.min(Math.max((units.indexOf(chosen) + units.length) % units.length + step, 0), units.length - 1)];
  const started = page.state.from !== null && page.state.to !== null;
  page.choose({
    from: started ? moved(rows, page.state.from, down) : page.state.from ?? rows[0],
    to: started ? moved(columns, page.state.to, right) : page.state.to ?? columns[0],
  });
}

function scaleLegend(page) {
  const [low, high] = page.reader.signed
    ? [`−${formatFigure(page.scale)}`, `+${formatFigure(page.scale)}`]
    : ["0", formatThousandths(1000 * page.scale)];
  const steps = page.reader.signed
    ? [...Array.from({ length: 8 }, (_, at) => `n${16 - 2 * at}`), "m0", ...Array.from({ length: 8 }, (_, at) => `p${2 * at + 2}`)]
    : Array.from({ length: 16 }, (_, at) => `m${2 * at + 1}`);
  const bar = make("span", { class: "attn-ramp", "aria-hidden": "true" }, ...steps.map((name) => make("i", { class: name })));
  const what = page.state.scale === "full" ? "weights from 0 to 1"
    : page.state.sinks === "kept" ? "scale of all shown weights" : "scale of the words; sinks have no part in it";
  return make("p", { class: "attn-legend" }, low, bar, high, make("span", { class: "attn-muted", text: what }));
}

/** Controls for the window of a long text. */
function drawWindowControls(page) {
  const { entry, state } = page;
  const count = Math.max(entry.rows[state.unit].length, entry.columns[state.unit].length);
  page.parts.window.replaceChildren();
  if (count <= WINDOWS[0]) return;
  const sizes = [...WINDOWS.filter((size) => size < count), count];
  const current = Math.min(state.window.size, count);
  page.parts.window.append(
    dropdown("window", sizes.map((size) => [String(size), size === count ? `all ${count}` : `${size} ${state.unit}`]),
      String(sizes.find((size) => size >= current)), (size) => page.set({ window: { start: 0, size: Number(size) } })));
  if (current >= count) return;
  const slider = make("input", { type: "range", min: 0, max: count - current, value: state.window.start,
    "aria-label": "start of the window",
    input: () => page.set({ window: { start: Number(slider.value), size: current } }, { keep: true }) });
  page.parts.window.append(slider, make("span", { class: "attn-muted", text: `${state.window.start + 1}–${state.window.start + current} of ${count}` }));
}
