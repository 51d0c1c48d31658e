// What leaves the explorer: a case, pictures, numbers and a link.
"use strict";

// A bound lies this far below the weight that it is for.
const BOUND_SHARE = 0.8;
// Of a text with more pairs, the others that reach a bound are not counted.
const MOST_PAIRS = 250_000;
// Words that YAML would read as something else than text.
const NOT_TEXT = /^(y|n|yes|no|true|false|on|off|null)$/i;

/** A value in YAML's flow style; text that could be read otherwise is quoted. */
function yamlValue(value) {
  if (Array.isArray(value)) return `[${value.map(yamlValue).join(", ")}]`;
  if (value !== null && typeof value === "object") {
    return `{${Object.entries(value).map(([key, entry]) => `${key}: ${yamlValue(entry)}`).join(", ")}}`;
  }
  if (typeof value !== "string") return String(value);
  if (/^[A-Za-z][A-Za-z0-9]*$/.test(value) && !NOT_TEXT.test(value)) return value;
  // JSON is YAML but for characters that YAML does not allow to stand for themselves.
  return JSON.stringify(value).replace(/[\u007f-\u009f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]/g, escapeUnit);
}

function escapeUnit(unit, at, text) {
  const code = text.charCodeAt(at);
  const pairs = /[\ud800-\udbff]$/.test(text[at]) ? /[\udc00-\udfff]/.test(text[at + 1] ?? "")
    : /[\udc00-\udfff]/.test(text[at]) && /[\ud800-\udbff]/.test(text[at - 1] ?? "");
  return pairs ? unit : `\\u${code.toString(16).padStart(4, "0")}`;
}

/** The bound for a weight, with slack; null for a weight too small for one. In thousandths. */
function boundFor(number) {
  const exact = BOUND_SHARE * number;
  const bound = exact >= 20 ? Math.floor(exact / 10) * 10 : Math.floor(exact);
  return bound >= 2 ? bound : null;
}

/** How many weights reach a bound: a number, or a range where rounding leaves it open. */
function countPassing(weights, bound, errors) {
  const sure = weights.filter((number, at) => number >= bound + errors[at]).length;
  const most = weights.filter((number, at) => number >= bound - errors[at]).length;
  return sure === most ? `${sure}` : `${sure} to ${most}`;
}

/** The same on any page: a weight that the page dropped may reach the bound as well. */
function describeCount({ maps }, weights, pieces, bound) {
  const errors = pieces.map((count) => 1000 * maps.worst[0] * count);
  if (!maps.dropped) return countPassing(weights, bound, errors);
  return `at least ${weights.filter((number, at) => number >= bound + errors[at]).length}`;
}

/** How many other pairs of the text reach a bound, in a sentence; sinks take no part. */
function describePairs(page, reader, bound) {
  const { entry, state } = page;
  const words = (side) => entry[side][state.unit].filter(({ sink }) => !sink);
  const [rows, columns] = [words("rows"), words("columns")];
  if (rows.length * columns.length > MOST_PAIRS) return "The text is too long to count the other pairs that reach it as well.";
  const [weights, pieces] = [[], []];
  for (const { index: row } of rows) {
    for (const { index: column, at } of columns) {
      if ((!entry.cross && row === column) || (row === state.from && column === state.to)) continue;
      const weight = reader.plain(row, column);
      if (!Number.isNaN(weight)) [weights[weights.length], pieces[pieces.length]] = [weight, at.length];
    }
  }
  return `Of the ${weights.length} other pairs of ${state.unit} of this text, ${describeCount(page, weights, pieces, bound)} reach it as well.`;
}

/** The case file of the chosen pair, or why there is none. */
async function caseOf(page) {
  const { entry, state, shownHeads } = page;
  if (state.from === null || state.to === null) return { problem: "Choose a word and a word that it attends to." };
  if (state.model === "change") return { problem: "A case is about one model: choose one of the two." };
  const [from, to] = [entry.rows[state.unit][state.from], entry.columns[state.unit][state.to]];
  const unnamed = [from, to].find(({ selector }) => selector === null);
  if (unnamed) return { problem: `No case can name ${unnamed.label} alone: choose words instead of pieces.` };
  const reader = await readerOf(entry, state.model, shownHeads, { unit: state.unit, sinks: "kept" });
  const bound = boundFor(reader.plain(state.from, state.to));
  if (bound === null) return { problem: "This weight is too small for a bound." };
  const weights = page.pairWeights ?? (isLarge(entry, page.maps) ? null : await pairWeights(entry, state.model, state.unit, state.from, state.to));
  const names = shownHeads.map((head) => entry.names[head]);
  const rule = {
    from: from.selector,
    to: to.selector,
    site: entry.site,
    heads: names.length === 1 ? names[0] : { in: names, how: "mean" },
    min: bound / 1000,
  };
  const heads = entry.heads.length;
  const passing = weights && describeCount(page, weights, weights.map(() => to.at.length), bound);
  return { text: caseText(entry.sample, rule, `${from.label} ${to.label}`, [describePassing(passing, heads), describePairs(page, reader, bound)]) };
}

function describePassing(passing, heads) {
  return passing === null ? "Colour the heads by the weight of the chosen pair to count those that reach this bound."
    : `${passing} of the ${heads} heads on the page reach this bound for this pair.`;
}

function caseText(sample, rule, words, comments) {
  const id = words.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "") || "pair";
  return [
    "version: 1",
    "suite: explored",
    "cases:",
    `  - id: ${yamlValue(id)}`,
    ...Object.entries(sample).map(([name, value]) => `    ${name}: ${yamlValue(value)}`),
    "    expect:",
    ...comments.map((comment) => `      # ${comment}`),
    "      # One text is no evidence; attnprobe find chooses heads over several.",
    `      - attends: ${yamlValue(rule)}`,
    "",
  ].join("\n");
}

async function drawCase(page) {
  const round = page.round;
  const found = await caseOf(page);
  if (round !== page.round) return;
  if (found.problem) {
    page.parts.case.replaceChildren(make("p", { class: "attn-muted", text: found.problem }));
    return;
  }
  const text = make("pre", { class: "attn-yaml", text: found.text, tabindex: 0 });
  const button = make("button", { type: "button", class: "attn-button", text: "Copy as case", click: () => copyText(text, button) });
  page.parts.case.replaceChildren(button, text);
}

/** Copies a text; where the page may not, selects it for the user to copy. */
async function copyText(element, button) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(element);
    button.textContent = document.execCommand("copy") ? "Copied" : "Selected: press Ctrl+C";
  }
}

/** The heatmap of the window as SVG. */
function mapShape(page) {
  const { map, colours } = page;
  const [cell, left, top] = [14, 130, 130];
  const [width, height] = [left + cell * map.columns.length + 10, top + cell * map.rows.length + 10];
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "font-family": "system-ui, sans-serif", "font-size": 11 });
  map.columns.forEach((label, at) => {
    const [x, y] = [left + cell * at + 11, top - 5];
    svg.append(shape("text", { x, y, transform: `rotate(-90 ${x} ${y})`, fill: colours.ink }, label));
  });
  map.rows.forEach((label, row) => {
    svg.append(shape("text", { x: left - 6, y: top + cell * row + 11, "text-anchor": "end", fill: colours.ink }, label));
    map.columns.forEach((_, column) => {
      const number = map.numbers[row * map.columns.length + column];
      if (Number.isNaN(number)) return;
      svg.append(shape("rect", { x: left + cell * column, y: top + cell * row, width: cell - 1, height: cell - 1,
        fill: colours[stepOf(number, page.scale, map.signed)] }));
    });
  });
  return svg;
}

/** A drawing as a document of its own, on the background of the page. */
function svgText(page, svg) {
  const copy = svg.cloneNode(true);
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.prepend(shape("rect", { width: "100%", height: "100%", fill: page.colours.card }));
  return new XMLSerializer().serializeToString(copy);
}

/** The window as comma-separated values: a line for each cell. */
function csvText(page) {
  const { map } = page;
  const lines = [["heads", "from position", "from", "to position", "to", "weight"]];
  map.rows.forEach((from, row) => map.columns.forEach((to, column) => {
    const number = map.numbers[row * map.columns.length + column];
    if (Number.isNaN(number)) return;
    lines.push([page.title(), page.window.rows[row], from, page.window.columns[column], to, (number / 1000).toFixed(4)]);
  }));
  return lines.map((line) => line.map(csvCell).join(",")).join("\r\n") + "\r\n";
}

function csvCell(value) {
  // A spreadsheet would compute a text that starts like a formula.
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) && Number.isNaN(Number(value)) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function exportShape(page, what) {
  return what === "map" ? mapShape(page) : page.parts[what].querySelector("svg");
}

async function exportAs(page, what, kind) {
  const name = `attention-${page.title().replace(/[^A-Za-z0-9]+/g, "-")}-${what}.${kind}`;
  if (kind === "csv") return save(name, new Blob([csvText(page)], { type: "text/csv" }));
  if (what in LATE) await drawLate(page, what);
  const svg = exportShape(page, what);
  if (!svg) return;
  const text = svgText(page, svg);
  if (kind === "svg") return save(name, new Blob([text], { type: "image/svg+xml" }));
  save(name, await pngOf(text, svg));
}

async function pngOf(text, svg) {
  const picture = new Image();
  picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await picture.decode();
  const [width, height] = ["width", "height"].map((side) => 2 * Number(svg.getAttribute(side)));
  const canvas = make("canvas", { width, height });
  canvas.getContext("2d").drawImage(picture, 0, 0, width, height);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

function save(name, blob) {
  const link = make("a", { download: name, href: URL.createObjectURL(blob) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** The state as a fragment: `#L3H1,L4H2,from=2,to=5,unit=pieces`. */
function linkOf({ entry, state, data }) {
  const parts = state.locked.map((head) => entry.names[head]);
  for (const name of ["from", "to"]) if (state[name] !== null) parts.push(`${name}=${state[name]}`);
  if (state.unit !== "words") parts.push(`unit=${state.unit}`);
  if (state.sinks !== "muted") parts.push(`sinks=${state.sinks}`);
  if (state.direction !== "to") parts.push(`tint=${state.direction}`);
  if (data.entries.length > 1) parts.push(`at=${data.entries.indexOf(entry)}`);
  if (entry.maps.length > 1) parts.push(`model=${state.model}`);
  return `#${parts.join(",")}`;
}

function writeLink(page) {
  try {
    history.replaceState(null, "", linkOf(page));
  } catch {
    // In a notebook's frame a page has no history.
  }
}

/** The state that a fragment names; whatever it does not understand, it leaves out. */
function readLink(data) {
  const parts = decodeURIComponent(location.hash.slice(1)).split(",").filter(Boolean);
  const values = Object.fromEntries(parts.filter((part) => part.includes("=")).map((part) => part.split("=", 2)));
  const at = Number(values.at ?? 0);
  const entry = data.entries[at] ?? data.entries[0];
  const unit = values.unit === "pieces" ? "pieces" : "words";
  const number = (name, count) => (/^\d+$/.test(values[name] ?? "") && Number(values[name]) < count ? Number(values[name]) : null);
  const found = { entry: data.entries.indexOf(entry), unit };
  const locked = parts.map((part) => entry.names.indexOf(part)).filter((head) => head >= 0);
  if (locked.length) found.locked = [...new Set(locked)];
  const [from, to] = [number("from", entry.rows[unit].length), number("to", entry.columns[unit].length)];
  if (from !== null || to !== null) Object.assign(found, { from, to });
  if (["kept", "muted", "out"].includes(values.sinks)) found.sinks = values.sinks;
  if (["to", "by"].includes(values.tint)) found.direction = values.tint;
  if (values.model === "change" || entry.maps[values.model]) found.model = values.model === "change" ? "change" : Number(values.model);
  return found;
}
