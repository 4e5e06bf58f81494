// What all parts of the page share: the moment, the span of time shown, the face.

export class Store {
  /** @param frames The input's frames; @param faces Its faces. */
  constructor(frames, faces) {
    this.frames = frames;
    this.faces = faces;
    this.frame = 0;
    this.face = 0;
    this.from = frames.start;
    this.to = frames.end;
    this.listeners = [];
    this.changed = new Set();
  }

  get time() {
    return this.frames.count ? this.frames.times[this.frame] : 0;
  }

  get current() {
    return this.faces[this.face];
  }

  /**
   * Calls a function after changes, once a picture of the screen.
   * @param {string[]} kinds Of "frame", "view", "face", "look".
   */
  on(kinds, listener) {
    this.listeners.push([kinds, listener]);
  }

  tell(kind) {
    if (!this.changed.size) requestAnimationFrame(() => this.flush());
    this.changed.add(kind);
  }

  /** Calls all that wait for a change, now. */
  flush() {
    const changed = this.changed;
    this.changed = new Set();
    for (const [kinds, listener] of this.listeners) {
      if (kinds.some((kind) => changed.has(kind))) listener();
    }
  }

  setFrame(index) {
    const frame = Math.min(Math.max(index, 0), this.frames.count - 1);
    if (frame === this.frame) return;
    this.frame = frame;
    this.tell("frame");
    const { time, from, to } = this;
    if (time < from || time > to) this.setView(time - (to - from) * 0.1, to - from);
  }

  setFace(index) {
    if (index === this.face || index < 0 || index >= this.faces.length) return;
    this.face = index;
    this.tell("face");
  }

  /** Shows a span of time, moved into the input where it lies beyond. */
  setView(from, length) {
    const { start, end } = this.frames;
    const least = Math.min(end - start, 4 * this.#meanFrame());
    const span = Math.min(Math.max(length, least), end - start);
    this.from = Math.min(Math.max(from, start), end - span);
    this.to = this.from + span;
    this.tell("view");
  }

  #meanFrame() {
    return (this.frames.end - this.frames.start) / Math.max(this.frames.count, 1);
  }

  /** Zooms around a time by a factor; below 1 shows less. */
  zoom(factor, around = this.time) {
    const length = (this.to - this.from) * factor;
    const share = (around - this.from) / (this.to - this.from || 1);
    this.setView(around - share * length, length);
  }

  showAll() {
    this.setView(this.frames.start, this.frames.end - this.frames.start);
  }

  get isZoomed() {
    return this.to - this.from < (this.frames.end - this.frames.start) * 0.999;
  }
}
