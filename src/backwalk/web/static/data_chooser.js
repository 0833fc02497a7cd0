// The rows to train on: a known density, a drawing, or a file with its columns.
import { Refused, getJson, postFile, postJson } from "./api.js";
import { Board } from "./draw_board.js";
import { count, el, field, option, say } from "./dom.js";
import { color } from "./paint.js";
import { attempt, session, tell, untell } from "./session.js";
import { change, state } from "./state.js";

const KINDS = ["number", "integer", "levels"];
const KIND_NAMES = { integer: "whole number", atoms: "number with spikes" };
const parts = {};
let asked = 0;
const kept = { file: null }; // the file's answer, whose columns can be chosen again

function thumbnail(points) {
  const canvas = el("canvas", { class: "thumbnail", width: 96, height: 96, "aria-hidden": "true" });
  const paint = () => {
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, 96, 96);
    pen.fillStyle = color("--forward");
    for (const [x, y] of points) pen.fillRect(8 + 80 * x - 1, 88 - 80 * y - 1, 2.4, 2.4);
  };
  paint();
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  return canvas;
}

function nameOfKind(kind) {
  return KIND_NAMES[kind] || kind;
}

function gallery() {
  const radios = session.catalogue.densities.map(({ name, label, description, thumbnail: points }, i) => {
    const radio = el("input", { type: "radio", name: "density", id: `density-${name}`, value: name });
    radio.checked = i === 0;
    radio.addEventListener("change", () => drawDensity());
    return el("label", { class: "density", for: `density-${name}`, title: description }, radio, thumbnail(points), el("span", {}, label));
  });
  return el("div", { class: "gallery", role: "radiogroup", "aria-label": "Known densities" }, radios);
}

function drawDensity() {
  const chosen = parts.root.querySelector("input[name=density]:checked").value;
  return take(`density:${chosen}:${parts.n.value}:${parts.seed.value}`);
}

function drawPoints() {
  if (!parts.board.points.length) return undefined;
  return take(`points:${parts.board.text}:${parts.n.value}:${parts.seed.value}`);
}

// Asks the server for the rows of a recipe, as it stands in the link.
export async function rowsOf(recipe) {
  const [kind, what, n, seed] = recipe.split(":");
  const size = { n: Number(n) || 10_000, seed: Number(seed) || 0 };
  if (kind === "density") return postJson("/api/data", { density: what, ...size });
  const board = new Board();
  board.text = what;
  return postJson("/api/data", { points: board.points, ...size });
}

// Rows that are asked for replace those before at once, so that nobody trains on the old ones.
async function get(ask) {
  const turn = (asked += 1);
  session.data = null;
  if (turn > 1) untell(); // what stands there before the first rows is not about rows
  parts.summary.textContent = "Getting the rows.";
  parts.root.dispatchEvent(new Event("data"));
  const data = await attempt(null, ask);
  if (turn !== asked) return null;
  if (!data) parts.summary.textContent = "";
  return data || null;
}

async function take(recipe) {
  const data = await get(() => rowsOf(recipe));
  if (!data) return;
  change({ data: recipe });
  use(data);
}

function use(data) {
  session.data = data;
  parts.summary.textContent = `${count(data.n)} rows, ${data.columns.length} column${data.columns.length === 1 ? "" : "s"}.`;
  preview(data.picture);
  say(`${parts.summary.textContent} They are ready to train on.`);
  parts.root.dispatchEvent(new Event("data"));
}

function preview(picture) {
  parts.preview.hidden = !picture?.rows.length || !parts.ways.density.hidden;
  if (parts.preview.hidden) return;
  const pen = parts.preview.getContext("2d"), size = parts.preview.width;
  const ranges = [0, 1].map((j) => picture.rows.map((row) => row[j])).map((values) => [Math.min(...values), Math.max(...values)]);
  const place = (value, [low, high]) => 12 + ((value - low) / (high - low || 1)) * (size - 24);
  pen.clearRect(0, 0, size, size);
  pen.fillStyle = color("--forward");
  pen.globalAlpha = 0.6;
  for (const [x, y] of picture.rows) pen.fillRect(place(x, ranges[0]) - 1, size - place(y, ranges[1]) - 1, 2.5, 2.5);
  pen.globalAlpha = 1;
}

async function takeFile(file) {
  const most = session.catalogue.limits.upload_bytes;
  if (file.size > most) {
    tell(new Refused(413, `A file should have at most ${count(most)} bytes here, but ${file.name} has ${count(file.size)}: give fewer rows, or use backwalk fit.`, null));
    parts.file.value = "";
    return;
  }
  say(`Reading ${file.name}.`);
  parts.columns.replaceChildren();
  const data = await get(() => postFile(file));
  parts.file.value = "";
  if (!data) return;
  kept.file = data;
  change({ data: "" });
  showColumns(data, file.name);
  use(data);
}

function showColumns(data, name) {
  const rows = data.columns.map((column) => {
    const keep = el("input", { type: "checkbox", "aria-label": `Use ${column.name}` });
    keep.checked = true;
    const kind = el("select", { "aria-label": `Kind of ${column.name}` }, option("", nameOfKind(column.kind)), KINDS.filter((k) => k !== column.kind).map((k) => option(k, nameOfKind(k))));
    return { name: column.name, keep, kind, row: el("tr", {}, el("td", {}, keep),
      el("th", { scope: "row" }, column.name, el("span", { class: "explanation" }, column.description)), el("td", {}, kind)) };
  });
  const apply = el("button", { type: "button", onclick: () => chooseColumns(data, rows) }, "Use these columns");
  parts.columns.replaceChildren(
    el("h3", {}, name),
    el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Columns of the file" },
      el("table", { class: "columns" }, el("thead", {}, el("tr", {}, ["use", "column", "kind"].map((text) => el("th", { scope: "col" }, text)))),
        el("tbody", {}, rows.map(({ row }) => row)))),
    data.set_aside.length ? el("p", { class: "hint" }, `Left out: ${data.set_aside.map(({ name, reason }) => `${name} (${reason})`).join("; ")}.`) : "",
    el("p", { class: "row" }, apply),
  );
}

async function chooseColumns(data, rows) {
  const keep = rows.filter((row) => row.keep.checked).map((row) => row.name);
  const kinds = Object.fromEntries(rows.filter((row) => row.keep.checked && row.kind.value).map((row) => [row.name, row.kind.value]));
  const answer = await get(() => postJson(`/api/data/${data.data}/columns`, { keep, kinds }));
  if (answer) use(answer);
}

function choose(way) {
  parts.root.querySelector(`#way-${way}`).checked = true;
  show(way);
}

function show(way) {
  for (const [name, node] of Object.entries(parts.ways)) node.hidden = name !== way;
  parts.size.hidden = way === "file";
}

export function dataChooser(onData) {
  parts.n = el("input", { type: "number", id: "n-rows", min: "20", max: String(session.catalogue.limits.rows || 1_000_000), step: "1", value: "10000", inputmode: "numeric" });
  parts.seed = el("input", { type: "number", id: "data-seed", min: "0", step: "1", value: "0", inputmode: "numeric" });
  parts.board = new Board();
  parts.board.canvas.addEventListener("drawn", () => { parts.use.disabled = !parts.board.points.length; });
  parts.use = el("button", { type: "button", disabled: true, onclick: drawPoints }, "Use this drawing");
  parts.file = el("input", { type: "file", id: "file", accept: ".csv,.tsv,.gz,.parquet" });
  parts.file.addEventListener("change", () => parts.file.files[0] && takeFile(parts.file.files[0]));
  parts.columns = el("div", {});
  parts.ways = {
    density: gallery(),
    draw: el("div", {}, parts.board.canvas, el("p", { class: "row" }, parts.use, el("button", { type: "button", onclick: () => parts.board.clear() }, "Clear"))),
    file: el("div", {}, el("div", { class: "drop" }, field("CSV or Parquet file", parts.file, "or drop it anywhere on the page; it stays on this machine")), parts.columns),
  };
  const radios = [["density", "A known density"], ["draw", "Draw one"], ["file", "A file"]].map(([value, text], i) => {
    const radio = el("input", { type: "radio", name: "data-way", id: `way-${value}`, value });
    radio.checked = i === 0;
    radio.addEventListener("change", () => show(value));
    return el("label", { class: "segment", for: `way-${value}` }, radio, el("span", {}, text));
  });
  parts.summary = el("p", { class: "figure-line", id: "data-summary" });
  parts.preview = el("canvas", { class: "preview", width: 220, height: 220, role: "img", "aria-label": "The rows to train on" });
  parts.preview.hidden = true;
  parts.size = el("div", { class: "row" }, field("Rows", parts.n), field("Seed of the rows", parts.seed));
  for (const control of [parts.n, parts.seed]) control.addEventListener("change", () => (parts.ways.draw.hidden ? drawDensity() : drawPoints()));
  parts.root = el("div", {}, el("div", { class: "segments", role: "radiogroup", "aria-label": "Where the rows come from" }, radios),
    Object.values(parts.ways), parts.size, el("div", { class: "data-line" }, parts.preview, parts.summary));
  parts.root.addEventListener("data", onData);
  show("density");
  document.addEventListener("dragover", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dropping"));
  document.addEventListener("drop", (event) => {
    document.body.classList.remove("dropping");
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    change({ tab: "train" });
    choose("file");
    takeFile(event.dataTransfer.files[0]);
  });
  return parts.root;
}

// The rows are there when the panel is first shown: those of the link, or two moons.
export async function firstData() {
  if (session.data || asked) return;
  const { start } = session.catalogue;
  if (start.opened === "data" && !state.data) {
    const data = await get(() => getJson(`/api/data/${start.data}`));
    if (!data) return;
    choose("file");
    showColumns(data, "The table that the page was opened with");
    use(data);
    return;
  }
  if (state.data.startsWith("points:")) {
    parts.board.text = state.data.split(":")[1];
    parts.use.disabled = false;
    choose("draw");
  } else if (state.data.startsWith("density:")) {
    const [, name, n, seed] = state.data.split(":");
    const radio = document.getElementById(`density-${name}`);
    if (radio) radio.checked = true;
    parts.n.value = n;
    parts.seed.value = seed;
  }
  await take(state.data || `density:${session.catalogue.densities[0].name}:10000:0`);
}
