// The page of an input: reads what it holds, and fills the page.

import { addCurves } from "./curves.js";
import { Face, Frames } from "./face_data.js";
import { makeTabs } from "./face_tabs.js";
import { listenToKeys } from "./keys.js";
import { element } from "./look.js";
import { makeMoments } from "./moments.js";
import { makeNow } from "./now_panel.js";
import { Player } from "./player.js";
import { Store } from "./store.js";
import { addClasses, addCoverage, addUnits } from "./strips.js";
import { Tracks } from "./tracks.js";
import { unpack } from "./unpack.js";

const find = (id) => document.getElementById(id);

async function start() {
  const account = JSON.parse(find("account").textContent);
  const column = await unpack(find("columns").textContent, account.blocks);
  const frames = new Frames(account, column);
  const faces = account.faces.map((one) => new Face(one, account, frames, column));
  const store = new Store(frames, faces);
  const player = new Player(account, store, {
    screen: find("screen"),
    controls: find("controls"),
    note: find("player-note"),
  });
  const seek = (index) => player.seek(index);
  makeTabs(find("tabs"), store);
  makeNow(find("now"), store, account);
  if (account.kind === "image") find("tracks").hidden = true;
  else makeTracks(store, account, seek);
  makeMoments(find("moments"), find("moments-list"), store, account, seek);
  listenToKeys(store, player);
  listenToLook(store);
  showShares();
  openAt(store, seek);
  store.tell("look");
  store.tell("view");
  document.documentElement.dataset.ready = "yes";
}

function makeTracks(store, account, seek) {
  const place = find("tracks");
  if (!store.faces.length) {
    place.append(element("p", { class: "muted" }, "No face was found, so there are no curves."));
    return;
  }
  const tracks = new Tracks(place, store, seek);
  addCoverage(tracks, store);
  const add = { multiclass: addClasses, multilabel: addUnits, regression: addCurves };
  for (const task of account.tasks) add[task.kind](tracks, store, task);
  if (account.step > 1) {
    place.append(
      element(
        "p",
        { class: "muted small" },
        `So long an input is shown as means of ${account.step} frames; the tables have each frame.`,
      ),
    );
  }
  store.on(["view", "face", "look"], () => tracks.draw());
}

/** Draws again in other colours: dark, light, and light for prints. */
function listenToLook(store) {
  const root = document.documentElement;
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => store.tell("look"));
  addEventListener("beforeprint", () => {
    root.dataset.theme = "light";
    root.classList.add("is-printing");
    store.tell("look");
    store.flush();
  });
  addEventListener("afterprint", () => {
    delete root.dataset.theme;
    root.classList.remove("is-printing");
    store.tell("look");
  });
}

/** Bars behind the shares of the summary. */
function showShares() {
  for (const cell of document.querySelectorAll("[data-share]")) {
    cell.style.setProperty("--share", `${cell.dataset.share}%`);
  }
}

/** Shows what the address asks for: page.html#face=2&time=12.5. */
function openAt(store, seek) {
  const asked = new URLSearchParams(location.hash.slice(1));
  const face = store.faces.findIndex((one) => String(one.id) === asked.get("face"));
  if (face >= 0) store.setFace(face);
  const time = Number(asked.get("time"));
  if (asked.has("time") && Number.isFinite(time)) seek(store.frames.at(time));
}

start().catch((error) => {
  const place = find("failure");
  place.textContent = `This page cannot be shown in this browser (${error.message}); expected one of 2023 or later. The summary below and the tables hold all the same.`;
  place.hidden = false;
  throw error;
});
