// The strongest moments of each class of a face, with stills.
import { clock, element, percent } from "./look.js";

/** Fills the list of moments, for the face that is shown. */
export function makeMoments(section, list, store, account, seek) {
  const tasks = account.tasks.filter((task) => task.kind === "multiclass");
  if (!tasks.length || !store.faces.length) return;
  section.hidden = false;
  const fill = () => {
    const groups = tasks.map((task) => {
      const rows = task.columns.map((_, i) => row(store, account, task, i, seek));
      const title = tasks.length > 1 ? [element("h3", {}, task.title)] : [];
      return element("div", {}, ...title, element("ul", { class: "moment-rows" }, ...rows));
    });
    list.replaceChildren(...groups);
  };
  fill();
  store.on(["face"], fill);
}

function row(store, account, task, output, seek) {
  const face = store.current;
  const found = account.moments.filter(
    (one) => one.face_id === face.id && one.task === task.name && one.column === output,
  );
  const mark = element("i", { class: "swatch" });
  mark.style.background = `var(--kind-${task.colours[output]})`;
  const name = element("span", { class: "moment-name" }, mark, task.columns[output]);
  if (!found.length) {
    const most = face
      .scores(task, output)
      .reduce((a, b) => (Number.isNaN(b) ? a : Math.max(a, b)), 0);
    const told = `no clear moment (at most ${percent(most)})`;
    return element("li", {}, name, element("span", { class: "muted small" }, told));
  }
  const stills = found.map((one) => still(store, account, task, one, seek));
  return element("li", {}, name, element("div", { class: "stills" }, ...stills));
}

function still(store, account, task, moment, seek) {
  const index = moment.frame - account.first_frame;
  const time = store.frames.times[index];
  const told = `${clock(time)} · ${percent(moment.score)}`;
  const label = `${task.columns[moment.column]}, ${percent(moment.score)}, at ${clock(time)}`;
  const button = element("button", { type: "button", class: "still", "aria-label": label });
  if (moment.still) {
    button.append(element("img", { src: moment.still, alt: "", width: 144, height: 144 }));
  }
  button.append(element("span", {}, told));
  button.addEventListener("click", () => seek(index));
  return button;
}
