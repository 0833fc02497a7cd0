// The rows to learn: a known density, a drawing, or two columns of a text file, which never leaves this machine.
import { DENSITIES, MOST_ROWS } from "./data.js";
import { Board, MOST_POINTS } from "./draw_board.js";
import { add, count, el, field, option, say } from "./dom.js";
import { attempt, hideRows, session, showRows, tell, untell } from "./session.js";
import { Refused, ask } from "./source.js";
import { change, state } from "./state.js";

const MOST_BYTES = 50_000_000; // of a file: a browser reads so many in seconds
const parts = {};
const hearers = [];
let asked = 0;
let files = 0; // that were chosen
let before = null; // the rows that others may replace, with their recipe

// Hears of new rows to train on, `session.data`, which is null while they are made.
export function onRows(hear) {
  hearers.push(hear);
}

// How many rows: a whole number within the limits, or a sentence that says so.
function sizes() {
  const n = Math.round(Number(parts.n.value));
  if (!(n >= 20 && n <= MOST_ROWS)) throw new Refused(`Rows should be a number from 20 to ${count(MOST_ROWS)}, but got ${parts.n.value || "nothing"}: choose another.`);
  return `${n}:${Math.max(0, Math.round(Number(parts.seed.value) || 0))}`;
}

function takeDensity() {
  const chosen = parts.density.value;
  return attempt(null, async () => take(`density:${chosen}:${sizes()}`));
}

function takeDrawing() {
  if (!parts.board.points.length) return undefined;
  return attempt(parts.use, async () => take(`points:${parts.board.text}:${sizes()}`));
}

// The rows of a recipe, as it stands in the link.
function rowsOf(recipe) {
  const [kind, what, n, seed] = recipe.split(":"), size = { n: Number(n) || 5000, seed: Number(seed) || 0 };
  if (kind === "density") return ask("rows", { kind, name: what, ...size });
  const board = new Board();
  board.text = what;
  return ask("rows", { kind, points: board.points, ...size });
}

// Rows that are asked for replace those before at once, so that nobody trains on the old ones; these return where there
// are no new ones. A link holds their recipe, but for those of a file.
async function take(recipe, work = () => rowsOf(recipe)) {
  const turn = (asked += 1);
  if (session.data) before = { data: session.data, recipe: state.data };
  session.data = null;
  if (turn > 1) untell();
  parts.summary.textContent = "Making the rows.";
  change({ data: recipe });
  for (const hear of hearers) hear();
  const data = await attempt(null, work);
  if (turn !== asked) return;
  parts.summary.textContent = "";
  if (!data) change({ data: before?.recipe ?? "" });
  use(data ?? before?.data);
}

function use(data) {
  if (!data) return;
  session.data = data;
  parts.summary.textContent = [`${data.title}: ${count(data.n)} rows, standardised before training: each column gets mean 0 and standard deviation 1.`, ...data.notes].join(" ");
  if (state.tab === "data") showDataRows();
  say(`${count(data.n)} rows are ready to train on.`);
  for (const hear of hearers) hear();
}

export function showDataRows() {
  const { title, samples, limits, axes } = session.data;
  showRows({ samples, limits, axes, ink: "--forward" }, `${title}: the rows to train on`);
}

async function takeFile(file) {
  untell();
  if (file.size > MOST_BYTES) {
    tell(new Refused(`A file should have at most ${count(MOST_BYTES)} bytes here, but ${file.name} has ${count(file.size)}: give fewer rows, or use backwalk fit.`));
    return;
  }
  const turn = (files += 1);
  say(`Reading ${file.name}.`);
  const found = await attempt(null, async () => ask("file", { name: file.name, text: await file.text() }));
  if (turn !== files) return; // another file was chosen meanwhile
  if (!found) { // the rows before stay
    parts.file.value = "";
    return;
  }
  const [first, second] = [0, 1].map((k) => el("select", {}, found.columns.map((name, j) => option(name, name, j === k))));
  const choose = () => take("", () => ask("columns", { first: first.value, second: second.value }));
  for (const select of [first, second]) select.addEventListener("change", choose);
  parts.columns.replaceChildren(el("p", { class: "hint" }, `${found.file}: ${count(found.n)} rows, ${found.columns.length} columns of numbers. It stays on this machine.`),
    el("div", { class: "row" }, field("Column across", first), field("Column up", second)));
  await choose();
}

function show(way) {
  for (const [name, node] of Object.entries(parts.ways)) node.hidden = name !== way;
  parts.size.hidden = way === "file";
  parts.root.querySelector(`#way-${way}`).checked = true;
}

export const dataPanel = {
  name: "data",
  title: "Data",
  build(root) {
    parts.root = root;
    parts.n = el("input", { type: "number", id: "n-rows", min: "20", max: String(MOST_ROWS), step: "1", value: "5000", inputmode: "numeric" });
    parts.seed = el("input", { type: "number", id: "data-seed", min: "0", step: "1", value: "0", inputmode: "numeric" });
    parts.density = el("select", { id: "density" }, Object.entries(DENSITIES).map(([name, { label, description }]) => option(name, `${label}: ${description}`)));
    parts.density.addEventListener("change", takeDensity);
    parts.board = new Board();
    parts.board.canvas.addEventListener("drawn", () => { parts.use.disabled = parts.board.points.length < 2; });
    parts.use = el("button", { type: "button", disabled: true, onclick: takeDrawing }, "Use this drawing");
    parts.file = el("input", { type: "file", id: "file", accept: ".csv,.tsv,.txt,text/csv" });
    parts.file.addEventListener("click", () => { parts.file.value = ""; }); // the same file may be read again
    parts.file.addEventListener("change", () => parts.file.files[0] && takeFile(parts.file.files[0]));
    parts.columns = el("div", { id: "file-columns" });
    parts.ways = {
      density: field("Density", parts.density),
      draw: el("div", {}, parts.board.canvas, el("p", { class: "row" }, parts.use, el("button", { type: "button", onclick: () => parts.board.clear() }, "Clear")),
        el("p", { class: "hint" }, `At most ${MOST_POINTS} points. Rows are drawn around each of them.`)),
      file: el("div", {}, el("div", { class: "drop" }, field("A text file with a table", parts.file, "CSV, at most 10,000 rows are taken")), parts.columns),
    };
    const radios = [["density", "A known density"], ["draw", "Draw one"], ["file", "A file"]].map(([value, text]) => {
      const radio = el("input", { type: "radio", name: "data-way", id: `way-${value}`, value });
      radio.addEventListener("change", () => show(value));
      return el("label", { class: "segment", for: `way-${value}` }, radio, el("span", {}, text));
    });
    parts.summary = el("p", { class: "figure-line", id: "data-summary" });
    parts.size = el("div", { class: "row" }, field("Rows", parts.n), field("Seed of the rows", parts.seed));
    for (const control of [parts.n, parts.seed]) control.addEventListener("change", () => (parts.ways.draw.hidden ? takeDensity() : takeDrawing()));
    add(root,
      el("p", { class: "lead" }, "What should the network learn? Choose rows here, then train on them."),
      el("div", { class: "segments", role: "radiogroup", "aria-label": "Where the rows come from" }, radios), Object.values(parts.ways), parts.size,
      parts.summary, el("p", { class: "row" }, el("button", { type: "button", class: "primary", "data-tab": "train" }, "Train on these rows")),
      el("p", { class: "hint" }, "Of a known density, and of a drawing, rows can be drawn for ever, and the best of all networks is known. Of a file the exact denoiser is the one that remembers every row: a network cannot follow it, and that is what makes its rows new."),
    );
    show("density");
  },
  async show() {
    await attempt(null, firstRows);
    if (session.data && state.tab === "data") showDataRows();
  },
  hide: hideRows,
};

// The rows are there when they are first needed: those of the link, or two moons.
export async function firstRows() {
  if (session.data || asked) return;
  const [kind, what, n, seed] = state.data.split(":");
  if (kind === "points") {
    parts.board.text = what;
    parts.use.disabled = false;
    show("draw");
  } else if (kind === "density" && what in DENSITIES) parts.density.value = what;
  if (n) [parts.n.value, parts.seed.value] = [n, seed];
  await take(state.data || `density:${parts.density.value}:5000:0`);
}
