// Rows drawn on canvases: coverage, ribbon and stack of classes, heat map of units.
import { edges, means, rowsOf } from "./face_data.js";
import { called, colour, element, fitted, percent, ramp } from "./look.js";

const FLAG_PX = 8;
const RIBBON_PX = 18;
const STACK_PX = 130;
const HEAT_PX = 15;
const NO_CLASS = 255;

/** Which rows of the face lie under each pixel of a canvas, as wide as it. */
function boundsOf(store, wide) {
  return edges(store.current, store.from, store.to, wide);
}

/** Where the face was found, where scores are filled, what the network saw and heard. */
export function addCoverage(tracks, store) {
  const kinds = [
    ["found", "face found", "curve-0"],
    ["embedded", "seen by the network", "curve-2"],
    ["filled", "filled from frames around", "curve-1"],
    ["sound", "sound used", "curve-3"],
  ];
  for (const [flag, label, paint] of kinds) {
    if (!store.faces.some((face) => face.flag(flag).includes(1))) continue;
    const canvas = element("canvas", { class: "strip", role: "img", "aria-label": label });
    const draw = (width) => {
      const { drawing, wide, high } = fitted(canvas, width, FLAG_PX);
      const face = store.current;
      const values = face.flag(flag);
      const bounds = boundsOf(store, wide);
      drawing.fillStyle = colour(paint);
      for (let x = 0; x < wide; x++) {
        const [from, to] = rowsOf(bounds, x, face);
        let count = 0;
        for (let row = from; row < to; row++) count += values[row];
        if (!count) continue;
        drawing.globalAlpha = 0.25 + (0.75 * count) / (to - from);
        drawing.fillRect(x, 0, 1, high);
      }
      drawing.globalAlpha = 1;
    };
    tracks.add(
      label,
      [canvas],
      draw,
      (row) => [`${label}: ${store.current.flag(flag)[row] ? "yes" : "no"}`],
      "track-flag",
    );
  }
}

/** The class of each moment, over the probabilities of all classes. */
export function addClasses(tracks, store, task) {
  const ribbon = element("canvas", {
    class: "strip",
    role: "img",
    "aria-label": `Most probable class of ${task.title} over time`,
  });
  const stack = element("canvas", {
    class: "strip",
    role: "img",
    "aria-label": `Probabilities of ${task.title} over time, stacked`,
  });
  tracks.title(task.title, legend(task));
  const describe = (row) => describeClasses(store.current, task, row);
  tracks.add(
    "most probable",
    [ribbon],
    (width) => drawRibbon(ribbon, width, store, task),
    describe,
    "track-ribbon",
  );
  const scale = element(
    "div",
    { class: "scale", "aria-hidden": "true" },
    ...["100 %", "50", "0"].map((one) => element("span", {}, one)),
  );
  tracks.add(
    "probabilities, stacked",
    [scale, stack],
    (width) => drawStack(stack, width, store, task),
    describe,
    "track-stack",
  );
}

function legend(task) {
  const items = task.columns.map((name, i) => {
    const mark = element("i", { class: "swatch" });
    mark.style.background = `var(--kind-${task.colours[i]})`;
    return element("li", {}, mark, name);
  });
  return element("ul", { class: "legend" }, ...items);
}

function describeClasses(face, task, row) {
  const all = task.columns.map((name, i) => [face.scores(task, i)[row], name]);
  if (Number.isNaN(all[0][0])) return ["no scores"];
  all.sort((a, b) => b[0] - a[0]);
  return all.slice(0, 3).map(([score, name]) => `${name} ${percent(score)}`);
}

function drawRibbon(canvas, width, store, task) {
  const { drawing, wide, high } = fitted(canvas, width, RIBBON_PX);
  const face = store.current;
  const decided = face.decided(task);
  const bounds = boundsOf(store, wide);
  const paints = task.colours.map((one) => colour(`kind-${one}`));
  const counts = new Uint32Array(task.columns.length);
  let begun = 0;
  let last = -1;
  for (let x = 0; x <= wide; x++) {
    let best = -1;
    if (x < wide) {
      const [from, to] = rowsOf(bounds, x, face);
      counts.fill(0);
      for (let row = from; row < to; row++) {
        const one = decided[row];
        if (one === NO_CLASS) continue;
        counts[one]++;
        if (best < 0 || counts[one] > counts[best]) best = one;
      }
    }
    if (best !== last || x === wide) {
      if (last >= 0) {
        drawing.fillStyle = paints[last];
        drawing.fillRect(begun, 0, x - begun, high);
      }
      begun = x;
      last = best;
    }
  }
}

function drawStack(canvas, width, store, task) {
  const { drawing, wide, high } = fitted(canvas, width, STACK_PX);
  const face = store.current;
  const bounds = boundsOf(store, wide);
  const shares = task.columns.map((_, i) => means(face.scores(task, i), bounds, face));
  const base = new Float32Array(wide);
  for (let k = 0; k < shares.length; k++) {
    drawing.fillStyle = colour(`kind-${task.colours[k]}`);
    const share = shares[k];
    for (let x = 0; x < wide; ) {
      if (Number.isNaN(share[x])) {
        x++;
        continue;
      }
      const from = x;
      while (x < wide && !Number.isNaN(share[x])) x++;
      drawArea(drawing, base, share, from, x, high);
    }
    for (let x = 0; x < wide; x++) base[x] += share[x] || 0;
  }
}

/** The area between what is below and the share on top of it, for pixels in a row. */
function drawArea(drawing, base, share, from, to, high) {
  drawing.beginPath();
  drawing.moveTo(from, high * (1 - base[from]));
  for (let x = from; x < to; x++) {
    const y = high * (1 - base[x] - share[x]);
    drawing.lineTo(x, y);
    drawing.lineTo(x + 1, y);
  }
  for (let x = to - 1; x >= from; x--) {
    const y = high * (1 - base[x]) + 0.6;
    drawing.lineTo(x + 1, y);
    drawing.lineTo(x, y);
  }
  drawing.fill();
}

/** A row for each unit, darker where it is more probable, underlined where active. */
export function addUnits(tracks, store, task) {
  tracks.title(task.title, heatKey());
  task.columns.forEach((name, i) => {
    const canvas = element("canvas", {
      class: "strip",
      role: "img",
      "aria-label": `${called(task, i)}: probability over time`,
    });
    const words = task.words[i];
    const label = words
      ? [element("span", { class: "unit" }, name), ` ${words}`]
      : [element("span", { class: "unit" }, name)];
    tracks.add(
      label,
      [canvas],
      (width) => drawHeat(canvas, width, store, task, i),
      (row) => {
        const score = store.current.scores(task, i)[row];
        return [`${called(task, i)} ${percent(score)}`];
      },
      "track-heat",
    );
  });
}

function heatKey() {
  return element(
    "div",
    { class: "heat-key" },
    element("span", {}, "0 %"),
    element("i", { class: "heat-ramp" }),
    element("span", {}, "100 %"),
    element("i", { class: "heat-active" }),
    element("span", {}, "active"),
  );
}

function drawHeat(canvas, width, store, task, output) {
  const { drawing, wide, high, scale } = fitted(canvas, width, HEAT_PX);
  const face = store.current;
  const bounds = boundsOf(store, wide);
  const shades = ramp("heat-0", "heat-1");
  const values = means(face.scores(task, output), bounds, face);
  const limit = task.thresholds ? task.thresholds[output] : 0.5;
  const line = Math.max(2, Math.round(2.5 * scale));
  const active = colour("curve-1");
  for (let x = 0; x < wide; x++) {
    if (Number.isNaN(values[x])) continue;
    drawing.fillStyle = shades[Math.round(255 * Math.min(1, values[x]))];
    drawing.fillRect(x, 0, 1, high);
    if (values[x] >= limit) {
      drawing.fillStyle = active;
      drawing.fillRect(x, high - line, 1, line);
    }
  }
}
