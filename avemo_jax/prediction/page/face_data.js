// The input's frames and faces as the page draws them.
import { scaled } from "./unpack.js";

const FLAGS = { found: 1, filled: 2, embedded: 4, sound: 8, scored: 16 };
const BOX_LOW = -0.5;
const BOX_HIGH = 1.5;

/** When frames are shown, in seconds. */
export class Frames {
  constructor(account, column) {
    const { first, unit, block } = account.times;
    this.times = Float64Array.from(column(block), (one) => first + one * unit);
    this.count = this.times.length;
    this.start = this.count ? this.times[0] : 0;
    this.end = this.count ? this.times[this.count - 1] + account.last : 0;
    this.firstNumber = account.first_frame;
  }

  /** Index of the frame that is shown at a time. */
  at(time) {
    return Math.max(0, after(this.times, time + 1e-6) - 1);
  }

  /** A time at which a frame is shown, well inside of it. */
  middle(index) {
    const until = index + 1 < this.count ? this.times[index + 1] : this.end;
    return (this.times[index] + until) / 2;
  }
}

/** Number of the ascending values that are at most `value`. */
function after(values, value) {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** One face: its rows, which are of one frame or of several. */
export class Face {
  constructor(about, account, frames, column) {
    this.id = about.id;
    this.merged = about.merged;
    this.first = about.first;
    this.numFrames = about.rows;
    this.step = account.step;
    this.rows = Math.ceil(about.rows / account.step);
    this.frames = frames;
    this.account = account;
    this.column = column;
    this.about = about;
    this.known = new Map();
    this.times = Float64Array.from(
      { length: this.rows },
      (_, row) => frames.times[this.first + row * this.step],
    );
    const last = this.first + this.numFrames;
    this.end = last < frames.count ? frames.times[last] : frames.end;
  }

  /** Scores of a task's output in its unit, a number for each row. */
  scores(task, output) {
    return this.#numbers(`${task.name} ${output}`, task, "scores", output);
  }

  /** Standard deviation over seeds; null where the model has one seed. */
  spread(task, output) {
    if (!this.about.tasks[task.name].spread) return null;
    return this.#numbers(`${task.name} ${output} sd`, task, "spread", output);
  }

  #numbers(key, task, kind, output) {
    if (!this.known.has(key)) {
      const block = this.about.tasks[task.name][kind][output];
      const width = this.account.blocks[block][0];
      const [low, high] =
        kind === "spread" ? [0, (task.high - task.low) / 2] : [task.low, task.high];
      this.known.set(key, scaled(this.column(block), width, low, high));
    }
    return this.known.get(key);
  }

  /** Number of the class in each row; 255 where there is none. */
  decided(task) {
    return this.column(this.about.tasks[task.name].decided);
  }

  /** Whether something holds in each row: 0 or more. */
  flag(name) {
    const key = `flag ${name}`;
    if (!this.known.has(key)) {
      const bits = this.column(this.about.flags);
      this.known.set(
        key,
        Uint8Array.from(bits, (one) => (one & FLAGS[name] ? 1 : 0)),
      );
    }
    return this.known.get(key);
  }

  /** The row of a frame; -1 where the face has none. */
  rowOf(frame) {
    const own = frame - this.first;
    return own < 0 || own >= this.numFrames ? -1 : Math.floor(own / this.step);
  }

  /** Left, top, width and height as shares of the picture; null where it is not found. */
  box(frame) {
    const own = frame - this.first;
    if (own < 0 || own >= this.numFrames || !this.column(this.about.found)[own]) return null;
    const { apart, blocks } = this.about.boxes;
    if (!this.boxes) {
      this.boxes = blocks.map((one) => scaled(this.column(one), 2, BOX_LOW, BOX_HIGH));
    }
    const before = Math.floor(own / apart);
    const next = Math.min(before + 1, this.boxes[0].length - 1);
    const from = before * apart;
    const to = Math.min(next * apart, this.numFrames - 1);
    const share = to > from ? (own - from) / (to - from) : 0;
    const found = this.boxes.map((one) => {
      const [a, b] = [one[before], one[next]];
      if (Number.isNaN(a)) return b;
      return Number.isNaN(b) || share === 0 ? a : a + (b - a) * share;
    });
    return found.some(Number.isNaN) ? null : found;
  }

  /** Share of the input's frames in which it was found. */
  get share() {
    const found = this.column(this.about.found);
    let count = 0;
    for (const one of found) count += one;
    return count / this.frames.count;
  }
}

/**
 * Which rows lie under each of so many equal parts of a span of time.
 * @returns {Int32Array} First row of each part, and the end of the last; rows before the
 *   face are -1.
 */
export function edges(face, from, to, parts) {
  const found = new Int32Array(parts + 1);
  let row = after(face.times, from + 1e-9) - 1;
  for (let i = 0; i <= parts; i++) {
    const time = from + ((to - from) * i) / parts + 1e-9;
    while (row + 1 < face.rows && face.times[row + 1] <= time) row++;
    found[i] = time >= face.end ? face.rows : row;
  }
  return found;
}

/** The rows of a part: from, and to without it; empty where the face has none. */
export function rowsOf(bounds, part, face) {
  const from = bounds[part];
  if (from < 0 && bounds[part + 1] < 0) return [0, 0];
  const first = Math.max(from, 0);
  return [first, Math.min(face.rows, Math.max(bounds[part + 1], first + 1))];
}

/** Means of values over the rows of each part; NaN where there are none. */
export function means(values, bounds, face) {
  const found = new Float32Array(bounds.length - 1);
  for (let part = 0; part < found.length; part++) {
    const [from, to] = rowsOf(bounds, part, face);
    let sum = 0;
    let count = 0;
    for (let row = from; row < to; row++) {
      if (!Number.isNaN(values[row])) {
        sum += values[row];
        count++;
      }
    }
    found[part] = count ? sum / count : Number.NaN;
  }
  return found;
}
