// The overview of the explorer: a small picture of every head, coloured and sorted by a figure.
"use strict";

const FIGURES = {
  pattern: "pattern",
  entropy: "entropy",
  distance: "distance in tokens",
  sink: "share on sinks",
  pair: "weight of the chosen pair",
};

/** An element with attributes; `text` is its text, functions are listeners. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.textContent = value;
    else if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** An SVG element with attributes and, perhaps, a text. */
function shape(tag, attributes = {}, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text) element.textContent = text;
  return element;
}

/** Buttons of which one is pressed. */
function segmented(label, options, current, choose) {
  const group = make("span", { class: "attn-segments", role: "group", "aria-label": label });
  for (const [value, text] of options) {
    const pressed = String(value === current);
    group.append(make("button", { type: "button", "aria-pressed": pressed, text, click: () => choose(value) }));
  }
  return make("span", { class: "attn-control" }, make("span", { text: label }), group);
}

function dropdown(label, options, current, choose) {
  const select = make("select", { change: (event) => choose(event.target.value) });
  for (const [value, text] of options) {
    select.append(make("option", { value, text, selected: value === current }));
  }
  return make("label", { class: "attn-control" }, make("span", { text: label }), select);
}

/** The colours of the steps of a map in this theme, as CSS colours by class. */
function themeColours(root) {
  const names = Array.from({ length: STEPS }, (_, step) => `m${step}`);
  for (let step = 1; step <= STEPS / 2; step++) names.push(`n${step}`, `p${step}`);
  const probe = make("div", { hidden: true }, ...names.map((name) => make("i", { class: name })));
  root.append(probe);
  const colours = {};
  names.forEach((name, at) => (colours[name] = getComputedStyle(probe.children[at]).backgroundColor));
  probe.remove();
  const style = getComputedStyle(root);
  for (const name of ["ink", "muted", "card", "rule"]) {
    colours[name] = style.getPropertyValue(`--attn-${name}`).trim();
  }
  colours.heads = [0, 1, 2, 3, 4, 5].map((number) => style.getPropertyValue(`--head-${number}`).trim());
  [colours.h0, colours.h1] = colours.heads;
  return colours;
}

/**
 * The figure of every head that colours the overview, or its change from the first model to the
 * second; null where a head has none, and where its pattern has another name.
 */
function figureValues(page, name) {
  if (name === "pair") return page.pairWeights?.map((number) => number / 1000) ?? [];
  const valueOf = (figures) => (name === "pattern" ? figures.score : figures[name]) ?? null;
  if (page.state.model !== "change") return page.maps.figures.map(valueOf);
  const [before, now] = page.entry.maps.map((maps) => maps.figures);
  return now.map((figures, head) => {
    const values = [figures, before[head]].map(valueOf);
    const other = name === "pattern" && figures.pattern !== before[head].pattern;
    return other || values.includes(null) ? null : values[0] - values[1];
  });
}

function formatFigure(value) {
  return value === null || value === undefined || Number.isNaN(value) ? "–" : value.toFixed(2);
}

/** A figure with its sign, for what a second model has more than the first. */
function formatChange(value) {
  return value > 0 ? `+${formatFigure(value)}` : formatFigure(value).replace("-", "−");
}

/** The names of the patterns that any head of the entry was scored for. */
function patternNames(maps) {
  const known = ["entropy", "distance", "sink", "score", "pattern", "on"];
  return [...new Set(maps.figures.flatMap(Object.keys))].filter((name) => !known.includes(name));
}

function overviewControls(page) {
  const options = Object.entries(FIGURES).filter(([name]) => name !== "distance" || !page.entry.cross);
  const scores = patternNames(page.maps).map((name) => [name, `pattern ${name}`]);
  const controls = [
    dropdown("colour", [...options, ...scores], page.state.colour, (colour) => page.set({ colour })),
    dropdown("order", [["layers", "layers and heads"], ["most", "highest first"], ["least", "lowest first"]],
      page.state.sort, (sort) => page.set({ sort })),
  ];
  const { keyHeads, heads } = page.entry;
  const perLayer = heads.length / page.entry.layers.length;
  if (keyHeads && keyHeads < perLayer) {
    controls.push(segmented("choose", [[false, "heads"], [true, "key-value groups"]],
      page.state.grouped, (grouped) => page.set({ grouped })));
  }
  return controls;
}

/** The heads that a click on one of them means: itself, or all that share its keys and values. */
function headsMeant(page, head) {
  if (!page.state.grouped) return [head];
  const group = groupOf(page, head);
  return page.entry.heads.flatMap((_, other) => (groupOf(page, other) === group ? [other] : []));
}

function groupOf(page, head) {
  const [layer, number] = page.entry.heads[head];
  const most = 1 + Math.max(...page.entry.heads.map((pair) => pair[1]));
  return `${layer}/${Math.floor(number / (most / page.entry.keyHeads))}`;
}

/** Draws a button for every head; `showPictures` gives them their pictures. */
function drawOverview(page) {
  const { entry, state } = page;
  const grid = make("div", {
    class: state.sort === "layers" ? "attn-heads" : "attn-heads attn-sorted",
    role: "group",
    "aria-label": "heads",
    keydown: (event) => moveBetweenHeads(page, event),
  });
  const widest = 1 + Math.max(...entry.heads.map((pair) => pair[1]));
  grid.style.setProperty("--count", widest);
  const values = figureValues(page, state.colour);
  const most = Math.max(...values.filter(Number.isFinite).map(Math.abs), 0.001);
  page.headButtons = entry.heads.map((_, head) =>
    headButton(page, head, values[head], state.colour === "distance" ? most : Math.min(most, 1)),
  );
  if (state.sort === "layers") grid.append(...headNumbers(widest));
  let layer = null;
  for (const head of headOrder(page, values)) {
    if (state.sort === "layers" && entry.heads[head][0] !== layer) {
      layer = entry.heads[head][0];
      grid.append(make("span", { class: "attn-layer", text: `L${layer}` }));
    }
    if (state.sort === "layers") {
      const row = entry.layers.indexOf(layer) + 2;
      grid.lastElementChild.style.gridRow = page.headButtons[head].style.gridRow = row;
    }
    grid.append(page.headButtons[head]);
  }
  page.parts.overview.replaceChildren(
    make("div", { class: "attn-controls" }, ...overviewControls(page)), grid);
  markHeads(page);
  const first = page.headButtons[state.locked[0] ?? page.last];
  // In the next frame the layout is there and need not be made twice.
  requestAnimationFrame(() => {
    grid.scrollTop = Math.max(0, first.offsetTop - grid.offsetTop - grid.clientHeight / 2);
  });
}

function headNumbers(count) {
  return Array.from({ length: count }, (_, head) => {
    const number = make("span", { class: "attn-number-above", "aria-hidden": "true", text: `H${head}` });
    number.style.gridColumn = head + 2;
    return number;
  });
}

function headOrder(page, values) {
  const order = page.entry.heads.map((_, head) => head);
  if (page.state.sort === "layers") return order;
  const sign = page.state.sort === "most" ? -1 : 1;
  const known = (head) => Number.isFinite(values[head] ?? NaN);
  return order.sort((a, b) => known(b) - known(a) || sign * (values[a] - values[b]) || a - b);
}

function headButton(page, head, value, most) {
  const name = page.entry.names[head];
  const signed = page.state.model === "change";
  const step = Number.isFinite(value ?? NaN) ? stepOf(1000 * value, most, signed) : "h";
  const about = describeHead(page, head);
  const [, number] = page.entry.heads[head];
  const button = make("button", {
    type: "button",
    class: "attn-head",
    title: about,
    "aria-label": about,
    "aria-pressed": "false",
    tabindex: "-1",
    "data-head": name,
    click: (event) => page.lock(head, event.shiftKey || event.ctrlKey || event.metaKey),
    pointerenter: (event) => event.pointerType !== "touch" && page.preview(head),
    pointerleave: () => page.preview(null),
    focus: () => button.matches(":focus-visible") && page.preview(head),
  }, headPicture(page, head), make("span", { class: `attn-strip ${step}`, text: stripText(page, head, value) }), make("span", { class: "attn-name", text: name }));
  if (page.state.sort === "layers") button.style.gridColumn = number + 2;
  return button;
}

/** The figure under a head's picture; two names where its pattern differs between the models. */
function stripText(page, head, value) {
  const changes = page.state.model === "change";
  const number = changes ? formatChange(value) : formatFigure(value);
  if (page.state.colour !== "pattern") return number;
  const models = changes ? page.entry.maps : [page.maps];
  const names = [...new Set(models.map(({ figures }) => figures[head].pattern))];
  return names.length > 1 ? names.join(" → ") : `${names[0]} ${number}`;
}

function describeHead(page, head) {
  const name = page.entry.names[head];
  if (page.state.model !== "change") return `${name}: ${describeFigures(page.maps.figures[head])}`;
  const [before, now] = page.entry.maps.map(({ figures }) => describeFigures(figures[head]));
  return `${name}: A: ${before}; B: ${now}`;
}

function describeFigures(figures) {
  const on = figures.on ? ` on ${figures.on}` : "";
  const pattern = figures.pattern ? `${figures.pattern}${on} ${formatFigure(figures.score)}, ` : "";
  const distance = figures.distance === null ? "" : `, distance ${formatFigure(figures.distance)}`;
  return `${pattern}entropy ${formatFigure(figures.entropy)}, ` +
    `sinks ${formatFigure(figures.sink)}${distance}`;
}

/**
 * Gives the buttons their small pictures: parts of one image, since an image or a canvas for each
 * would take longer to draw than the rest of the page. The promise ends when they are there.
 */
function showPictures(page) {
  const { data, entry, state } = page;
  const name = [data.entries.indexOf(entry), state.model, themeName()].join();
  if (page.pictures?.name !== name) page.pictures = { name, shown: loadPictures(page, name) };
  return page.pictures.shown;
}

async function loadPictures(page, name) {
  const { root, maps, state } = page;
  const { columns, rows } = maps.pictures;
  const url = state.model === "change" ? await differenceUrl(page) : await pictureUrl(page);
  const picture = new Image();
  picture.src = url;
  await new Promise((done) => picture.addEventListener("load", done));
  if (page.pictures.name !== name) return;
  page.parts.pictures ??= root.appendChild(make("style"));
  page.parts.pictures.textContent =
    `.attn-picture { background-image: url("${url}"); background-size: ${100 * columns}% ${100 * rows}%; }`;
}

async function pictureUrl({ data, maps }) {
  const { head, block } = maps.pictures;
  return `data:image/png;base64,${head}${data.palettes[themeName()]}${await blockText(block)}`;
}

function themeName() {
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

/** The part of the image that belongs to a head. */
function headPicture({ maps }, head) {
  const { columns, rows } = maps.pictures;
  const part = make("i", { class: "attn-picture m0", "aria-hidden": "true" });
  const share = (at, count) => `${count > 1 ? (100 * at) / (count - 1) : 0}%`;
  part.style.backgroundPosition = `${share(head % columns, columns)} ${share(Math.floor(head / columns), rows)}`;
  return part;
}

/** An image of what the heads of the second model have more than those of the first. */
async function differenceUrl({ entry, colours }) {
  const { columns, rows, size: [height, width] } = entry.maps[1].pictures;
  const canvas = make("canvas", { width: columns * width, height: rows * height });
  const context = canvas.getContext("2d");
  for (let head = 0; head < entry.heads.length; head++) {
    const [[before], [now]] = await Promise.all(entry.maps.map((maps) => sourcesOf(entry, maps, [head])));
    const numbers = strongestChanges(entry, before, now, height, width);
    const image = changeImage(numbers, sinkPlaces(entry, width), height, width, colours);
    context.putImageData(image, (head % columns) * width, Math.floor(head / columns) * height);
  }
  return canvas.toDataURL();
}

/** For each part of a map the largest change in it, in thousandths. */
function strongestChanges(entry, before, now, height, width) {
  const [rows, columns] = [entry.rows.pieces.length, entry.columns.pieces.length];
  const numbers = new Float64Array(height * width);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const change = weightAt(now, row, column) - weightAt(before, row, column);
      const at = partOf(row, rows, height) * width + partOf(column, columns, width);
      if (Math.abs(change) > Math.abs(numbers[at])) numbers[at] = change;
    }
  }
  return numbers;
}

/** The part of a small picture that a row or a column of the map falls in. */
function partOf(at, length, parts) {
  return Math.floor(((at + 1) * parts - 1) / length);
}

function sinkPlaces(entry, width) {
  return new Set(entry.columns.sinks.map((token) => partOf(token, entry.columns.pieces.length, width)));
}

function changeImage(numbers, sinks, height, width, colours) {
  const top = Math.max(1, ...numbers.map((number, at) => (sinks.has(at % width) ? 0 : Math.abs(number))));
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  numbers.forEach((number, at) => (pixels[at] = pixelOf(colours[stepOf(number, top / 1000, true)])));
  return image;
}

/** A CSS colour as a pixel of an image. */
function pixelOf(colour) {
  const [red, green, blue] = colour.match(/\d+/g);
  return new Uint32Array(Uint8Array.of(red, green, blue, 255).buffer)[0];
}

/** Marks the locked heads, each in its colour, and the head that Tab reaches. */
function markHeads(page) {
  const { locked } = page.state;
  page.headButtons?.forEach((button, head) => {
    const at = locked.indexOf(head);
    button.setAttribute("aria-pressed", String(at >= 0));
    button.style.setProperty("--own", at >= 0 ? `var(--head-${at % 6})` : "transparent");
    button.tabIndex = head === (locked[0] ?? page.last) ? 0 : -1;
  });
}

function moveBetweenHeads(page, event) {
  const buttons = [...event.currentTarget.querySelectorAll(".attn-head")];
  const at = buttons.indexOf(document.activeElement);
  const perRow = page.state.sort === "layers"
    ? 1 + Math.max(...page.entry.heads.map((pair) => pair[1])) : 1;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -perRow, ArrowDown: perRow }[event.key];
  if (at < 0 || !step || !buttons[at + step]) return;
  event.preventDefault();
  buttons[at + step].focus();
}
