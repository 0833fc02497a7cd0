// Rows as a table: some columns given, others drawn, predicted or filled in.
import { getBlob, getJson, postBlob, postJson, withWorkspace } from "./api.js";
import { lineChart, shareBars } from "./charts.js";
import { add, el, field, number, offer, option, say, tableOf } from "./dom.js";
import { attempt, onModel, session } from "./session.js";
import { asked, change, drawing, state } from "./state.js";

const MOST_SHOWN = 50;
const parts = {};
let inputs = [];

// The values that people have set, by column; empty fields are not given.
function given() {
  const values = {};
  for (const { column, control } of inputs) {
    if (control.value === "") continue;
    values[column.name] = column.levels ? column.levels[Number(control.value)] : control.type === "number" ? Number(control.value) : control.value;
  }
  return values;
}

function controlOf(column) {
  if (column.levels) return el("select", {}, option("", "not given"), column.levels.map((level, i) => option(String(i), String(level))));
  if (column.example) return el("input", { type: "text", placeholder: `not given; such as ${column.example}` }); // a date or a time
  return el("input", { type: "number", step: "any", placeholder: "not given", inputmode: "decimal" });
}

function shown(value) {
  if (value === null || value === undefined) return "–";
  return typeof value === "number" ? number(value, 5) : String(value);
}

function request() {
  const { sampler, n_evaluations: evaluations, eta, seed } = drawing();
  const values = given();
  return asked({ n: Number(parts.n.value) || 10, seed, sampler, n_evaluations: evaluations, eta, given: values });
}

async function draw() {
  const answer = await attempt(parts.draw, () => postJson(`/api/models/${session.card.id}/rows`, request()));
  if (!answer) return;
  const rows = answer.rows.slice(0, MOST_SHOWN);
  parts.result.replaceChildren(
    el("p", { class: "hint" }, answer.rows.length > MOST_SHOWN ? `The first ${MOST_SHOWN} of ${answer.rows.length} rows.` : `${answer.rows.length} rows.`),
    tableOf("Drawn rows", ["row", ...answer.columns], rows.map((row, i) => [String(i), ...row.map(shown)])),
  );
  say(`${answer.rows.length} rows are drawn.`);
}

async function download(format) {
  const blob = await attempt(null, () => postBlob(`/api/models/${session.card.id}/rows.${format}`, request()));
  if (blob) offer(blob, `rows.${format}`);
}

async function predict() {
  const column = parts.column.value, values = given();
  delete values[column];
  const answer = await attempt(parts.predict, () => postJson(`/api/models/${session.card.id}/conditional`, { given: values, column }));
  if (!answer) return;
  const what = Object.keys(values).length ? `${column}, given ${Object.entries(values).map(([name, value]) => `${name} = ${value}`).join(", ")}` : `${column}, with nothing given`;
  const blocks = [el("h3", {}, what)];
  if (answer.levels) {
    const shares = answer.levels.map((level, i) => ({ name: shown(level), value: answer.probabilities[i] })).sort((a, b) => b.value - a.value).slice(0, 12);
    blocks.push(shareBars(`Probabilities of ${what}`, shares), tableOf(`Probabilities of ${what}`, ["level", "probability"], shares.map(({ name, value }) => [name, number(value, 3)])));
  } else {
    if (answer.density?.length) blocks.push(lineChart(`Density of ${what}`, [{ name: "density", class: "loss", points: answer.density }], column, "density", { low: 0 }));
    const quantiles = Object.entries(answer.quantiles);
    blocks.push(tableOf(`Figures of ${what}`, ["figure", "value"], [...(answer.missing ? [["share that is missing", number(answer.missing, 3)]] : []), ["mean", shown(answer.mean)], ...quantiles.map(([share, value]) => [`${number(100 * Number(share), 3)} % quantile`, shown(value)])]));
  }
  parts.result.replaceChildren(...blocks);
  say(`The distribution of ${what} is shown.`);
}

async function fill() {
  const values = given(), row = Object.fromEntries(session.card.columns.map(({ name }) => [name, values[name] ?? null]));
  const answer = await attempt(parts.fill, () => postJson(`/api/models/${session.card.id}/impute`, { row, n_draws: 10, seed: state.seed }));
  if (!answer) return;
  const names = session.card.columns.map((column) => column.name);
  parts.result.replaceChildren(el("p", { class: "hint" }, "Ten draws of the row; the cells that were given stay as they are."),
    tableOf("Filled rows", ["draw", ...names], answer.draws.map((drawn, i) => [String(i + 1), ...names.map((name) => shown(drawn[name]))])));
  say("The gaps are filled ten times.");
}

// The given values as they stand in the link, by column.
function remembered() {
  try {
    return JSON.parse(state.given || "{}");
  } catch {
    return {};
  }
}

function keepGiven() {
  const values = Object.fromEntries(inputs.filter(({ control }) => control.value !== "").map(({ column, control }) => [column.name, control.value]));
  change({ given: Object.keys(values).length ? JSON.stringify(values) : "" });
}

// The report is made while the bar shows how far it is; then the link opens it.
async function makeReport() {
  const { id } = session.card, address = `/api/models/${id}/report`, isShown = () => session.card.id === id;
  const watching = setInterval(async () => {
    const { share, stage } = await getJson(`${address}-progress`).catch(() => ({}));
    if (stage && isShown()) {
      parts.bar.value = share;
      parts.stage.textContent = share < 1 ? `${stage}, ${Math.round(100 * share)} %` : "drawing pictures";
    }
  }, 1000);
  parts.bar.hidden = false;
  const made = await attempt(parts.make, () => getBlob(address));
  clearInterval(watching);
  if (!isShown()) return;
  parts.bar.hidden = true;
  parts.stage.textContent = "";
  parts.make.hidden = Boolean(made);
  parts.report.hidden = !made;
  if (made) say("The report is made.");
}

function fillForm() {
  const { card } = session, takes = card.takes_conditions;
  inputs = card.columns.map((column) => ({ column, control: controlOf(column) }));
  const before = remembered();
  for (const { column, control } of inputs) {
    control.disabled = !takes;
    if (takes && column.name in before) control.value = before[column.name];
    control.addEventListener("change", keepGiven);
  }
  parts.given.replaceChildren(...inputs.map(({ column, control }) => {
    const note = column.levels ? null : column.low !== undefined && column.low !== null ? `${shown(column.low)} to ${shown(column.high)} in the data` : null;
    return field(column.name, control, note);
  }));
  parts.no.hidden = takes;
  parts.fill.disabled = parts.predict.disabled = !takes;
  parts.column.replaceChildren(...card.columns.map((column) => option(column.name, column.name)));
  parts.result.replaceChildren();
  parts.report.setAttribute("href", withWorkspace(`/api/models/${card.id}/report`));
  parts.report.hidden = parts.bar.hidden = true;
  parts.make.hidden = false;
  parts.stage.textContent = "";
}

export const rowsPanel = {
  name: "rows",
  title: "Rows",
  build(root) {
    parts.given = el("div", { class: "grid" });
    parts.no = el("p", { class: "notice" }, "This model learned whole rows only. Train with “any column may be given” to set values here.");
    parts.n = el("input", { type: "number", id: "rows-n", min: "1", max: "100000", step: "1", value: "10", inputmode: "numeric" });
    parts.draw = el("button", { type: "button", class: "primary", id: "draw-rows", onclick: draw }, "Draw rows");
    parts.fill = el("button", { type: "button", id: "fill-gaps", onclick: fill }, "Fill the empty fields");
    parts.column = el("select", { id: "predict-column" });
    parts.predict = el("button", { type: "button", id: "predict", onclick: predict }, "Show its distribution");
    parts.result = el("div", { id: "rows-result", "aria-live": "polite" });
    parts.make = el("button", { type: "button", id: "make-report", onclick: makeReport }, "Make the report");
    parts.bar = el("progress", { max: "1", value: "0", "aria-label": "Progress of the report" });
    parts.stage = el("p", { class: "hint", id: "report-stage" });
    parts.report = el("a", { target: "_blank", rel: "noopener", id: "report" }, "Open the report");
    add(root,
      el("p", { class: "lead" }, "Rows like the data's, in its own columns and units. Values that you set are given; the model draws the rest."),
      el("h2", {}, "Given"), parts.no, parts.given,
      el("div", { class: "row" }, field("Rows", parts.n), el("div", { class: "field" }, parts.draw)),
      el("div", { class: "row" }, field("One column", parts.column), el("div", { class: "field" }, parts.predict)),
      el("p", { class: "row" }, parts.fill),
      parts.result,
      el("h2", {}, "Take with you"),
      el("p", { class: "row" }, el("button", { type: "button", onclick: () => download("csv") }, "Rows as CSV"),
        el("button", { type: "button", onclick: () => download("parquet") }, "Rows as Parquet")),
      el("h2", {}, "Is the model good?"),
      el("p", {}, "The fidelity report compares new rows with the data, and says what the model can be used for. It takes a minute or two."),
      el("p", { class: "row" }, parts.make, parts.report), parts.bar, parts.stage,
    );
    onModel(fillForm);
  },
  show() {},
  hide() {},
  update() {},
};
