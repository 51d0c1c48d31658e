// Attention rollout: from what each layer hands on, if it comes with the page, or from the maps of
// all heads.
"use strict";

/** For each layer from the top a function from a target to what it hands on, from 0 to 1. */
async function* rowsOfLayers(entry, maps) {
  const length = entry.rows.pieces.length;
  const numbers = maps.flow === null ? null : joinBytes(await readBlock(maps.flow));
  const count = numbers ? numbers.length / length ** 2 : entry.layers.length;
  for (let index = count - 1; index >= 0; index--) {
    if (numbers) {
      const row = (target) => numbers.subarray((index * length + target) * length, (index * length + target + 1) * length);
      yield (target) => Float64Array.from(row(target), (number) => number / 65535);
    } else {
      const heads = [...entry.heads.keys()].filter((head) => entry.heads[head][0] === entry.layers[index]);
      const sources = await sourcesOf(entry, maps, heads);
      yield (target) => mixedRow(sources, target, 1000 * maps.worst[1]);
    }
  }
}

/**
 * The mean row of some heads with the residual connection, as in attnprobe/rules/flow.py.
 * A sum that rounding alone (`error`, in thousandths) keeps from 1 is taken as 1.
 */
function mixedRow(sources, target, error) {
  const [{ columns, causal }] = sources;
  const row = new Float64Array(columns);
  const last = causal ? target : columns - 1;
  let [before, after] = [0, 0];
  for (let source = 0; source <= last; source++) {
    let weight = 0;
    for (const map of sources) weight += weightAt(map, target, source);
    before += weight;
    // At a causal site a weight is divided by the number of rows that see its source.
    row[source] = causal ? weight / (target - source + 1) : weight;
    after += row[source];
  }
  const all = 1000 * sources.length;
  if (Math.abs(before - all) <= error * sources.length) before = all;
  const scale = after > 0 ? before / after / (before + all) : 0;
  for (let source = 0; source <= last; source++) row[source] *= scale;
  row[target] += all / (before + all);
  return row;
}

/**
 * What reaches a unit at the top from each unit of each layer below.
 *
 * Returns `{shares, edges}`: `shares[depth][unit]` from the top to the input, and for each step
 * the flow between some units, `edges[depth][above * shown.length + below]` by their places.
 */
async function rollOut(page, units, start, shown) {
  const { entry, maps, round } = page;
  const length = entry.rows.pieces.length;
  const unitOf = entry.rows[`${page.state.unit}Of`];
  const placeOf = units.map(({ index }) => shown.indexOf(index));
  let mass = new Float64Array(length);
  for (const token of units[start].at) mass[token] = 1 / units[start].at.length;
  const found = { shares: [sumByUnit(mass, unitOf, units.length)], edges: [] };
  for await (const rowOf of rowsOfLayers(entry, maps)) {
    if (round !== page.round) return null;
    const below = new Float64Array(length);
    const flows = new Float64Array(shown.length ** 2);
    mass.forEach((share, target) => {
      if (!share) return;
      const above = placeOf[unitOf[target]];
      rowOf(target).forEach((part, source) => {
        const place = placeOf[unitOf[source]];
        below[source] += share * part;
        if (above >= 0 && place >= 0) flows[above * shown.length + place] += share * part;
      });
    });
    mass = below;
    found.shares.push(sumByUnit(mass, unitOf, units.length));
    found.edges.push(flows);
  }
  return found;
}

function sumByUnit(mass, unitOf, count) {
  const sums = new Float64Array(count);
  mass.forEach((share, token) => (sums[unitOf[token]] += share));
  return sums;
}
