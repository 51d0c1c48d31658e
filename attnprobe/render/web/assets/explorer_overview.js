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
  const probe = make("i", { hidden: true });
  root.append(probe);
  const colours = {};
  const names = Array.from({ length: STEPS }, (_, step) => `m${step}`);
  for (let step = 1; step <= STEPS / 2; step++) names.push(`n${step}`, `p${step}`);
  for (const name of names) {
    probe.className = name;
    colours[name] = getComputedStyle(probe).backgroundColor;
  }
  probe.remove();
  const style = getComputedStyle(root);
  for (const name of ["ink", "muted", "card", "rule"]) {
    colours[name] = style.getPropertyValue(`--attn-${name}`).trim();
  }
  colours.heads = [0, 1, 2, 3, 4, 5].map((number) => style.getPropertyValue(`--head-${number}`).trim());
  [colours.h0, colours.h1] = colours.heads;
  return colours;
}

/** The figure of every head that colours the overview; null where a head has none. */
function figureValues(page, name) {
  if (name === "pair") return page.pairWeights?.map((number) => number / 1000) ?? [];
  const figures = page.maps.figures;
  if (name === "pattern") return figures.map(({ score }) => score);
  return figures.map((head) => head[name] ?? null);
}

function formatFigure(value) {
  return value === null || value === undefined || Number.isNaN(value) ? "–" : value.toFixed(2);
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

/** Draws the small picture of every head. */
async function drawOverview(page) {
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
  const most = Math.max(...values.filter((value) => Number.isFinite(value)), 0.001);
  const pictures = await thumbnails(page);
  page.headButtons = entry.heads.map((_, head) =>
    headButton(page, head, pictures[head], values[head], state.colour === "distance" ? most : Math.min(most, 1)),
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
  grid.scrollTop = Math.max(0, first.offsetTop - grid.offsetTop - grid.clientHeight / 2);
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

function headButton(page, head, picture, value, most) {
  const name = page.entry.names[head];
  const figures = page.maps.figures[head];
  const strip = page.state.colour === "pattern" ? `${figures.pattern} ${formatFigure(value)}` : formatFigure(value);
  const step = Number.isFinite(value ?? NaN) ? stepOf(1000 * value, most, false) : "h";
  const [, number] = page.entry.heads[head];
  const button = make("button", {
    type: "button",
    class: "attn-head",
    title: describeHead(name, figures),
    "aria-label": describeHead(name, figures),
    "aria-pressed": "false",
    tabindex: "-1",
    "data-head": name,
    click: (event) => page.lock(head, event.shiftKey || event.ctrlKey || event.metaKey),
    pointerenter: (event) => event.pointerType !== "touch" && page.preview(head),
    pointerleave: () => page.preview(null),
    focus: () => button.matches(":focus-visible") && page.preview(head),
  }, picture, make("span", { class: `attn-strip ${step}`, text: strip }), make("span", { class: "attn-name", text: name }));
  if (page.state.sort === "layers") button.style.gridColumn = number + 2;
  return button;
}

function describeHead(name, figures) {
  const on = figures.on ? ` on ${figures.on}` : "";
  const pattern = figures.pattern ? `${figures.pattern}${on} ${formatFigure(figures.score)}, ` : "";
  const distance = figures.distance === null ? "" : `, distance ${formatFigure(figures.distance)}`;
  return `${name}: ${pattern}entropy ${formatFigure(figures.entropy)}, ` +
    `sinks ${formatFigure(figures.sink)}${distance}`;
}

/** A canvas for every head, filled from the packed steps. */
async function thumbnails(page) {
  const { maps, colours } = page;
  maps.steps ??= await inflate(document.getElementById(maps.thumbnails).textContent);
  const [height, width] = maps.thumbnailSize;
  const shades = Array.from({ length: STEPS }, (_, step) => rgb(colours[`m${step}`]));
  return page.entry.heads.map((_, head) => {
    const canvas = make("canvas", { width, height, "aria-hidden": "true" });
    const image = new ImageData(width, height);
    const start = head * width * height;
    for (let at = 0; at < width * height; at++) {
      image.data.set(shades[maps.steps[start + at]], 4 * at);
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  });
}

function rgb(colour) {
  return [...colour.match(/\d+/g).slice(0, 3).map(Number), 255];
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
