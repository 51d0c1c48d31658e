// What the scripts of all pages share: packed numbers, and the steps of a map's colours.
"use strict";

const STEPS = 32;

/** Inflates base64 text to bytes. */
async function inflate(text) {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = characters.charCodeAt(at);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** The class of the colour of a value in thousandths, for a scale up to `scale`. */
function stepOf(number, scale, signed) {
  const share = Math.min(Math.abs(number) / (1000 * scale), 1);
  if (!signed) return `m${Math.floor(share * (STEPS - 1) + 0.5)}`;
  const at = Math.floor(share * (STEPS / 2) + 0.5);
  return at ? `${number < 0 ? "n" : "p"}${at}` : "m0";
}
