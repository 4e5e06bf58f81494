// Everything over one axis of time: one cursor, one way to go somewhere and to zoom.
import { clock, element } from "./look.js";

const STEPS = [0.04, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
const DRAG_PX = 5;

/** Rows of drawings under each other, and what lies over all of them. */
export class Tracks {
  /**
   * @param place The element to fill.
   * @param store What all share.
   * @param seek Goes to a frame.
   */
  constructor(place, store, seek) {
    this.store = store;
    this.seek = seek;
    this.rows = [];
    this.list = element("div", { class: "track-list" });
    this.axis = element("div", { class: "axis", "aria-hidden": "true" });
    this.handle = this.#slider();
    this.grid = element("div", { class: "gridlines", "aria-hidden": "true" });
    this.head = element("div", { class: "playhead" });
    this.hover = element("div", { class: "hoverline", hidden: true });
    this.selection = element("div", { class: "selection", hidden: true });
    this.tip = element("div", { class: "tip", hidden: true, "aria-hidden": "true" });
    this.overlay = element(
      "div",
      { class: "overlay" },
      this.grid,
      this.selection,
      this.hover,
      this.head,
    );
    this.body = element("div", { class: "track-body" }, this.list, this.overlay, this.tip);
    place.append(this.#toolbar(), this.body);
    this.list.append(
      element(
        "div",
        { class: "track track-axis" },
        element("div", { class: "track-label" }),
        element("div", { class: "track-plot" }, this.axis, this.handle),
      ),
    );
    this.#listen();
    store.on(["view", "look"], () => this.#placeAxis());
    store.on(["view", "frame", "look"], () => this.#placeHead());
    // Everything is drawn again where the room changes.
    this.width = 0;
    new ResizeObserver(() => {
      if (this.measure() !== this.width) store.tell("look");
    }).observe(this.body);
  }

  #toolbar() {
    const button = (text, label, act) => {
      const made = element("button", { type: "button", "aria-label": label, title: label }, text);
      made.addEventListener("click", act);
      return made;
    };
    const { store } = this;
    this.whole = button("Whole length", "Show the whole length (0)", () => store.showAll());
    this.span = element("span", { class: "muted small span" });
    this.overview = element(
      "div",
      { class: "overview", "aria-hidden": "true" },
      element("div", { class: "overview-window" }),
    );
    this.#dragOverview();
    return element(
      "div",
      { class: "toolbar no-print" },
      element(
        "div",
        { class: "toolbar-buttons", role: "group", "aria-label": "Zoom" },
        button("+", "Zoom in (+)", () => store.zoom(0.5)),
        button("−", "Zoom out (−)", () => store.zoom(2)),
        this.whole,
      ),
      this.overview,
      this.span,
    );
  }

  /** The moment as a slider, for keys and for those who listen to the page. */
  #slider() {
    return element("div", {
      class: "handle",
      role: "slider",
      tabindex: "0",
      "aria-label": "Moment",
      "aria-valuemin": this.store.frames.firstNumber,
      "aria-valuemax": this.store.frames.firstNumber + this.store.frames.count - 1,
    });
  }

  /**
   * Adds a row.
   * @param {string} label What it shows.
   * @param {HTMLElement[]} content What stands in the plot's place.
   * @param draw Draws it, given the width of the plot in pixels.
   * @param describe Words for a row of the face, shown at the pointer.
   */
  add(label, content, draw, describe = null, kind = "") {
    const name = element("div", { class: "track-label" });
    if (typeof label === "string") name.textContent = label;
    else name.append(...label);
    const plot = element("div", { class: "track-plot" }, ...content);
    const row = element("div", { class: `track ${kind}` }, name, plot);
    this.list.append(row);
    this.rows.push({ row, draw, describe });
  }

  /** A title over the rows that follow. */
  title(text, more = null) {
    this.list.append(element("div", { class: "track-title" }, element("h3", {}, text), more ?? ""));
  }

  clear() {
    for (const child of [...this.list.children].slice(1)) child.remove();
    this.rows = [];
  }

  measure() {
    return Math.floor(this.axis.getBoundingClientRect().width);
  }

  draw() {
    this.width = this.measure();
    for (const { draw } of this.rows) draw(this.width);
  }

  #x(time) {
    const { from, to } = this.store;
    return ((time - from) / (to - from || 1)) * this.width;
  }

  #time(x) {
    const { from, to } = this.store;
    return from + (Math.min(Math.max(x, 0), this.width) / (this.width || 1)) * (to - from);
  }

  #placeAxis() {
    this.width = this.measure();
    const { from, to } = this.store;
    const per = this.width / (to - from || 1);
    const step = STEPS.find((one) => one * per >= 70) ?? STEPS.at(-1);
    const decimals = step < 0.1 ? 2 : step < 1 ? 1 : 0;
    const labels = [];
    const lines = [];
    for (let i = Math.ceil(from / step - 1e-6); i * step <= to + 1e-9; i++) {
      const left = `${this.#x(i * step)}px`;
      const label = element("span", {}, clock(i * step, decimals));
      label.style.left = left;
      labels.push(label);
      const line = element("i");
      line.style.left = left;
      lines.push(line);
    }
    this.axis.replaceChildren(...labels);
    this.grid.replaceChildren(...lines);
    const { start, end } = this.store.frames;
    const window = this.overview.firstElementChild;
    window.style.left = `${(100 * (from - start)) / (end - start || 1)}%`;
    window.style.width = `${(100 * (to - from)) / (end - start || 1)}%`;
    this.whole.disabled = !this.store.isZoomed;
    this.overview.classList.toggle("is-whole", !this.store.isZoomed);
    this.span.textContent = `${clock(from)} to ${clock(to)}`;
  }

  #placeHead() {
    const { store } = this;
    const x = this.#x(store.time);
    const inside = x >= -1 && x <= this.width + 1;
    this.head.hidden = !inside;
    this.handle.hidden = !inside;
    this.head.style.transform = `translateX(${x}px)`;
    this.handle.style.left = `${x}px`;
    const number = store.frames.firstNumber + store.frame;
    this.handle.setAttribute("aria-valuenow", number);
    this.handle.setAttribute("aria-valuetext", `${clock(store.time, 2)}, frame ${number}`);
  }

  #listen() {
    const { overlay, store } = this;
    let begun = null;
    overlay.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      begun = { x: event.offsetX, moved: false };
      overlay.setPointerCapture(event.pointerId);
    });
    overlay.addEventListener("pointermove", (event) => {
      const x = this.#own(event);
      this.#showTip(event, x);
      if (!begun) return;
      if (Math.abs(x - begun.x) > DRAG_PX) begun.moved = true;
      if (begun.moved && event.pointerType !== "touch") {
        const [left, right] = [Math.min(x, begun.x), Math.max(x, begun.x)];
        this.selection.hidden = false;
        this.selection.style.left = `${Math.max(0, left)}px`;
        this.selection.style.width = `${Math.min(right, this.width) - Math.max(0, left)}px`;
      }
    });
    const end = (event) => {
      if (!begun) return;
      const x = this.#own(event);
      const { x: from, moved } = begun;
      begun = null;
      this.selection.hidden = true;
      if (event.type !== "pointerup") return;
      if (!moved) this.seek(store.frames.at(this.#time(x)));
      else if (event.pointerType !== "touch") {
        const [a, b] = [this.#time(Math.min(x, from)), this.#time(Math.max(x, from))];
        store.setView(a, b - a);
      }
    };
    overlay.addEventListener("pointerup", end);
    overlay.addEventListener("pointercancel", end);
    overlay.addEventListener("pointerleave", () => {
      this.tip.hidden = true;
      this.hover.hidden = true;
    });
    overlay.addEventListener("dblclick", () => store.showAll());
    overlay.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey && !event.metaKey) return;
        event.preventDefault();
        store.zoom(event.deltaY > 0 ? 1.25 : 0.8, this.#time(this.#own(event)));
      },
      { passive: false },
    );
  }

  #own(event) {
    return event.clientX - this.overlay.getBoundingClientRect().left;
  }

  #showTip(event, x) {
    if (event.pointerType === "touch" || x < 0 || x > this.width) {
      this.tip.hidden = true;
      this.hover.hidden = true;
      return;
    }
    const { store } = this;
    const frame = store.frames.at(this.#time(x));
    const face = store.current;
    const row = face ? face.rowOf(frame) : -1;
    const under = this.rows.find(({ row: one }) => {
      const box = one.getBoundingClientRect();
      return event.clientY >= box.top && event.clientY < box.bottom;
    });
    const number = store.frames.firstNumber + frame;
    const told = [`${clock(store.frames.times[frame], 2)} · frame ${number}`];
    if (row >= 0 && under?.describe) told.push(...under.describe(row));
    this.tip.replaceChildren(...told.map((line) => element("div", {}, line)));
    this.tip.hidden = false;
    this.hover.hidden = false;
    this.hover.style.transform = `translateX(${x}px)`;
    const body = this.body.getBoundingClientRect();
    const left = event.clientX - body.left;
    const flip = left > body.width - this.tip.offsetWidth - 24;
    this.tip.style.left = `${flip ? left - this.tip.offsetWidth - 14 : left + 14}px`;
    this.tip.style.top = `${event.clientY - body.top + 14}px`;
  }

  #dragOverview() {
    const { overview, store } = this;
    const go = (event) => {
      if (!(event.buttons & 1)) return;
      const box = overview.getBoundingClientRect();
      const share = (event.clientX - box.left) / box.width;
      const { start, end } = store.frames;
      const length = store.to - store.from;
      store.setView(start + share * (end - start) - length / 2, length);
    };
    overview.addEventListener("pointerdown", (event) => {
      overview.setPointerCapture(event.pointerId);
      go(event);
    });
    overview.addEventListener("pointermove", go);
  }
}
