// The video, or pictures in its place, with the faces' boxes over it.
import { clock, colour, element, fitted } from "./look.js";

const SPEEDS = [0.25, 0.5, 1, 1.5, 2];

/** Makes the player of an input, and gives what others may ask of it. */
export class Player {
  /**
   * @param account What the page knows of the input.
   * @param store What all share.
   * @param places Elements: screen, controls, note.
   */
  constructor(account, store, places) {
    this.account = account;
    this.store = store;
    this.places = places;
    this.video = null;
    this.isPlaying = false;
    this.speed = 1;
    this.offset = null;
    this.boxes = element("canvas", { class: "boxes", "aria-hidden": "true" });
    places.screen.style.aspectRatio = `${account.width} / ${account.height}`;
    if (account.width < account.height) places.screen.classList.add("is-tall");
    const { video } = account;
    if (!video) this.#showPictures("");
    else if (video.why_not) this.#showPictures(`No player here: ${video.why_not}.`);
    else this.#showVideo(video.href);
    if (account.kind !== "image") this.#makeControls();
    store.on(["frame", "face", "look"], () => this.draw());
    new ResizeObserver(() => this.draw()).observe(places.screen);
  }

  /** Goes to a frame. */
  seek(index) {
    const { store } = this;
    store.setFrame(index);
    if (this.video) this.video.currentTime = this.#videoTime(store.frame);
  }

  /** Goes so many frames on; back where negative. */
  step(frames) {
    this.pause();
    this.seek(this.store.frame + frames);
  }

  /** Goes so many seconds on; back where negative. */
  skip(seconds) {
    const { frames, frame } = this.store;
    this.seek(frames.at(frames.times[frame] + seconds));
  }

  toggle() {
    if (this.isPlaying) this.pause();
    else this.play();
  }

  play() {
    if (this.account.kind === "image") return;
    const { store } = this;
    if (store.frame >= store.frames.count - 1) this.seek(0);
    if (this.video) {
      this.video.playbackRate = this.speed;
      this.video.play().catch(() => this.#told(false));
    } else {
      this.#told(true);
      this.#run();
    }
  }

  pause() {
    if (this.video) this.video.pause();
    this.#told(false);
  }

  #told(isPlaying) {
    this.isPlaying = isPlaying;
    if (!this.playButton) return;
    this.playButton.textContent = isPlaying ? "❚❚" : "►";
    this.playButton.setAttribute("aria-label", isPlaying ? "Pause" : "Play");
  }

  /** The time of the video that shows a frame, well inside of it. */
  #videoTime(frame) {
    return Math.max(0, this.store.frames.middle(frame) + (this.offset ?? 0));
  }

  #showVideo(address) {
    const video = element("video", {
      preload: "auto",
      playsinline: true,
      "aria-label": "Video",
      tabindex: "-1",
    });
    this.video = video;
    video.addEventListener("error", () => this.#lost());
    video.addEventListener("play", () => this.#told(true));
    video.addEventListener("pause", () => this.#told(false));
    video.addEventListener("loadedmetadata", () => {
      if (!video.videoWidth) this.#lost();
      else if (this.store.frames.firstNumber > 1) this.seek(this.store.frame);
    });
    video.src = address;
    this.places.screen.replaceChildren(video, this.boxes);
    this.places.screen.addEventListener("click", () => this.toggle());
    this.#follow(video);
  }

  /** Lets the moment follow what the video shows. */
  #follow(video) {
    if (!("requestVideoFrameCallback" in video)) {
      const look = () => {
        if (this.video !== video) return;
        if (this.isPlaying) this.#shows(video.currentTime);
        requestAnimationFrame(look);
      };
      requestAnimationFrame(look);
      return;
    }
    const shown = (_, { mediaTime }) => {
      if (this.video !== video) return;
      // The first picture is at 0 in the tables, and may be later in the player.
      this.offset ??= video.currentTime < 1e-3 ? mediaTime : 0;
      this.#shows(mediaTime);
      video.requestVideoFrameCallback(shown);
    };
    video.requestVideoFrameCallback(shown);
  }

  #shows(mediaTime) {
    const { store } = this;
    const time = mediaTime - (this.offset ?? 0);
    const half = (store.frames.middle(0) - store.frames.start) * 0.5;
    const frame = store.frames.at(time + Math.min(half, 0.01));
    if (this.isPlaying || !this.video.seeking) store.setFrame(frame);
    if (this.isPlaying && time > store.frames.end + 0.05) this.pause();
  }

  /** The video cannot be shown: pictures in its place, and a way to name the file. */
  #lost() {
    this.video?.pause();
    this.video = null;
    this.#told(false);
    const name = this.account.video.name;
    this.#showPictures(
      `The video cannot be played: ${name} is not where it was when this page was made, or this browser does not play its kind.`,
    );
    const picker = element("input", { type: "file", accept: "video/*", id: "pick-file" });
    picker.addEventListener("change", () => {
      const [file] = picker.files;
      if (!file) return;
      this.offset = null;
      this.places.note.hidden = true;
      this.#showVideo(URL.createObjectURL(file));
      this.video.addEventListener("loadedmetadata", () => this.#check(file.name));
    });
    this.places.note.append(
      element("label", { class: "button pick", for: "pick-file" }, "Choose the file", picker),
    );
  }

  /** Says where another video was chosen. */
  #check(name) {
    const { end } = this.store.frames;
    const found = this.video.duration;
    if (found + 0.5 < end) {
      this.#note(`${name} lasts ${clock(found)}, the tables ${clock(end)}: is it the same video?`);
    }
  }

  #note(...content) {
    this.places.note.replaceChildren(...content);
    this.places.note.hidden = false;
  }

  #showPictures(reason) {
    const { account, places } = this;
    const { strip, problems, video } = account;
    this.image = strip.length ? element("img", { alt: "" }) : null;
    this.caption = element("p", { class: "caption" });
    const empty = element("p", { class: "empty" }, "no pictures on this page");
    places.screen.replaceChildren(this.image ?? empty, this.boxes, this.caption);
    if (account.kind !== "image") places.screen.addEventListener("click", () => this.toggle());
    const lines = [reason, ...problems].filter(Boolean).map((one) => element("p", {}, one));
    if (video?.command) {
      lines.push(
        element(
          "p",
          {},
          "The same command with --save-video makes annotated.mp4, which plays; or make a copy that plays, and analyse that:",
        ),
        element("pre", { tabindex: "0" }, element("code", {}, video.command)),
      );
    }
    if (lines.length) this.#note(...lines);
    this.draw();
  }

  /** Plays pictures by a clock of their own. */
  #run() {
    const { frames } = this.store;
    let time = frames.times[this.store.frame];
    let before = performance.now();
    const go = (now) => {
      if (!this.isPlaying || this.video) return;
      time += ((now - before) / 1000) * this.speed;
      before = now;
      this.store.setFrame(frames.at(time));
      if (time >= frames.end) this.pause();
      else requestAnimationFrame(go);
    };
    requestAnimationFrame(go);
  }

  #makeControls() {
    const { controls } = this.places;
    const button = (text, label, act) => {
      const made = element("button", { type: "button", "aria-label": label, title: label }, text);
      made.addEventListener("click", act);
      return made;
    };
    this.playButton = button("►", "Play", () => this.toggle());
    this.playButton.classList.add("play");
    const speed = element(
      "select",
      { "aria-label": "Speed" },
      ...SPEEDS.map((one) => element("option", { value: one, selected: one === 1 }, `${one} ×`)),
    );
    speed.addEventListener("change", () => {
      this.speed = Number(speed.value);
      if (this.video) this.video.playbackRate = this.speed;
    });
    this.clock = element("span", { class: "clock" });
    controls.replaceChildren(
      button("◂|", "A frame back (left arrow)", () => this.step(-1)),
      this.playButton,
      button("|▸", "A frame on (right arrow)", () => this.step(1)),
      this.clock,
      speed,
    );
    const mute = button("mute", "Mute", () => {
      if (!this.video) return;
      this.video.muted = !this.video.muted;
      mute.setAttribute("aria-pressed", this.video.muted);
    });
    mute.setAttribute("aria-pressed", "false");
    if (this.video) controls.append(mute);
    controls.append(button("?", "Keys (?)", () => document.getElementById("help").showModal()));
    controls.hidden = false;
  }

  /** Draws the boxes of the moment, the picture where there is no video, and the time. */
  draw() {
    const { store, account } = this;
    let frame = store.frame;
    if (this.image) {
      const still = this.#nearest(store.time);
      if (this.image.src !== still.jpeg) this.image.src = still.jpeg;
      frame = store.frames.at(still.time);
      const isNow = Math.abs(still.time - store.time) < 0.02 || account.kind === "image";
      this.caption.textContent = isNow ? "" : `picture of ${clock(still.time)}`;
    }
    if (this.clock) {
      const number = store.frames.firstNumber + store.frame;
      this.clock.textContent = `${clock(store.time, 2)} · frame ${number.toLocaleString("en")}`;
    }
    this.#drawBoxes(frame);
  }

  #nearest(time) {
    const { strip } = this.account;
    return strip.reduce((best, one) =>
      Math.abs(one.time - time) < Math.abs(best.time - time) ? one : best,
    );
  }

  #drawBoxes(frame) {
    const room = this.places.screen.getBoundingClientRect();
    if (!room.width) return;
    const { drawing, wide, high, scale } = fitted(this.boxes, room.width, room.height);
    drawing.font = `600 ${12 * scale}px ${colour("font")}`;
    drawing.textBaseline = "middle";
    drawing.lineJoin = "round";
    this.store.faces.forEach((face, i) => {
      const box = face.box(frame);
      if (!box) return;
      const isCurrent = i === this.store.face;
      const [x, y, w, h] = [box[0] * wide, box[1] * high, box[2] * wide, box[3] * high];
      const paint = isCurrent ? "#ffd54a" : "#ffffff";
      for (const [width, ink] of [
        [isCurrent ? 4.5 : 3, "rgb(0 0 0 / 65%)"],
        [isCurrent ? 2.5 : 1.2, paint],
      ]) {
        drawing.lineWidth = width * scale;
        drawing.strokeStyle = ink;
        drawing.strokeRect(x, y, w, h);
      }
      const text = `${face.id}`;
      const [wideTag, highTag] = [drawing.measureText(text).width + 7 * scale, 15 * scale];
      const top = y >= highTag ? y - highTag : y;
      drawing.fillStyle = paint;
      drawing.fillRect(x - 1.5 * scale, top, wideTag, highTag);
      drawing.fillStyle = "#111111";
      drawing.fillText(text, x + 2 * scale, top + highTag / 2 + scale * 0.5);
    });
  }
}
