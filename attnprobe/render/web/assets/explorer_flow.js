// The flow of the explorer: attention rollout from one word down through the layers, as a drawing.
"use strict";

// The height of a layer; lower where there are many.
const FLOW_STEP = 34;
const LOW_FLOW_STEP = 22;
const MANY_LAYERS = 14;
const LEAST_FLOW = 0.03;
const MOST_FLOW_WORDS = 60;

async function drawFlow(page) {
  const { maps, entry, state, parts } = page;
  const units = entry.rows[state.unit];
  const problem = state.model === "change" ? "Rollout is that of one model: choose one of the two."
    : maps.noFlow || null;
  const start = state.from ?? state.to;
  if (problem || start === null) {
    parts.flow.replaceChildren(make("p", { class: "attn-muted", text: problem ?? "Choose a word to see what reaches it." }));
    return;
  }
  const before = page.window.rows.filter((unit) => !entry.causal || unit <= start).slice(0, MOST_FLOW_WORDS);
  const shown = [...new Set([...before, start])].sort((a, b) => a - b);
  const rolled = await rollOut(page, units, start, shown);
  if (!rolled) return;
  parts.flow.replaceChildren(
    make("div", { class: "attn-map-scroll" }, flowShape(page, rolled, shown, start)),
    make("p", { class: "attn-muted", text:
      "From the output at the top to the input. Widths leave out what stays at its word by the residual connection" +
        `${state.sinks === "kept" ? "" : " and what comes from sinks (grey)"}; each layer has its own scale.` +
        `${maps.flow === null ? " Computed from the rounded weights of this page; what a row lost by rounding is spread evenly over it." : ""}` }),
    reachedTable(rolled, units, start),
  );
}

function flowShape(page, { shares, edges }, shown, start) {
  const { colours, entry, state } = page;
  const left = 40;
  const columns = Math.max(14, Math.min(64, (page.parts.flow.clientWidth - left - 20) / shown.length));
  const step = edges.length > MANY_LAYERS ? LOW_FLOW_STEP : FLOW_STEP;
  const height = step * (shares.length - 1) + 90;
  const width = left + columns * shown.length + 10;
  const x = (place) => left + columns * (place + 0.5);
  const y = (depth) => 16 + step * depth;
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "font-size": 12,
    "font-family": "system-ui, sans-serif", "aria-label": `rollout from ${entry.rows[state.unit][start].label}` });
  edges.forEach((flows, depth) => {
    for (const path of flowPaths(page, flows, shown, start, depth, x, y)) svg.append(path);
    svg.append(shape("text", { x: 2, y: y(depth + 0.5) + 4, fill: colours.muted }, `L${edges.length - 1 - depth}`));
  });
  shares.forEach((share, depth) => {
    const most = Math.max(...share.filter((_, unit) => unit !== start && (state.sinks === "kept" || !entry.rows[state.unit][unit].sink)), 1e-6);
    shown.forEach((unit, place) => {
      const radius = unit === start ? 4.5 : 4.5 * Math.sqrt(Math.min(share[unit] / most, 1));
      if (radius < 0.7) return;
      const dot = shape("circle", { cx: x(place), cy: y(depth), r: radius.toFixed(2),
        fill: unit === start ? colours.h1 : state.sinks !== "kept" && entry.rows[state.unit][unit].sink ? colours.rule : colours.h0 });
      dot.append(shape("title", {}, `${entry.rows[state.unit][unit].label}: ${(share[unit]).toFixed(3)}`));
      svg.append(dot);
    });
  });
  shown.forEach((unit, place) => {
    const at = [x(place) + 4, y(shares.length - 1) + 14];
    svg.append(shape("text", { x: at[0], y: at[1], transform: `rotate(-55 ${at[0]} ${at[1]})`, "text-anchor": "end",
      fill: unit === start ? colours.ink : colours.muted, "font-weight": unit === start ? 700 : 400 },
    entry.rows[state.unit][unit].label));
  });
  return svg;
}

/**
 * The flows of one layer; widths on the layer's own scale, without what stays at its word and,
 * unless sinks are kept, without what comes from sinks.
 */
function flowPaths(page, flows, shown, start, depth, x, y) {
  const units = page.entry.rows[page.state.unit];
  const muted = (source) => page.state.sinks !== "kept" && units[source].sink && source !== start;
  const most = strongestFlow(flows, shown, muted);
  const found = [];
  shown.forEach((target, above) => {
    shown.forEach((source, below) => {
      const flow = flows[above * shown.length + below];
      const stays = target === source;
      if (stays ? flow === 0 : flow < LEAST_FLOW * most) return;
      const middle = y(depth + 0.5);
      const d = `M${x(above)} ${y(depth)}C${x(above)} ${middle} ${x(below)} ${middle} ${x(below)} ${y(depth + 1)}`;
      found.push(shape("path", { d, fill: "none", ...flowLook(page, flow / most, stays || muted(source), target === start) }));
    });
  });
  return found;
}

function strongestFlow(flows, shown, muted) {
  let most = 1e-6;
  flows.forEach((flow, at) => {
    const below = at % shown.length;
    if (Math.floor(at / shown.length) !== below && !muted(shown[below])) most = Math.max(most, flow);
  });
  return most;
}

function flowLook({ colours }, share, muted, fromStart) {
  if (muted) return { stroke: colours.rule, "stroke-width": 1.2 };
  const width = Math.min(share, 1);
  return {
    stroke: fromStart ? colours.h1 : colours.h0,
    "stroke-width": (0.5 + 6 * width).toFixed(2),
    "stroke-opacity": (0.25 + 0.65 * width).toFixed(2),
  };
}

/** The rollout in numbers: the share of each word of the input, the largest first. */
function reachedTable({ shares }, units, start) {
  const share = shares.at(-1);
  const order = units.map(({ index }) => index).sort((a, b) => share[b] - share[a]);
  const list = make("ul", { class: "attn-reached" });
  for (const unit of order) {
    list.append(make("li", { "data-unit": unit }, make("bdi", { text: units[unit].label }), ` ${share[unit].toFixed(3)}`));
  }
  return make("details", {}, make("summary", {},
    "What reaches ", make("bdi", { text: units[start].label }), " through all layers, in numbers"), list);
}
