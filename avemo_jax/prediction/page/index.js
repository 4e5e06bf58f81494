// The page over all inputs: sorting, filtering, tiny curves.
import { colour } from "./look.js";

const RIBBON_PX = 8;
const table = document.getElementById("inputs");
const body = table.tBodies[0];
const rows = [...body.rows];
const { letters } = JSON.parse(document.getElementById("letters").textContent);

/** Sorts by a column, the other way round when asked again. */
function sortBy(header) {
  const column = header.cellIndex;
  const isNumber = header.classList.contains("number");
  const before = header.ariaSort;
  const ascending = before ? before !== "ascending" : !isNumber;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const key = (row) => row.cells[column].dataset.key;
  const compare = new Intl.Collator("en", { numeric: true }).compare;
  const sign = ascending ? 1 : -1;
  rows.sort((a, b) => {
    const [one, other] = [key(a), key(b)];
    if (one === "" || other === "") return (one === "") - (other === "");
    return sign * (isNumber ? one - other : compare(one, other));
  });
  body.append(...rows);
}

function filter(text) {
  const wanted = text.trim().toLowerCase();
  let shown = 0;
  for (const row of rows) {
    row.hidden = !row.cells[0].dataset.key.includes(wanted);
    shown += !row.hidden;
  }
  document.getElementById("count").textContent = wanted ? `${shown} of ${rows.length} rows` : "";
}

/** Draws a face's classes as a ribbon, and its first value as a curve below. */
function drawTiny(canvas) {
  const text = canvas.dataset.tiny;
  const scale = window.devicePixelRatio || 1;
  canvas.width = 180 * scale;
  canvas.height = 34 * scale;
  if (!text) return;
  const drawing = canvas.getContext("2d");
  const bins = text.length / 2;
  const hasCurve = [...text.slice(bins)].some((one) => letters.includes(one));
  const ribbon = hasCurve ? RIBBON_PX * scale : canvas.height;
  const wide = canvas.width / bins;
  for (let i = 0; i < bins; i++) {
    const kind = letters.indexOf(text[i]);
    if (kind < 0) continue;
    drawing.fillStyle = colour(`kind-${kind % 12}`);
    drawing.fillRect(Math.floor(i * wide), 0, Math.ceil(wide), ribbon);
  }
  const top = (RIBBON_PX + 3) * scale;
  const high = canvas.height - top - 2 * scale;
  drawing.strokeStyle = colour("curve-0");
  drawing.lineWidth = 1.4 * scale;
  drawing.lineJoin = "round";
  drawing.beginPath();
  let isBegun = false;
  for (let i = 0; i < bins; i++) {
    const step = letters.indexOf(text[bins + i]);
    if (step < 0) {
      isBegun = false;
      continue;
    }
    const point = [(i + 0.5) * wide, top + high * (1 - step / (letters.length - 1))];
    if (isBegun) drawing.lineTo(...point);
    else drawing.moveTo(...point);
    isBegun = true;
  }
  drawing.stroke();
}

// Only those on the screen are drawn, of a thousand.
const drawn = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    drawTiny(entry.target);
    drawn.unobserve(entry.target);
  }
});
const watch = () => {
  for (const canvas of table.querySelectorAll(".tiny")) drawn.observe(canvas);
};
watch();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", watch);
addEventListener("beforeprint", () => {
  for (const canvas of table.querySelectorAll(".tiny")) drawTiny(canvas);
});
for (const header of table.tHead.rows[0].cells) {
  header.querySelector("button")?.addEventListener("click", () => sortBy(header));
}
const search = document.getElementById("filter");
search.addEventListener("input", () => filter(search.value));
document.documentElement.dataset.ready = "yes";
