// What is scored at the moment, in numbers.
import { amount, called, element, percent } from "./look.js";
import { makePlane } from "./plane.js";

const MOST_UNITS = 6;

/** Fills the panel beside the player with the scores of the moment. */
export function makeNow(place, store, account) {
  const about = element("p", { class: "now-about" });
  const parts = [];
  const content = [about];
  for (const task of account.tasks) {
    const make = { multiclass: makeClasses, multilabel: makeUnits, regression: makeValues };
    const [box, update] = make[task.kind](store, task);
    content.push(box);
    parts.push(update);
  }
  place.replaceChildren(...content);
  const update = () => {
    const face = store.current;
    const row = face ? face.rowOf(store.frame) : -1;
    about.replaceChildren(...aboutFace(store, face, row));
    for (const one of parts) one(face, row);
  };
  store.on(["frame", "face", "look"], update);
}

function aboutFace(store, face, row) {
  if (!face) return ["no face was found"];
  const many = store.faces.length > 1 || face.id !== 1;
  const who = many ? `Face ${face.id}` : "The face";
  if (row < 0) return [`${who} is not in this part`];
  const told = [];
  if (!face.flag("found")[row]) told.push("not found");
  if (face.flag("filled")[row]) told.push("scores filled from frames around");
  else if (!face.flag("scored")[row]) told.push("no scores");
  if (face.step > 1) told.push(`means of ${face.step} frames`);
  const strong = element("strong", {}, `${who} at this moment`);
  return told.length
    ? [strong, element("span", { class: "muted" }, ` ${told.join(", ")}`)]
    : [strong];
}

function bar(label, paint) {
  const fill = element("i");
  fill.style.background = paint;
  const value = element("span", { class: "bar-value" });
  const name = element("span", { class: "bar-name" }, label);
  const row = element(
    "div",
    { class: "bar" },
    name,
    element("span", { class: "bar-room" }, fill),
    value,
  );
  const set = (share) => {
    fill.style.width = `${Number.isNaN(share) ? 0 : 100 * Math.min(1, Math.max(0, share))}%`;
    value.textContent = percent(share);
  };
  return { row, set, name };
}

function makeClasses(_, task) {
  const bars = task.columns.map((name, i) => bar(name, `var(--kind-${task.colours[i]})`));
  const box = element("section", { "aria-label": task.title }, ...bars.map((one) => one.row));
  return [
    box,
    (face, row) => {
      const decided = row < 0 ? -1 : face.decided(task)[row];
      bars.forEach((one, i) => {
        one.set(row < 0 ? Number.NaN : face.scores(task, i)[row]);
        one.row.classList.toggle("is-most", i === decided);
      });
    },
  ];
}

function makeUnits(_, task) {
  const count = Math.min(MOST_UNITS, task.columns.length);
  const bars = Array.from({ length: count }, () => bar("", "var(--heat-1)"));
  const title = element(
    "h3",
    {},
    count < task.columns.length ? `${task.title}, strongest` : task.title,
  );
  const box = element(
    "section",
    { "aria-label": task.title },
    title,
    ...bars.map((one) => one.row),
  );
  return [
    box,
    (face, row) => {
      const all = task.columns.map((_, i) => [row < 0 ? Number.NaN : face.scores(task, i)[row], i]);
      all.sort((a, b) => b[0] - a[0] || a[1] - b[1]);
      bars.forEach((one, k) => {
        const [score, i] = all[k];
        one.name.textContent = called(task, i);
        one.set(score);
        const limit = task.thresholds ? task.thresholds[i] : 0.5;
        one.row.classList.toggle("is-most", score >= limit);
      });
    },
  ];
}

function makeValues(store, task) {
  const lines = task.columns.map(() => element("p", { class: "value" }));
  const box = element("section", { class: "values", "aria-label": task.title });
  const plane = task.columns.length === 2 ? makePlane(store, task) : null;
  box.append(element("div", {}, ...lines));
  if (plane) box.append(plane);
  return [
    box,
    (face, row) => {
      lines.forEach((line, i) => {
        const value = row < 0 ? Number.NaN : face.scores(task, i)[row];
        const spread = row < 0 ? null : face.spread(task, i);
        const isWide = spread && !Number.isNaN(spread[row]);
        line.replaceChildren(
          element("span", { class: "value-name" }, task.columns[i]),
          element("span", { class: "value-amount" }, amount(value)),
          isWide ? element("span", { class: "muted" }, ` ± ${amount(spread[row])}`) : "",
        );
      });
    },
  ];
}
