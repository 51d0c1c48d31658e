// The report: opens and filters cases, follows links to them, reads numbers out of maps.
// Everything that is hidden without this script is built by Python and escaped there.

const reportCases = document.getElementById("report-cases");

/** Inserts the details of a case, which are packed or kept for readers without scripts, once. */
async function fillCase(details) {
  const holder = details.querySelector(":scope > .attn-body[data-place]");
  if (!holder) return;
  const { place } = holder.dataset;
  delete holder.dataset.place;
  const template = document.createElement("template");
  const kept = holder.querySelector("noscript");
  template.innerHTML = kept ? kept.textContent : (await groupOf(details))[place];
  prepareMaps(template.content);
  holder.replaceWith(template.content);
}

const groups = new WeakMap();

/** The details that are packed with those of a case: the first script after it has them. */
function groupOf(details) {
  let script = details;
  while (!script.matches("script")) script = script.nextElementSibling;
  if (!groups.has(script)) {
    groups.set(script, inflate(script.textContent).then((bytes) => new TextDecoder().decode(bytes).split("\0")));
  }
  return groups.get(script);
}

/** Gives each map a place in the order of the keyboard, a line that reads a cell, and a switch. */
function prepareMaps(root) {
  for (const scroll of root.querySelectorAll(".attn-hover")) {
    const table = scroll.querySelector("table");
    table.tabIndex = 0;
    const readout = document.createElement("output");
    readout.className = "attn-readout";
    readout.textContent = "point at a cell, or use the arrow keys";
    scroll.after(readout);
    if (table.querySelector("td.s")) readout.after(scaleSwitch(table));
  }
}

/** A button that lets sinks count in the scale of a map, and back. */
function scaleSwitch(table) {
  const button = document.createElement("button");
  const caption = table.closest("figure").querySelector("figcaption");
  const ofWords = caption.textContent;
  button.type = "button";
  button.className = "attn-switch";
  button.textContent = "scale with sinks";
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => {
    const withSinks = button.getAttribute("aria-pressed") === "false";
    button.setAttribute("aria-pressed", String(withSinks));
    table.classList.toggle("attn-all", withSinks);
    const top = recolour(table, withSinks);
    caption.textContent = withSinks
      ? `rows attend to columns; colours to ${top.toFixed(2)}, the scale of all tokens`
      : ofWords;
  });
  return button;
}

/** The number of a cell in thousandths; NaN for one that the mask hides. */
function numberOf(cell) {
  const text = cell.textContent.replace("−", "-");
  return text ? Math.round(Number(text) * 1000) : NaN;
}

/** Colours the cells of a map anew; returns the number of the strongest colour. */
function recolour(table, withSinks) {
  const cells = [...table.tBodies[0].querySelectorAll("td")];
  const numbers = cells.map(numberOf);
  let top = 1;
  cells.forEach((cell, at) => {
    const counts = withSinks || !cell.classList.contains("s");
    if (counts && numbers[at] > top) top = numbers[at];
  });
  cells.forEach((cell, at) => {
    if (Number.isNaN(numbers[at])) return;
    const marks = [...cell.classList].slice(1);
    cell.className = [stepOf(numbers[at], top / 1000, false), ...marks].join(" ");
    cell.removeAttribute("bgcolor");
  });
  return top / 1000;
}

/** Says what a cell of a map holds: its row, its column, its number. */
function readCell(cell) {
  const table = cell.closest("table");
  table.querySelector(".attn-here")?.classList.remove("attn-here");
  cell.classList.add("attn-here");
  const row = cell.parentElement.cells[0].textContent;
  const column = table.tHead.rows[0].cells[cell.cellIndex].textContent;
  const value = cell.textContent ? (numberOf(cell) / 1000).toFixed(3) : "not visible";
  table.closest(".attn-hover").nextElementSibling.textContent = `${row} → ${column}: ${value}`;
}

const STEPS_OF_KEYS = {
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
};

function moveInMap(event) {
  const step = STEPS_OF_KEYS[event.key];
  const table = event.target.closest?.(".attn-hover > table");
  if (!step || !table) return;
  event.preventDefault();
  const here = table.querySelector(".attn-here");
  const rows = table.tBodies[0].rows;
  const row = here ? here.parentElement.sectionRowIndex + step[0] : 0;
  const column = here ? here.cellIndex + step[1] : 1;
  const cell = column > 0 ? rows[row]?.cells[column] : null;
  if (cell) {
    readCell(cell);
    cell.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
}

/** Opens the case that the fragment of the address names. */
async function followLink() {
  const details = document.getElementById(location.hash.slice(1));
  if (!details?.classList.contains("attn-case")) return;
  if (details.hidden) reportCases.querySelector(".attn-filter").reset();
  reportCases.querySelector(".attn-filter").dispatchEvent(new Event("input"));
  details.open = true;
  await fillCase(details);
  details.scrollIntoView();
  details.querySelector("summary").focus({ preventScroll: true });
}

/** Shows the cases that the form asks for, and says how many. */
function filterCases(form, entries) {
  const text = form.elements.text.value.trim().toLowerCase();
  const suite = form.elements.suite?.value ?? "";
  const model = form.elements.model?.value ?? "";
  const boxes = [...form.querySelectorAll("input[name=state]")];
  const states = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
  const rooms = new Map();
  let shown = 0;
  for (const entry of entries) {
    const wanted =
      states.has(entry.state) &&
      (!suite || entry.suite === suite) &&
      (!model || entry.model === model) &&
      entry.text.includes(text);
    if (entry.shown !== wanted) entry.details.hidden = !wanted;
    entry.shown = wanted;
    shown += wanted;
    if (wanted) rooms.set(entry.room, (rooms.get(entry.room) ?? 0) + (entry.details.open ? 700 : 46));
  }
  for (const room of reportCases.querySelectorAll(".attn-some")) {
    room.style.containIntrinsicHeight = `${rooms.get(room) ?? 0}px`;
  }
  form.querySelector("output").textContent = `${shown} of ${entries.length} cases`;
}

/** What the search looks through: the line of a case, its place, its sentences. */
function textOf(details) {
  const parts = details.querySelectorAll("summary, .attn-muted, .attn-text, .attn-sentence");
  return [...parts].map((part) => part.textContent).join(" ").toLowerCase();
}

function startFilter() {
  const form = reportCases.querySelector(".attn-filter");
  const all = [...reportCases.querySelectorAll(".attn-case")];
  const entries = all.map((details) => ({
    ...details.dataset,
    details,
    room: details.parentElement,
    text: textOf(details),
    shown: true,
  }));
  const filter = () => filterCases(form, entries);
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  filter();
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.matches("input, select, textarea")) return;
    event.preventDefault();
    form.elements.text.focus();
  });
}

/** The environment is the least of the report: folded, until somebody opens it. */
function foldEnvironment() {
  document.getElementById("environment")?.classList.add("hidden");
  document.getElementById("environment-header")?.classList.add("collapsed");
}

/** Draws open cases shortly before they come in sight, and all of them for the printer. */
function drawOpenCases() {
  const draw = (entries) => entries.forEach(({ isIntersecting, target }) => isIntersecting && drawCase(target));
  const observer = new IntersectionObserver(draw, { rootMargin: "800px" });
  const drawCase = async (details) => {
    observer.unobserve(details);
    await fillCase(details);
    showMarked(details);
  };
  const open = () => reportCases.querySelectorAll(".attn-case[open]");
  for (const details of open()) {
    prepareMaps(details);
    observer.observe(details);
  }
  const toggled = ({ target }) => target.matches(".attn-case[open]") && observer.observe(target);
  reportCases.addEventListener("toggle", toggled, true); // the event does not bubble
  addEventListener("beforeprint", () => open().forEach(fillCase));
}

/** Scrolls long texts to the first word that an expectation names. */
function showMarked(details) {
  for (const text of details.querySelectorAll(".attn-long")) {
    const word = text.querySelector(".attn-from, .attn-to");
    if (word) text.scrollTop = word.offsetTop - word.offsetHeight;
  }
}

function startReport() {
  reportCases.addEventListener("pointerover", (event) => {
    const cell = event.target.closest(".attn-hover tbody td");
    if (cell) readCell(cell);
  });
  reportCases.addEventListener("keydown", moveInMap);
  drawOpenCases();
  startFilter();
  foldEnvironment();
  addEventListener("hashchange", followLink);
  addEventListener("load", followLink);
}

startReport();
