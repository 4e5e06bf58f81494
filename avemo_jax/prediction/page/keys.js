// What keys do, wherever the focus is that needs them not itself.

/** Lets keys move the player, choose faces and zoom. */
export function listenToKeys(store, player) {
  const help = document.getElementById("help");
  const acts = {
    " ": () => player.toggle(),
    ArrowLeft: ({ shiftKey }) => (shiftKey ? player.skip(-1) : player.step(-1)),
    ArrowRight: ({ shiftKey }) => (shiftKey ? player.skip(1) : player.step(1)),
    Home: () => player.seek(0),
    End: () => player.seek(store.frames.count - 1),
    "+": () => store.zoom(0.5),
    "=": () => store.zoom(0.5),
    "-": () => store.zoom(2),
    0: () => store.showAll(),
    "?": () => help.showModal(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    const { target, key } = event;
    if (target.closest("input, select, textarea")) return;
    if (key === " " && target.closest("button, a, summary, label")) return;
    const face = key >= "1" && key <= "9" && key.length === 1 ? Number(key) : 0;
    if (face) store.setFace(store.faces.findIndex((one) => one.id === face));
    else if (!acts[key]) return;
    else acts[key](event);
    event.preventDefault();
  });
}
