// Elements, colours and numbers as the page shows them. Texts are set as texts always.

/** An element with attributes, then children: elements, or texts. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

/** A colour of the style sheet, as it is now. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Colours from one of the style sheet's to another, 256 of them. */
export function ramp(from, to) {
  const [a, b] = [channels(colour(from)), channels(colour(to))];
  return Array.from({ length: 256 }, (_, i) => {
    const mixed = a.map((one, k) => Math.round(one + ((b[k] - one) * i) / 255));
    return `rgb(${mixed.join(" ")})`;
  });
}

function channels(hex) {
  return [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16));
}

/** A time as 4.25, 1:04.2 or 1:02:03. */
export function clock(seconds, decimals = 1) {
  const sign = seconds < 0 ? "-" : "";
  const unit = 10 ** decimals;
  const whole = Math.round(Math.abs(seconds) * unit);
  const rest = (whole % (60 * unit)) / unit;
  const minutes = Math.floor(whole / (60 * unit));
  const width = decimals ? 3 + decimals : 2;
  const padded = rest.toFixed(decimals).padStart(width, "0");
  if (minutes < 60) return `${sign}${minutes}:${padded}`;
  return `${sign}${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${padded}`;
}

/** A probability in percent. */
export function percent(value) {
  return Number.isNaN(value) ? "–" : `${Math.round(100 * value)} %`;
}

/** A value in its unit. */
export function amount(value) {
  if (Number.isNaN(value)) return "–";
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2);
}

/** What an output is called: its name, and in words where it has some. */
export function called(task, output) {
  const words = task.words[output];
  return words ? `${task.columns[output]} ${words}` : task.columns[output];
}

/** A canvas whose pixels are those of the screen; gives its drawing and size. */
export function fitted(canvas, width, height) {
  const scale = window.devicePixelRatio || 1;
  const wide = Math.max(1, Math.round(width * scale));
  const high = Math.max(1, Math.round(height * scale));
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide;
    canvas.height = high;
  }
  canvas.style.height = `${height}px`;
  const drawing = canvas.getContext("2d");
  drawing.setTransform(1, 0, 0, 1, 0, 0);
  drawing.clearRect(0, 0, wide, high);
  return { drawing, wide, high, scale };
}
