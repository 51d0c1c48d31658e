// The explorer: its state, its controls, and which view is drawn anew when.
"use strict";

// Cards that are drawn when they come near the window: they read all layers.
const LATE = { flow: drawFlow, case: drawCase };
const FIRST_STATE = {
  entry: 0, model: 0, locked: [], focus: null, unit: "words", sinks: "muted", scale: "own", direction: "to",
  from: null, to: null, window: null, sort: "layers", colour: "entropy", grouped: false, mark: null,
};

async function startExplorer(root, data) {
  const fragment = location.hash;
  data.entries.forEach(prepareEntry);
  const page = {
    root, data, parts: {}, near: new Set(), stale: new Set(), round: 0, hovered: null, previewed: null, found: null, pairWeights: null, last: 0,
    state: { ...FIRST_STATE, ...readLink(data) },
  };
  Object.assign(page, actionsOf(page));
  buildParts(page);
  page.colours = themeColours(root);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    page.colours = themeColours(root);
    redraw(page);
  });
  document.addEventListener("keydown", (event) => event.key === "Escape" && page.unlock());
  window.addEventListener("hashchange", () => page.set(readLink(data)));
  openEntry(page);
  showPictures(page);
  page.state.window = firstWindow(page);
  if (!page.state.locked.length) page.state.locked = [page.entry.start];
  if (page.state.from === null && page.state.to === null) await chooseFirst(page);
  await redraw(page);
  await showFirstMark(page, fragment);
  watchCards(page);
  root.dataset.ready = "true";
}

/** What a user can do; each changes the state and draws what depends on it. */
function actionsOf(page) {
  const { state } = page;
  return {
    set(changes, { keep = false } = {}) {
      const before = state.entry;
      const unit = state.unit;
      if ("model" in changes && changes.model !== "change") changes.model = Number(changes.model);
      Object.assign(state, changes);
      if (changes.entry !== undefined && changes.entry !== before) switchEntry(page, changes);
      else if (state.unit !== unit && !("from" in changes)) convertChosen(page, unit);
      const overview = ["entry", "model", "colour", "sort", "grouped"].some((name) => name in changes);
      return redraw(page, { overview, keep });
    },
    lock(head, add) {
      const heads = headsMeant(page, head);
      const locked = state.locked.includes(head)
        ? state.locked.filter((other) => !heads.includes(other))
        : [...(add || page.parts.several.checked ? state.locked : []), ...heads];
      page.previewed = null;
      page.last = head;
      Object.assign(state, { locked: [...new Set(locked)], focus: null });
      return redraw(page, { overview: false });
    },
    unlock() {
      page.last = shownHeadsOf(page)[0];
      page.previewed = null;
      Object.assign(state, { locked: [], focus: null });
      return redraw(page, { overview: false });
    },
    preview(head) {
      if (page.previewed === head) return;
      page.previewed = head;
      if (head !== null) page.last = head;
      redraw(page, { overview: false, light: true });
    },
    choose(changes, end = null) {
      const kept = end && page.entry.cross ? { [end === "from" ? "to" : "from"]: state[end === "from" ? "to" : "from"] } : {};
      Object.assign(state, changes, kept, { mark: null });
      page.hovered = null;
      page.pairWeights = null;
      return redraw(page, { overview: state.colour === "pair" });
    },
    turn(direction) {
      // In one text the chosen word stays the same and changes its end.
      Object.assign(state, { direction }, page.entry.cross ? {} : { from: state.to, to: state.from });
      return redraw(page, { overview: false });
    },
    hover(hovered) {
      if (hovered?.unit === page.hovered?.unit && hovered?.end === page.hovered?.end) return;
      page.hovered = hovered;
      tintText(page);
      describeChosen(page);
    },
    point(cell) {
      page.pointed = cell;
      describeChosen(page);
    },
    title: () => titleOf(page),
    markedCells: () => markedCells(page),
  };
}

function titleOf(page) {
  const names = page.shownHeads.map((head) => page.entry.names[head]);
  return names.length === 1 ? names[0] : `mean of ${names.length} heads`;
}

function buildParts(page) {
  const card = (name, title, ...more) => {
    page.parts[name] = make("div", { "data-part": name });
    return make("section", { class: "attn-box", "data-box": name, "aria-label": title },
      make("div", { class: "attn-box-head" }, make("h2", { text: title }), ...more), page.parts[name]);
  };
  page.parts.controls = make("div", { class: "attn-controls attn-tools" });
  page.parts.chips = make("div", { class: "attn-chips" });
  page.parts.several = make("input", { type: "checkbox" });
  page.parts.detail = make("p", { class: "attn-detail", role: "status" });
  page.parts.window = make("div", { class: "attn-controls" });
  page.parts.marks = make("div", { class: "attn-marks" });
  const exports = (what, kinds) => make("span", { class: "attn-export" }, ...kinds.map((kind) =>
    make("button", { type: "button", class: "attn-button", text: kind.toUpperCase(), "aria-label": `save the ${what} as ${kind.toUpperCase()}`,
      click: () => exportAs(page, what, kind) })));
  const several = make("label", { class: "attn-control", title: "or click with Shift or Ctrl" }, page.parts.several, "add heads to the chosen ones");
  page.root.replaceChildren(
    page.parts.controls, page.parts.marks,
    make("div", { class: "attn-columns" },
      make("div", { class: "attn-left" }, card("overview", "All heads", several), card("case", "From picture to test")),
      make("div", { class: "attn-right" },
        make("div", { class: "attn-sticky" }, page.parts.chips, page.parts.detail),
        card("text", "Text"),
        page.parts.window,
        make("div", { class: "attn-pair" }, card("map", "Heatmap", exports("map", ["svg", "png", "csv"])), card("arcs", "Arcs", exports("arcs", ["svg", "png"]))),
        card("flow", "Flow through the layers", exports("flow", ["svg", "png"])),
        make("p", { class: "attn-muted attn-rounding" }))));
  page.parts.error = page.root.querySelector(".attn-rounding");
}

function openEntry(page) {
  page.entry = page.data.entries[page.state.entry];
  if (page.state.model !== "change" && !page.entry.maps[page.state.model]) page.state.model = 0;
  if (page.state.model === "change" && page.entry.maps.length < 2) page.state.model = 0;
  page.maps = page.entry.maps[page.state.model === "change" ? 1 : page.state.model];
  const [worst, worstSum] = page.maps.worst;
  page.parts.error.textContent = `Weights are rounded to ${page.maps.bits === 8 ? "255ths" : "thousandths"}: ` +
    `on this page a weight is off by at most ${worst}, the sum of a row by at most ${worstSum}.${describeDropped(page.maps)}`;
  drawControls(page);
  drawMarks(page);
}

/** What a page with the strongest keys alone leaves out. */
function describeDropped({ dropped }) {
  if (!dropped) return "";
  return ` It keeps the ${dropped.keys} strongest keys of each row and drops ${percent(dropped.mean)} of a row on average, ` +
    `at most ${percent(dropped.most)}.`;
}

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

/** Another text or site: heads of the same name stay locked, words do not stay chosen. */
function switchEntry(page, changes) {
  const names = changes.locked ? [] : page.state.locked.map((head) => page.entry.names[head]);
  const next = page.data.entries[page.state.entry];
  if (!changes.locked) page.state.locked = names.map((name) => next.names.indexOf(name)).filter((head) => head >= 0);
  if (!("from" in changes)) Object.assign(page.state, { from: null, to: null });
  Object.assign(page.state, { focus: null, window: firstWindow({ entry: next, state: page.state }) });
  page.last = Math.min(page.last, next.heads.length - 1);
  page.pairWeights = null;
  page.previewed = null;
}

/** Keeps the chosen words chosen when units change. */
function convertChosen(page, before) {
  const { entry, state } = page;
  for (const [end, side] of [["from", "rows"], ["to", "columns"]]) {
    if (state[end] !== null) state[end] = entry[side][`${state.unit}Of`][entry[side][before][state[end]].at[0]];
  }
  page.pairWeights = null;
  state.window = { start: 0, size: state.window.size };
}

/** Chooses the word of the first window that attends most to another one. */
async function chooseFirst({ entry, state }) {
  const reader = await readerOf(entry, 0, state.locked, { unit: state.unit, sinks: "kept" });
  const words = (side) => entry[side][state.unit].slice(0, state.window.size).filter(({ sink }) => !sink);
  let most = -1;
  for (const row of words("rows")) {
    for (const column of words("columns")) {
      const number = !entry.cross && row.index === column.index ? NaN : reader.plain(row.index, column.index);
      if (number > most) [most, state.from] = [number, row.index];
    }
  }
}

function shownHeadsOf(page) {
  const { locked, focus } = page.state;
  if (page.previewed !== null) return [page.previewed];
  if (!locked.length) return [page.last];
  return focus === null ? locked : [focus];
}

/**
 * Draws the views anew. `light` draws those that answer at once alone; a later call wins over an
 * earlier one that still waits for a layer. The root is busy until the last one has ended.
 */
async function redraw(page, options = {}) {
  const round = ++page.round;
  page.root.setAttribute("aria-busy", "true");
  await drawRound(page, round, options);
  if (round === page.round) page.root.removeAttribute("aria-busy");
}

async function drawRound(page, round, { overview = true, light = false, keep = false }) {
  if (overview) openEntry(page);
  const { entry, state } = page;
  const settings = { unit: state.unit, sinks: state.sinks };
  page.shownHeads = shownHeadsOf(page);
  const pictures = overview && showPictures(page);
  const reader = await readerOf(entry, state.model, page.shownHeads, settings);
  const heads = page.previewed === null && state.focus === null ? state.locked.slice(0, 6) : [];
  const readers = heads.length < 2 ? [] : await Promise.all(heads.map((head) => readerOf(entry, state.model, [head], settings)));
  if (round !== page.round) return;
  page.reader = reader;
  page.readers = readers.map((own, colour) => ({ reader: own, colour }));
  drawViews(page, { light, keep });
  if (overview) drawOverview(page);
  markHeads(page);
  await pictures;
  if (light || round !== page.round) return;
  writeLink(page);
  page.stale = new Set(Object.keys(LATE));
  drawNear(page);
  if (state.colour === "pair" && !page.pairWeights && state.from !== null && state.to !== null) await colourByPair(page, round);
}

/** Draws the late cards that are near the window, now and whenever one comes near it. */
function watchCards(page) {
  const watch = new IntersectionObserver((cards) => {
    for (const { target, isIntersecting } of cards) page.near[isIntersecting ? "add" : "delete"](target.dataset.part);
    drawNear(page);
  }, { rootMargin: "150px" });
  for (const name of Object.keys(LATE)) watch.observe(page.parts[name]);
}

function drawNear(page) {
  for (const name of page.near) drawLate(page, name);
}

async function drawLate(page, name) {
  if (page.stale.delete(name)) await LATE[name](page);
}

function drawViews(page, { keep }) {
  page.window = unitsInWindow(page);
  page.map = mapOfWindow(page);
  page.scale = page.state.scale === "full" ? 1 : scaleOf(page.map);
  if (!page.parts.text.firstChild || page.drawnText !== page.entry || page.drawnDirection !== page.state.direction) drawText(page);
  [page.drawnText, page.drawnDirection] = [page.entry, page.state.direction];
  if (!keep) drawWindowControls(page);
  tintText(page);
  drawMap(page);
  drawArcs(page);
  drawChips(page);
  describeChosen(page);
}

async function colourByPair(page, round) {
  const { entry, state } = page;
  const found = await pairWeights(entry, state.model, state.unit, state.from, state.to);
  if (round !== page.round) return;
  page.pairWeights = found;
  page.stale.add("case");
  drawNear(page);
  drawOverview(page);
}

function drawControls(page) {
  const { data, state, entry } = page;
  const controls = [];
  if (data.entries.length > 1) {
    const name = (other) => [other.label, other.site, new Set(data.entries.map((one) => one.maps[0].model)).size > 1 && other.maps.length < 2 ? other.maps[0].model : ""].filter(Boolean).join(" · ");
    controls.push(dropdown(data.entries.some(({ label }) => label) ? "text" : "site",
      data.entries.map((other, at) => [String(at), name(other)]), String(state.entry), (at) => page.set({ entry: Number(at) })));
  }
  if (entry.maps.length > 1) {
    controls.push(segmented("model", [...entry.maps.map(({ model }, at) => [at, `${"AB"[at]}: ${model}`]), ["change", "B − A"]],
      state.model, (model) => page.set({ model })));
  }
  controls.push(
    segmented("units", [["words", "words"], ["pieces", "pieces"]], state.unit, (unit) => page.set({ unit })),
    segmented("sinks", [["kept", "kept"], ["muted", "muted"], ["out", "left out"]], state.sinks, (sinks) => page.set({ sinks })),
    segmented("scale", [["own", "own"], ["full", "0 to 1"]], state.scale, (scale) => page.set({ scale })),
    make("label", { class: "attn-control" }, make("span", { text: "find" }), searchField(page)));
  page.parts.controls.replaceChildren(...controls);
  for (const button of page.parts.controls.querySelectorAll('[aria-label="sinks"] button')) button.title = "special tokens, and the first token of a decoder; left out: rows are scaled to sum to 1 without them";
  for (const button of page.parts.controls.querySelectorAll("[aria-pressed]")) {
    button.addEventListener("click", () => queueMicrotask(() => drawControls(page)));
  }
}

function searchField(page) {
  const field = make("input", { type: "search", placeholder: "a word", size: 9, input: () => findUnits(page, field.value, false),
    keydown: (event) => event.key === "Enter" && findUnits(page, field.value, true) });
  field.value = page.search ?? "";
  return field;
}

/** Marks the tokens that contain a text; Enter chooses the next of them. */
function findUnits(page, text, choose) {
  page.search = text;
  const { entry, state } = page;
  const wanted = text.trim().toLowerCase();
  const end = entry.cross ? "from" : endOf(page, "rows");
  const units = entry.rows[state.unit].filter(({ label }) => wanted && label.toLowerCase().includes(wanted));
  page.found = units.length ? { side: "rows", tokens: new Set(units.flatMap(({ at }) => at)) } : null;
  if (!choose || !units.length) return tintText(page);
  const next = units.find(({ index }) => index > (state[end] ?? -1)) ?? units[0];
  const { start, size } = state.window;
  if (next.index < start || next.index >= start + size) {
    state.window = { start: Math.max(0, Math.min(next.index - Math.floor(size / 2), entry.rows[state.unit].length - size)), size };
  }
  page.choose({ from: null, to: null, [end]: next.index });
  page.spans.rows.get(next.at[0])?.scrollIntoView({ block: "nearest" });
}

function drawChips(page) {
  const { state, entry } = page;
  const chips = [];
  if (page.previewed !== null || !state.locked.length) {
    chips.push(make("span", { class: "attn-muted", text: `preview of ${titleOf(page)}; click locks a head, Escape unlocks` }));
  }
  if (state.locked.length > 1) {
    chips.push(make("button", { type: "button", class: "attn-chip", "aria-pressed": String(state.focus === null),
      text: `mean of ${state.locked.length}`, click: () => page.set({ focus: null }) }));
  }
  state.locked.forEach((head, at) => {
    const name = entry.names[head];
    const show = make("button", { type: "button", class: "attn-chip", "aria-pressed": String(state.focus === head || state.locked.length === 1),
      text: name, click: () => page.set({ focus: state.locked.length > 1 ? head : null }) });
    show.style.setProperty("--own", `var(--head-${at % 6})`);
    chips.push(show, make("button", { type: "button", class: "attn-chip-close", "aria-label": `unlock ${name}`, text: "×", click: () => page.lock(head, true) }));
  });
  page.parts.chips.replaceChildren(...chips);
}

/** The line of exact numbers: of the cell under the pointer, or of the chosen words. */
function describeChosen(page) {
  const { entry, state, reader, parts, hovered } = page;
  let { from, to } = page.pointed ?? state;
  if (hovered) [from, to] = hovered.end === "from" ? [hovered.unit, null] : [null, hovered.unit];
  const name = (side, unit) => make("bdi", { class: "attn-word", text: entry[side][state.unit][unit].label });
  const number = (value) => make("b", { text: Number.isNaN(value) ? "hidden by the mask or left out" : !value && page.maps.dropped ? "0 or dropped" : (value / 1000).toFixed(3).replace("-", "−") });
  const line = [];
  if (from !== null && to !== null) line.push(name("rows", from), " → ", name("columns", to), ": ", number(reader.row(from)[to]), ` by ${titleOf(page)}. `);
  if (from !== null) {
    const row = reader.row(from);
    if (to === null) line.push(...strongest(name, "columns", row, [name("rows", from), " attends to "]));
    line.push(`The shown weights of the row sum to ${sumOf(row)}.`);
    if (page.maps.dropped && !reader.signed) line.push(` This page drops ${percent(reader.dropped(from) / 1000)} of the row.`);
  } else if (to !== null) {
    line.push(...strongest(name, "rows", reader.column(to), [name("columns", to), " is attended to by "]));
  }
  parts.detail.replaceChildren(...(line.length ? line : ["Choose a word in the text, the arcs or the heatmap."]));
}

function sumOf(numbers) {
  return (numbers.reduce((sum, number) => sum + (Number.isNaN(number) ? 0 : number), 0) / 1000).toFixed(3).replace("-", "−");
}

function strongest(name, side, numbers, words) {
  const order = [...numbers.keys()].filter((unit) => Math.abs(numbers[unit]) >= 5).sort((a, b) => Math.abs(numbers[b]) - Math.abs(numbers[a]));
  if (!order.length) return [...words, "nothing that is shown. "];
  return [...words, ...order.slice(0, 3).flatMap((unit, at) => [at ? ", " : "", name(side, unit), ` ${(numbers[unit] / 1000).toFixed(3)}`]), ". "];
}

/** The verdicts that came with the page; one of them can be shown on the maps. */
function drawMarks(page) {
  const { data, entry, state } = page;
  const buttons = data.marks.map((mark, number) => {
    if (mark.site !== entry.site) return "";
    const chance = mark.chance ? `; chance: ${mark.chance}` : "";
    return make("button", { type: "button", class: "attn-chip", "aria-pressed": String(state.mark === number),
      text: `${mark.label || mark.heads.join(", ")}: ${mark.bound}${chance}`, click: () => showMark(page, number) });
  });
  page.parts.marks.replaceChildren(...buttons);
}

async function showMark(page, number) {
  const mark = page.data.marks[number];
  const at = page.data.entries.findIndex((entry) => entry.site === mark.site);
  if (at >= 0 && page.entry.site !== mark.site) await page.set({ entry: at });
  const { entry, state } = page;
  const heads = mark.heads.map((name) => entry.names.indexOf(name)).filter((head) => head >= 0);
  if (heads.length) Object.assign(state, { locked: heads, focus: null });
  await page.choose({ from: entry.rows[`${state.unit}Of`][mark.rows[0]] ?? null, to: entry.columns[`${state.unit}Of`][mark.expected[0]] ?? null });
  state.mark = number;
  return redraw(page);
}

/** The verdict that the fragment names, or the first where there is no fragment. */
function showFirstMark(page, fragment) {
  const number = fragment ? Number(/^#mark=(\d+)$/.exec(fragment)?.[1] ?? NaN) : 0;
  if (page.data.marks[number]) return showMark(page, number);
}

/** The units of the shown verdict's cells. */
function markedCells({ data, state, entry }) {
  const mark = data.marks[state.mark];
  if (!mark) return null;
  const units = (side, tokens) => [...new Set(tokens.map((token) => entry[side][`${state.unit}Of`][token]))];
  return { rows: units("rows", mark.rows), expected: units("columns", mark.expected), contrast: units("columns", mark.contrast) };
}

startExplorer(document.getElementById("explorer"), JSON.parse(document.getElementById("explorer-data").textContent));
