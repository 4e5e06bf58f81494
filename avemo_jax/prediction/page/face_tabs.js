// A tab for each face.
import { element, percent } from "./look.js";

/** Fills the list of tabs; there is none for one face. */
export function makeTabs(list, store) {
  if (store.faces.length < 2) return;
  const tabs = store.faces.map((face, i) => {
    const share = element("span", { class: "muted small" }, ` ${percent(face.share)}`);
    const tab = element(
      "button",
      { type: "button", role: "tab", id: `face-${face.id}`, "aria-controls": "tracks" },
      `Face ${face.id}`,
      share,
    );
    tab.title = `Face ${face.id}: found in ${percent(face.share)} of the frames`;
    tab.addEventListener("click", () => store.setFace(i));
    return tab;
  });
  list.append(...tabs);
  list.hidden = false;
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const place = { Home: 0, End: tabs.length - 1 }[event.key];
    if (step === undefined && place === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    store.setFace(place ?? (store.face + step + tabs.length) % tabs.length);
    tabs[store.face].focus();
  });
  const mark = () => {
    tabs.forEach((tab, i) => {
      tab.setAttribute("aria-selected", i === store.face);
      tab.tabIndex = i === store.face ? 0 : -1;
    });
  };
  mark();
  store.on(["face"], mark);
}
