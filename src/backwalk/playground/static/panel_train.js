// Training: settings, the live curves, and rows that sharpen while it runs.
import { lineChart } from "./charts.js";
import { add, count, digits, el, field, fixed, option, say, whenQuiet } from "./dom.js";
import { prose } from "./formulas.js";
import { firstRows, onRows, showDataRows } from "./panel_data.js";
import { arrows } from "./plots.js";
import { play } from "./player.js";
import { attempt, hideRows, openModel, session, showRows, tell } from "./session.js";
import { showSchedule } from "./schedule_view.js";
import { PRESETS, SCHEDULES } from "./models.js";
import { Refused, ask, noteVersion, onTraining, theQuality, theSchedule } from "./source.js";
import { change, state } from "./state.js";
import { why } from "./why.js";

const LIMITS = { width: [8, 256], depth: [1, 8], steps: [2, 2000], betaMax: [0.005, 0.9], rate: [1e-6, 1], batch: [8, 1024] };
const NAMES = { width: "Width", depth: "Depth", steps: "Steps N", betaMax: "β_N", rate: "Learning rate", batch: "Rows of a batch" };
const ORDER = ["network", "width", "depth", "predicts", "schedule", "steps", "betaMax", "rate", "batch", "weight"]; // in a link
const PRESET_NAMES = [["course", "the course's"], ["better", "a better one"], ["notebook", "the notebook's"]];
const parts = { controls: {} };
const live = { model: null, loss: [], held: [], state: "none" };
let trained = 0;

// The settings of the controls. Raises what is wrong as a sentence.
function settings() {
  const values = {};
  for (const name of ORDER) {
    const { value } = parts.controls[name];
    values[name] = name in LIMITS ? Number(value) : value;
    if (name in LIMITS && !(values[name] >= LIMITS[name][0] && values[name] <= LIMITS[name][1])) {
      throw new Refused(`${NAMES[name]} should be a number from ${LIMITS[name][0]} to ${count(LIMITS[name][1])}, but got ${value || "nothing"}: choose another.`);
    }
  }
  for (const name of ["width", "depth", "steps", "batch"]) values[name] = Math.round(values[name]);
  return { ...values, seed: Math.max(0, Math.round(Number(parts.seed.value) || 0)) };
}

function fill(values) {
  for (const name of ORDER) if (values[name] !== undefined) parts.controls[name].value = String(values[name]);
  showFitting();
}

const settingsText = (values) => ORDER.map((name) => values[name]).join(",");

function fillText(text) {
  fill(Object.fromEntries(text.split(",").map((value, i) => [ORDER[i], value])));
}

// The better network predicts F at every noise level; the course's predicts eps, v or x_0 on the chain's steps.
function showFitting() {
  const { network, predicts, schedule, betaMax, weight } = parts.controls, isTextbook = network.value === "textbook";
  if (isTextbook === (predicts.value === "F")) predicts.value = isTextbook ? "eps" : "F";
  for (const choice of predicts.options) choice.disabled = isTextbook === (choice.value === "F");
  for (const choice of schedule.options) choice.disabled = isTextbook && choice.value === "log_snr" && predicts.value === "eps";
  if (schedule.selectedOptions[0]?.disabled) schedule.value = "linear";
  weight.parentElement.hidden = !isTextbook; // the loss of F has its own
  if (!isTextbook) weight.value = "simple";
  betaMax.parentElement.hidden = schedule.value !== "linear";
  drawScheduleSoon();
}

// A number that is being typed may be out of range for a moment; what stays so is told when training begins.
const drawScheduleSoon = whenQuiet(60, async () => {
  if (!parts.more.open) return;
  try {
    showSchedule(parts.schedule, await theSchedule(null, settings()));
  } catch (error) {
    if (!(error instanceof Refused)) tell(error);
  }
});

function showChart() {
  if (live.loss.length < 2) return;
  const series = [{ name: "training rows", class: "loss", points: live.loss }];
  if (live.held.length > 1) series.push({ name: "held-out rows", class: "held", points: live.held });
  parts.chart.replaceChildren(lineChart("Loss of training rows and of held-out rows against the training step", series, "training step", "loss: mean of ‖answer − target‖²", { height: 210 }));
}

function buttons() {
  const { state: now } = live, running = now === "running";
  parts.train.disabled = !session.data || running;
  parts.pause.hidden = !running;
  parts.goOn.hidden = parts.oneStep.hidden = running || now === "none";
  parts.reset.hidden = parts.watch.hidden = now === "none";
  document.body.classList.toggle("training", running);
}

function hear({ event, message, ...now }) {
  if (event === "failed") {
    live.state = "resting";
    buttons();
    tell(new Refused(message));
    return;
  }
  if (now.model !== live.model) return;
  Object.assign(live, { loss: now.loss, held: now.held, state: event === "progress" ? "running" : "resting" });
  noteVersion(now.model, now.step);
  const last = now.loss.at(-1)?.[1], held = now.held.at(-1)?.[1];
  parts.reading.textContent = now.step ? `Training step ${count(now.step)}, loss ${digits(last)}${held === undefined ? "" : `, held out ${digits(held)}`}; ${fixed(now.seconds, 1)} s, ${digits(now.step / Math.max(now.seconds, 1e-3))} steps a second`
    : "The first weights, before any training.";
  showChart();
  if (state.tab === "train") picture(now);
  buttons();
  if (event !== "progress") rest(now);
}

function picture({ samples, limits, axes, way, arrows: size, step }) {
  showRows({ samples, limits, axes, ink: "--backward" }, `Rows that the network draws after ${count(step)} training step${step === 1 ? "" : "s"}; arrows lead towards x̂₀ at equal signal and noise`,
    (pen, place, pixels) => arrows(pen, pixels, way, size, { scale: 2, ink: "--trail", opacity: 0.55 }));
}

// Where training rests, the page knows the model, and how far its rows are from real ones.
async function rest({ model, step }) {
  parts.quality.textContent = "";
  if (state.model !== model) return;
  if (!step) return;
  const figures = await attempt(null, () => theQuality(model, { seed: 0 }));
  if (!figures || live.state === "running") return;
  const { value, null: none } = figures.figures.distance;
  parts.quality.textContent = `Sliced distance of its rows: ${digits(value)}, ${digits(value / none)} times that of other real rows.`;
}

async function train() {
  await firstRows();
  const values = settings();
  trained += 1;
  live.model = `trained-${trained}`;
  Object.assign(live, { loss: [], held: [], state: "running" });
  const { network, predicts, schedule, steps } = values;
  const title = `${trained}: ${session.data.title}, ${network === "textbook" ? `tanh layers, ${predicts.replace("eps", "ε").replace("x_0", "x₀")}` : "residual blocks"}, ${SCHEDULES[schedule]}, N = ${count(steps)}`;
  change({ fit: settingsText(values), fitSeed: values.seed, row: 0, model: live.model });
  parts.live.hidden = false;
  parts.chart.replaceChildren();
  parts.quality.textContent = "";
  parts.reading.textContent = "Training begins.";
  session.card = { ...await ask("train", { id: live.model, title, settings: values }), id: live.model };
  document.getElementById("model-name").textContent = title;
  buttons();
  say("Training has begun.");
}

function chooser(name, text, choices, note = null) {
  const select = el("select", { id: `set-${name}` }, choices.map(([value, label]) => option(value, label)));
  select.addEventListener("change", showFitting);
  parts.controls[name] = select;
  return field(text, select, note);
}

function amount(name, text, note, attributes = {}) {
  const [min, max] = LIMITS[name], input = el("input", { type: "number", id: `set-${name}`, min, max, inputmode: "decimal", step: "any", ...attributes });
  input.addEventListener("input", showFitting);
  parts.controls[name] = input;
  return field(text, input, note);
}

function settingsForm() {
  const preset = el("select", { id: "set-preset" }, PRESET_NAMES.map(([value, text]) => option(value, text)));
  preset.addEventListener("change", () => fill(PRESETS[preset.value]));
  parts.preset = preset;
  parts.seed = el("input", { type: "number", id: "fit-seed", min: "0", step: "1", value: String(state.fitSeed), inputmode: "numeric" });
  parts.schedule = el("div", { id: "schedule-drawn" });
  parts.more = el("details", { id: "more-settings", ontoggle: () => drawScheduleSoon() }, el("summary", {}, "Width, loss, schedule, rate"), el("div", { class: "grid" },
    chooser("network", "Kind", [["textbook", "tanh layers"], ["residual", "residual blocks"]]),
    amount("width", "Width", "units of a layer", { step: "1" }), amount("depth", "Depth", "layers, or residual blocks", { step: "1" }),
    chooser("predicts", "Predicts", [["eps", "ε, as L_simple"], ["v", "v"], ["x_0", "x₀"], ["F", "F"]], "the loss is the squared distance to it"),
    chooser("weight", "Weight", [["simple", "1, as L_simple"], ["bound", "as in the bound"]], "of a step t in the loss"),
    chooser("schedule", "Schedule", Object.entries(SCHEDULES), "how the noise grows"), amount("steps", "Steps N", "of the chain", { step: "1" }),
    amount("betaMax", prose("β_N"), "where the line ends"), amount("rate", "Learning rate", "of Adam"), amount("batch", "Rows of a batch", "of a training step", { step: "1" })),
  why("loss"), el("h3", { class: "below" }, "The schedule"), parts.schedule, why("schedule"));
  return el("div", {}, el("div", { class: "row" }, field("Network", preset), field("Seed of the weights", parts.seed, "Reset goes back to these")), parts.more);
}

export const trainPanel = {
  name: "train",
  title: "Train",
  build(root) {
    const button = (name, text, work, options = {}) => {
      parts[name] = el("button", { type: "button", id: name, onclick: () => attempt(parts[name], work).then(buttons), ...options }, text);
      return parts[name];
    };
    parts.chart = el("div", { class: "chart-box", id: "training-chart" });
    parts.reading = el("p", { class: "figure-line", id: "training-reading" });
    parts.quality = el("p", { class: "figure-line", id: "training-quality" });
    parts.live = el("div", { class: "live", hidden: true }, parts.reading, parts.quality, parts.chart,
      el("p", { class: "hint" }, "Why the loss hardly falls: most of it is noise that nobody can know, as many clean points may have led to one noisy point. What the network learns is the small rest. The held-out rows are never trained on. Their loss, the picture and the distance are those of the mean of the last tenth of all weights."));
    add(root,
      el("p", { class: "lead" }, "Watch a network learn. It runs in this page, on this machine: two moons take half a minute."),
      el("p", { class: "row actions" }, button("train", "Train", train, { class: "primary" }), button("pause", "Pause", () => ask("pause")), button("goOn", "Go on", () => ask("goOn")),
        button("oneStep", "One step", () => ask("oneStep")), button("reset", "Reset", () => ask("reset")),
        parts.watch = el("button", { type: "button", class: "plain", "data-tab": "watch" }, "Watch its chain")),
      parts.live, settingsForm(),
    );
    fill(PRESETS.course);
    if (state.fit) fillText(state.fit);
    onRows(buttons);
    onTraining(hear);
    buttons();
  },
  async show() {
    await attempt(null, firstRows);
    if (session.data && state.tab === "train" && !session.stages[0].snapshot) showDataRows();
  },
  hide() {
    if (live.state === "running") ask("pause");
    hideRows();
    if (live.model && state.model === live.model) openModel(live.model).then(() => { change({ side: "backward", p: 1 }); play(); }, tell);
  },
};
