// The columns of numbers that a page holds: see blocks.py, which packs them.

/**
 * Reads the packed columns.
 * @param {string} text Base64 of gzip of all columns.
 * @param {number[][]} layout Bytes of a number, and how many, of each column.
 * @returns {Promise<(number) => Uint32Array>} Gives a column by its number.
 */
export async function unpack(text, layout) {
  const letters = atob(text);
  const packed = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) packed[i] = letters.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const starts = [];
  let end = 0;
  for (const [width, count] of layout) {
    starts.push(end);
    end += width * count;
  }
  if (end !== bytes.length) throw new Error(`${bytes.length} bytes; expected ${end}`);
  const known = new Map();
  return (number) => {
    if (!known.has(number)) {
      const [width, count] = layout[number];
      known.set(number, column(bytes, starts[number], width, count));
    }
    return known.get(number);
  };
}

/** A column of differences, its low and high bytes apart. */
function column(bytes, start, width, count) {
  const wrap = width === 4 ? 2 ** 32 : 2 ** (8 * width);
  const values = new Uint32Array(count);
  let value = 0;
  for (let i = 0; i < count; i++) {
    let step = 0;
    for (let k = width - 1; k >= 0; k--) step = step * 256 + bytes[start + k * count + i];
    value = (value + step) % wrap;
    values[i] = value;
  }
  return values;
}

/**
 * Numbers of a column in their unit; NaN where there is none.
 * @param {Uint32Array} whole The column.
 * @param {number} width Bytes of a number, of which the largest stands for none.
 * @param {number} low What 0 stands for.
 * @param {number} high What the largest but one stands for.
 */
export function scaled(whole, width, low, high) {
  const missing = 256 ** width - 1;
  const unit = (high - low) / (missing - 1);
  return Float32Array.from(whole, (one) => (one === missing ? Number.NaN : low + one * unit));
}
