// Two values against each other: where the face is, where it came from, where it was.
import { colour, element, fitted } from "./look.js";

const SIZE_PX = 190;
const TRAIL_S = 3;
const CELLS = 40;

/** A plane of a task of two values, such as valence and arousal. */
export function makePlane(store, task) {
  const canvas = element("canvas", {
    class: "plane",
    role: "img",
    "aria-label": `${task.columns[0]} across, ${task.columns[1]} upwards: the moment, the ${TRAIL_S} s before, and where the face was at all`,
  });
  store.on(["frame", "face", "look"], () => draw(canvas, store, task));
  const [across, upwards] = task.columns;
  return element(
    "figure",
    { class: "plane-box" },
    canvas,
    element(
      "figcaption",
      { class: "small muted" },
      `${across} →, ${upwards} ↑; ${TRAIL_S} s of trail`,
    ),
  );
}

function draw(canvas, store, task) {
  const { drawing, wide, high, scale } = fitted(canvas, SIZE_PX, SIZE_PX);
  canvas.style.width = `${SIZE_PX}px`;
  const span = task.high - task.low;
  const x = (value) => ((value - task.low) / span) * wide;
  const y = (value) => high - ((value - task.low) / span) * high;
  drawFrame(drawing, wide, high, scale);
  const face = store.current;
  if (!face) return;
  const [first, second] = [face.scores(task, 0), face.scores(task, 1)];
  drawWhereabouts(drawing, wide, cells(face, task, first, second));
  const row = face.rowOf(store.frame);
  if (row < 0) return;
  drawTrail(drawing, face, row, (at) => [x(first[at]), y(second[at])], scale);
  if (Number.isNaN(first[row])) return;
  const spreads = [face.spread(task, 0), face.spread(task, 1)];
  if (spreads[0] && !Number.isNaN(spreads[0][row])) {
    drawing.beginPath();
    const [a, b] = spreads.map((one) => (one[row] / span) * wide);
    drawing.ellipse(x(first[row]), y(second[row]), a, b, 0, 0, 2 * Math.PI);
    drawing.fillStyle = colour("curve-0");
    drawing.globalAlpha = 0.18;
    drawing.fill();
    drawing.globalAlpha = 1;
  }
  drawing.beginPath();
  drawing.arc(x(first[row]), y(second[row]), 5.5 * scale, 0, 2 * Math.PI);
  drawing.fillStyle = colour("playhead");
  drawing.fill();
  drawing.lineWidth = 2 * scale;
  drawing.strokeStyle = colour("surface");
  drawing.stroke();
}

function drawFrame(drawing, wide, high, scale) {
  drawing.fillStyle = colour("sunken");
  drawing.fillRect(0, 0, wide, high);
  drawing.strokeStyle = colour("line-strong");
  drawing.lineWidth = scale;
  drawing.beginPath();
  drawing.moveTo(wide / 2, 0);
  drawing.lineTo(wide / 2, high);
  drawing.moveTo(0, high / 2);
  drawing.lineTo(wide, high / 2);
  drawing.stroke();
}

/** How many rows lie in each cell of the plane; counted once for a face. */
function cells(face, task, first, second) {
  const key = `cells ${task.name}`;
  if (!face.known.has(key)) {
    const counts = new Uint32Array(CELLS * CELLS);
    const place = (value) =>
      Math.min(CELLS - 1, Math.floor(((value - task.low) / (task.high - task.low)) * CELLS));
    for (let row = 0; row < face.rows; row++) {
      if (Number.isNaN(first[row]) || Number.isNaN(second[row])) continue;
      counts[place(second[row]) * CELLS + place(first[row])]++;
    }
    face.known.set(key, counts);
  }
  return face.known.get(key);
}

function drawWhereabouts(drawing, wide, counts) {
  const most = counts.reduce((a, b) => Math.max(a, b), 1);
  const side = wide / CELLS;
  drawing.fillStyle = colour("curve-0");
  counts.forEach((count, i) => {
    if (!count) return;
    drawing.globalAlpha = 0.1 + 0.35 * Math.sqrt(count / most);
    const [column, line] = [i % CELLS, Math.floor(i / CELLS)];
    drawing.fillRect(column * side, wide - (line + 1) * side, side, side);
  });
  drawing.globalAlpha = 1;
}

function drawTrail(drawing, face, row, place, scale) {
  let from = row;
  while (from > 0 && face.times[row] - face.times[from - 1] <= TRAIL_S) from--;
  drawing.lineWidth = 2 * scale;
  drawing.lineCap = "round";
  drawing.strokeStyle = colour("playhead");
  for (let at = from + 1; at <= row; at++) {
    const [a, b] = [place(at - 1), place(at)];
    if (Number.isNaN(a[0]) || Number.isNaN(b[0])) continue;
    drawing.globalAlpha = 0.1 + (0.75 * (at - from)) / (row - from);
    drawing.beginPath();
    drawing.moveTo(...a);
    drawing.lineTo(...b);
    drawing.stroke();
  }
  drawing.globalAlpha = 1;
}
