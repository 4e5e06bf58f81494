// Values over time, drawn by uPlot: curves, with bands where seeds disagree.
import { edges, rowsOf } from "./face_data.js";
import { amount, colour, element } from "./look.js";

/* global uPlot */
const HEIGHT_PX = 170;
const AXIS_PX = 40;
const MAX_POINTS = 4000;
const DASHES = [[], [7, 3], [2, 3], [10, 3, 2, 3]];

/** The curves of a task of values. */
export function addCurves(tracks, store, task) {
  const host = element("div", {
    class: "curves",
    role: "img",
    "aria-label": `${task.columns.join(", ")} over time`,
  });
  tracks.title(task.title, curveKey(task));
  let plot = null;
  let style = "";
  const draw = (width) => {
    const now = `${colour("text")} ${colour("curve-0")}`;
    if (plot && style !== now) {
      plot.destroy();
      plot = null;
    }
    style = now;
    const data = points(store, task, width);
    const size = { width: width + AXIS_PX, height: HEIGHT_PX };
    plot ??= new uPlot(options(task, size, limits(task)), data, host);
    if (plot.width !== size.width) plot.setSize(size);
    plot.setData(data, false);
    plot.setScale("x", { min: store.from, max: store.to });
  };
  tracks.add(
    task.columns.join(", "),
    [host],
    draw,
    (row) => describeValues(store.current, task, row),
    "track-curves",
  );
}

/** Values of a row in words, with their spread over seeds. */
export function describeValues(face, task, row) {
  return task.columns.map((name, i) => {
    const value = face.scores(task, i)[row];
    const spread = face.spread(task, i);
    const more = spread && !Number.isNaN(spread[row]) ? ` ± ${amount(spread[row])}` : "";
    return `${name} ${amount(value)}${more}`;
  });
}

function curveKey(task) {
  const items = task.columns.map((name, i) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 28 8");
    svg.setAttribute("aria-hidden", "true");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
    line.setAttribute("d", "M0 4H28");
    line.setAttribute("stroke-dasharray", DASHES[i % DASHES.length].join(" ") || "none");
    line.style.stroke = `var(--curve-${i % 6})`;
    svg.append(line);
    return element("li", {}, svg, name);
  });
  if (task.spread) items.push(element("li", { class: "muted" }, "band: ± 1 sd over seeds"));
  return element("ul", { class: "legend" }, ...items);
}

/** Least and largest value of the axis, with a little room. */
function limits(task) {
  const room = (task.high - task.low) * 0.04;
  return [task.low - room, task.high + room];
}

function options(task, size, [low, high]) {
  const series = [{}];
  const bands = [];
  task.columns.forEach((name, i) => {
    const stroke = colour(`curve-${i % 6}`);
    const place = series.length;
    series.push({
      label: name,
      stroke,
      width: 1.8,
      dash: DASHES[i % DASHES.length],
      points: { show: false },
    });
    if (task.spread) {
      series.push({ stroke: "transparent", points: { show: false } });
      series.push({ stroke: "transparent", points: { show: false } });
      bands.push({ series: [place + 1, place + 2], fill: faint(stroke) });
    }
  });
  const grid = { stroke: colour("grid"), width: 1 };
  return {
    ...size,
    padding: [8, 0, 8, 0],
    legend: { show: false },
    cursor: { show: false },
    select: { show: false },
    scales: { x: { time: false, auto: false }, y: { range: [low, high] } },
    axes: [
      { show: false },
      {
        size: AXIS_PX,
        gap: 4,
        stroke: colour("muted"),
        font: "11px sans-serif",
        grid,
        ticks: { show: false },
      },
    ],
    series,
    bands,
  };
}

/** The colour of a curve as that of its band. */
function faint(hex) {
  return `${hex}38`;
}

/** What uPlot draws: the rows in view, or least and largest of so many bins. */
function points(store, task, width) {
  const face = store.current;
  const { from, to } = store;
  const parts = Math.min(MAX_POINTS / 2, Math.max(50, width));
  const bounds = edges(face, from, to, parts);
  const first = Math.max(0, bounds[0]);
  const last = Math.min(face.rows, bounds[parts] + 2);
  return last - first <= 2 * parts
    ? allPoints(face, task, first, last)
    : binPoints(face, task, from, to, bounds);
}

function allPoints(face, task, first, last) {
  const times = Array.from(face.times.subarray(first, last));
  const data = [times];
  task.columns.forEach((_, i) => {
    const values = face.scores(task, i);
    const spread = face.spread(task, i);
    const some = (get) => times.map((_, k) => known(get(first + k)));
    data.push(some((row) => values[row]));
    if (spread) {
      data.push(some((row) => values[row] + spread[row]));
      data.push(some((row) => values[row] - spread[row]));
    }
  });
  return data;
}

function binPoints(face, task, from, to, bounds) {
  const parts = bounds.length - 1;
  const times = Array.from({ length: 2 * parts }, (_, k) => {
    return from + ((to - from) * (k + 0.5)) / (2 * parts);
  });
  const data = [times];
  task.columns.forEach((_, i) => {
    const values = face.scores(task, i);
    const spread = face.spread(task, i);
    const curve = new Array(2 * parts).fill(null);
    const upper = new Array(2 * parts).fill(null);
    const lower = new Array(2 * parts).fill(null);
    for (let part = 0; part < parts; part++) {
      const [begin, end] = rowsOf(bounds, part, face);
      let [least, most, high, low] = [-1, -1, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
      for (let row = begin; row < end; row++) {
        const value = values[row];
        if (Number.isNaN(value)) continue;
        if (least < 0 || value < values[least]) least = row;
        if (most < 0 || value > values[most]) most = row;
        if (spread) {
          high = Math.max(high, value + spread[row]);
          low = Math.min(low, value - spread[row]);
        }
      }
      if (least < 0) continue;
      const at = 2 * part;
      curve[at] = values[Math.min(least, most)];
      curve[at + 1] = values[Math.max(least, most)];
      upper[at] = upper[at + 1] = high;
      lower[at] = lower[at + 1] = low;
    }
    data.push(curve);
    if (spread) data.push(upper, lower);
  });
  return data;
}

function known(value) {
  return Number.isNaN(value) ? null : value;
}
