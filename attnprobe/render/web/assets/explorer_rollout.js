// Attention rollout: from what each layer hands on, if it comes with the page, or from the maps of
// all heads.
"use strict";

/** For each layer from the top a function from a target to what it hands on, from 0 to 1. */
async function* rowsOfLayers(entry, maps) {
  const length = entry.rows.pieces.length;
  const numbers = maps.flow === null ? null : joinBytes(await readBlock(maps.flow));
  const sums = numbers ? null : joinBytes(await readBlock(maps.rowSums));
  const count = numbers ? numbers.length / length ** 2 : entry.layers.length;
  for (let index = count - 1; index >= 0; index--) {
    if (numbers) {
      const row = (target) => numbers.subarray((index * length + target) * length, (index * length + target + 1) * length);
      yield (target) => Float64Array.from(row(target), (number) => number / 65535);
    } else {
      const heads = [...entry.heads.keys()].filter((head) => entry.heads[head][0] === entry.layers[index]);
      const sources = await sourcesOf(entry, maps, heads);
      const window = entry.windows[entry.layers[index]] ?? Infinity;
      yield (target) => mixedRow(sources, target, { sum: sums[index * length + target] / 65535, window });
    }
  }
}

/**
 * The mean row of some heads with the residual connection, as in attnprobe/rules/flow.py.
 * `sum` is that of the row before its weights were rounded, from 0 to 1.
 */
function mixedRow(sources, target, { sum, window }) {
  const [{ columns, causal }] = sources;
  const row = meanRow(sources, target);
  fitSum(row, sum, { first: Math.max(0, target - window + 1), last: Math.min(causal ? target : target + window - 1, columns - 1) });
  // At a causal site a weight is divided by the number of rows that see its source.
  if (causal) row.forEach((weight, source) => (row[source] = source <= target ? weight / (target - source + 1) : 0));
  const after = sumUp(row);
  const scale = after > 0 ? sum / after / (sum + 1) : 0;
  row.forEach((weight, source) => (row[source] = weight * scale));
  row[target] += 1 / (sum + 1);
  return row;
}

function meanRow(sources, target) {
  return Float64Array.from({ length: sources[0].columns }, (_, source) => {
    let total = 0;
    for (const map of sources) total += weightAt(map, target, source);
    return total / (1000 * sources.length);
  });
}

/**
 * Gives a row the sum that it had. What rounding took is spread evenly over the visible keys, since
 * it is the least weights that vanish; what rounding added is taken in proportion.
 */
function fitSum(row, sum, { first, last }) {
  const found = sumUp(row);
  if (found > sum) row.forEach((weight, source) => (row[source] = (weight * sum) / found));
  else for (let source = first; source <= last; source++) row[source] += (sum - found) / (last - first + 1);
}

function sumUp(row) {
  return row.reduce((total, weight) => total + weight, 0);
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
