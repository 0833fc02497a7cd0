// Training: rows, settings, the live chart and the samples as they sharpen.
import { getJson, postJson, u2Of, withWorkspace } from "./api.js";
import { lineChart } from "./charts.js";
import { dataChooser, firstData, rowsOf } from "./data_chooser.js";
import { add, count, el, field, number, option, refill, say, whenQuiet } from "./dom.js";
import { prose } from "./formulas.js";
import { arrows } from "./plots.js";
import { pause, play, redraw } from "./player.js";
import { attempt, openModel, session, tell, usualCaption } from "./session.js";
import { showSchedule } from "./schedule_view.js";
import { theSchedule } from "./source.js";
import { asked, change, state } from "./state.js";
import { why } from "./why.js";

const FIT_KEY = "backwalk-fit";
const SETTINGS = ["preset", "schedule", "n_steps", "network", "width", "depth", "reverse_variance", "sampler", "max_steps", "epochs", "max_time", "conditions", "beta_max"];
const NUMBERS = ["n_steps", "width", "depth", "max_steps", "epochs", "max_time", "beta_max"];
const parts = { controls: {} };
const BETA_MAX = 0.02; // as in the course notebook
const live = { fit: null, events: null, loss: [], held: [] };

function networkOf(kind) {
  return session.catalogue.networks.find(({ name }) => name === kind);
}

function settings() {
  const values = {};
  for (const name of SETTINGS) {
    const text = parts.controls[name].value;
    values[name] = text === "" ? null : NUMBERS.includes(name) ? Number(text) : text;
  }
  const { network: kind, width, depth, ...others } = values;
  others.denoiser = kind ? { ...networkOf(kind).denoiser, ...asked({ width, depth }) } : null;
  if (!isLine() || values.beta_max === BETA_MAX) others.beta_max = null; // the usual one
  if (values.preset === "ddpm") others.max_steps = null;
  else others.epochs = null;
  return others;
}

// Whether beta rises on a line, which has an end that can be chosen.
function isLine() {
  const { preset, schedule } = parts.controls;
  return schedule.value === "linear" || (schedule.value === "" && preset.value === "ddpm");
}

let schedulesAsked = 0;

// The schedule as it is set; without a choice that of the model which is shown.
async function drawSchedule() {
  if (!session.card || !parts.more.open) return;
  const { schedule, n_steps: steps, beta_max: end, preset } = parts.controls;
  const now = (schedulesAsked += 1);
  parts.beta.hidden = !isLine();
  refill(parts.betaText, prose(`β_N = ${number(Number(end.value), 3)}`));
  const kind = schedule.value || (preset.value === "ddpm" ? "linear" : "");
  const answer = await attempt(null, () => theSchedule(session.card.id, asked({
    schedule: kind === "log_snr" || kind === "" ? null : kind, n_steps: Number(steps.value) || null, beta_max: isLine() ? Number(end.value) : null,
  })));
  if (answer && now === schedulesAsked) showSchedule(parts.schedule, answer);
}

const drawScheduleSoon = whenQuiet(60, drawSchedule);

function settingsText() {
  return SETTINGS.map((name) => parts.controls[name].value).join(",");
}

function fillSettings(text) {
  text.split(",").forEach((value, i) => {
    if (SETTINGS[i] && (value || SETTINGS[i] !== "beta_max")) parts.controls[SETTINGS[i]].value = value;
  });
  for (const name of ["width", "depth"]) parts.controls[name].disabled = !parts.controls.network.value;
}

function showChart() {
  const name = parts.scale.checked ? "zoomed" : "all";
  const from = name === "zoomed" ? Math.max(...live.loss.map((point) => point[0]), 0) / 4 : 0;
  const late = (points) => points.filter((point) => point[0] >= from);
  if (live.loss.length < 2) return;
  parts.chart.replaceChildren(lineChart("Training loss against the training step", [{ name: "training rows", class: "loss", points: late(live.loss) }], "training step", "loss: mean of w(SNR) ‖x₀ − x̂₀‖²", { height: 170 }));
  if (live.held.length > 1) {
    parts.chart.append(lineChart("Loss of held-out rows against the training step", [{ name: "held-out rows", class: "held", points: late(live.held) }], "training step", "held-out: ½ ∫ E‖x₀ − x̂₀‖² dSNR", { height: 170 }));
  }
}

let charted = 0;

function soonChart() {
  const now = performance.now();
  if (now - charted < 150) return;
  charted = now;
  showChart();
}

function progress(event) {
  const { step, n_steps: total, loss, held_out: held, seconds } = JSON.parse(event.data);
  if (Number.isFinite(loss)) live.loss.push([step, loss]);
  if (Number.isFinite(held)) live.held.push([step, held]);
  if (total) {
    parts.bar.max = total;
    parts.bar.value = step;
  }
  const lastHeld = live.held.length ? `, held out ${number(live.held[live.held.length - 1][1], 4)}` : "";
  parts.reading.textContent = `Training step ${count(step)}${total ? ` of ${count(total)}` : ""}, loss ${number(loss, 4)}${lastHeld}, ${number(seconds, 3)} s`;
  soonChart();
}

function snapshot(event) {
  const { step, samples, limits, field: grid } = JSON.parse(event.data);
  if (state.tab !== "train" || live.isOld || !samples) return;
  pause();
  const [stage] = session.stages, packed = u2Of(samples);
  stage.snapshot = { samples: packed, n: packed.length / 2, limits };
  stage.background = grid ? (pen, place, size) => arrows(pen, size, wayToEstimate(grid, limits), grid.size, { scale: 2, ink: "--trail", opacity: 0.55 }) : null;
  stage.caption.textContent = `Rows that the network draws after ${count(step)} training step${step === 1 ? "" : "s"}${grid ? "; arrows lead towards x̂₀ at equal signal and noise" : ""}`;
  redraw();
}

// From each place of the grid to the estimate there, in encoded units.
function wayToEstimate({ size, x_0_hat: estimate }, [x0, x1, y0, y1]) {
  const packed = u2Of(estimate), unit = (i) => i / (size - 1);
  return Float32Array.from(packed, (value, i) => {
    const at = Math.floor(i / 2);
    return i % 2 ? (value / 65535 - unit(Math.floor(at / size))) * (y1 - y0) : (value / 65535 - unit(at % size)) * (x1 - x0);
  });
}

function message(event) {
  parts.notes.append(el("li", {}, JSON.parse(event.data).message));
}

function buttons(running) {
  parts.train.disabled = parts.again.disabled = running || !session.data;
  parts.stop.hidden = !running;
  parts.goOn.hidden = parts.again.hidden = running || !live.fit;
  parts.bar.hidden = !running;
  document.body.classList.toggle("training", running);
}

function ended() {
  live.events?.close();
  live.events = null;
  buttons(false);
}

async function done(event) {
  const { model, stopped, seconds } = JSON.parse(event.data);
  ended();
  showChart();
  session.stages[0].background = null;
  const words = `${stopped ? "Stopped" : "Fitted"} in ${number(seconds, 3)} s. The page now shows the new model.`;
  parts.reading.textContent = words;
  say(words);
  session.stages[0].caption.textContent = usualCaption();
  if (state.model !== model && !live.isOld) {
    change({ columns: "", row: 0 });
    try {
      await openModel(model);
    } catch (error) {
      tell(error);
      return;
    }
    change({ side: "backward", p: 1 });
    play();
  }
}

function failed(event) {
  ended();
  tell(Object.assign(new Error(JSON.parse(event.data).message), { status: 400 }));
}

function listen(fit) {
  live.events?.close();
  Object.assign(live, { fit, loss: [], held: [] });
  sessionStorage.setItem(FIT_KEY, fit);
  pause(); // the processor is for the training
  parts.reading.textContent = "The fit begins.";
  parts.bar.removeAttribute("value");
  parts.chart.replaceChildren();
  parts.notes.replaceChildren();
  parts.live.hidden = false;
  buttons(true);
  // The loss in sight, below the picture on phones, once that has the height that it keeps.
  if (state.tab === "train") requestAnimationFrame(() => requestAnimationFrame(() => parts.live.scrollIntoView({ block: "start" })));
  const events = new EventSource(withWorkspace(`/api/fits/${fit}/events`));
  live.events = events;
  events.addEventListener("progress", progress);
  events.addEventListener("snapshot", snapshot);
  events.addEventListener("message", message);
  events.addEventListener("done", done);
  events.addEventListener("failed", failed);
  events.addEventListener("error", () => {
    if (events.readyState === EventSource.CLOSED && live.events === events) ended();
  });
}

async function train(button) {
  const answer = await attempt(button, () => postJson("/api/fits", { data: session.data.data, settings: { ...asked(settings()), conditions: settings().conditions }, seed: Number(parts.seed.value) || 0 }));
  buttons(Boolean(live.events));
  if (!answer) return;
  live.isOld = false;
  change({ fit: settingsText(), fitSeed: Number(parts.seed.value) || 0 });
  listen(answer.fit);
}

async function goOn(button) {
  const more = Number(parts.controls.max_steps.value) || null;
  const answer = await attempt(button, () => postJson(`/api/fits/${live.fit}/go-on`, more ? { max_steps: more } : {}));
  if (!answer) return;
  live.isOld = false;
  listen(answer.fit);
}

function chooser(name, text, list, note = null) {
  const select = el("select", { id: `set-${name}` }, option("", "usual"), list.map(({ name: value, label }) => option(value, label)));
  parts.controls[name] = select;
  const control = field(text, select, note);
  const hint = control.querySelector(".hint");
  if (list.some((item) => item.description)) {
    select.addEventListener("change", () => {
      const chosen = list.find((item) => item.name === select.value);
      if (hint) hint.textContent = chosen?.description || note;
    });
  }
  return control;
}

function amount(name, text, note, attributes) {
  const input = el("input", { type: "number", id: `set-${name}`, placeholder: "usual", inputmode: "numeric", ...attributes });
  parts.controls[name] = input;
  return field(text, input, note);
}

function settingsForm() {
  const { schedules, networks, samplers, reverse_variances: variances } = session.catalogue;
  const preset = el("select", { id: "set-preset" }, option("default", "backwalk's defaults"), option("ddpm", "the course notebook's DDPM"));
  parts.controls.preset = preset;
  preset.addEventListener("change", showAmounts);
  parts.seed = el("input", { type: "number", id: "fit-seed", min: "0", step: "1", value: String(state.fitSeed), inputmode: "numeric" });
  const fillSizes = () => {
    const chosen = networkOf(parts.controls.network.value)?.denoiser;
    for (const name of ["width", "depth"]) {
      parts.controls[name].value = chosen ? chosen[name] : "";
      parts.controls[name].disabled = !chosen;
    }
  };
  const conditions = el("select", { id: "set-conditions" }, option("auto", "as usual"), option("any", "any column"), option("", "whole rows only"));
  parts.controls.conditions = conditions;
  parts.schedule = el("div", { id: "schedule-drawn" });
  parts.betaText = el("span", { "aria-hidden": "true" });
  parts.controls.beta_max = el("input", { type: "range", id: "set-beta_max", min: "0.005", max: "0.2", step: "0.001", value: String(BETA_MAX) });
  parts.beta = el("div", { class: "field" }, el("label", { for: "set-beta_max" }, prose("β at the end of the line, from 0.001: "), parts.betaText), parts.controls.beta_max);
  const schedule = chooser("schedule", "Schedule", schedules, "how the noise grows");
  const form = el("div", {},
    el("div", { class: "row" }, field("Settings", preset, "what all settings below start from"), field("Seed of the weights", parts.seed, "the same seed, the same first weights")),
    parts.more = el("details", { id: "more-settings", ontoggle: drawSchedule }, el("summary", {}, "Schedule, steps, network, sampler"), el("div", { class: "grid" },
      schedule, amount("n_steps", "Steps N of the chain", "1,000 by default, 100 in the notebook", { min: "2", step: "1" }),
      chooser("network", "Network", networks, "what learns"), amount("width", "Width", "units of a layer", { min: "1", max: "512", step: "1" }), amount("depth", "Depth", "blocks or layers", { min: "1", max: "16", step: "1" }), chooser("sampler", "Sampler", samplers, "how rows are drawn"),
      chooser("reverse_variance", "Reverse variance", variances, "σ² of the chain's steps"), field("Conditions", conditions, "whether columns may be given"),
      amount("max_steps", "Training steps", "at most", { min: "1", step: "1" }), amount("epochs", "Epochs", "5,000 in the notebook, which takes minutes", { min: "1", step: "1", placeholder: "200" }), amount("max_time", "Time limit, s", "of the whole fit", { min: "0.1", step: "0.1" })),
    el("h3", { class: "below" }, "The schedule"), parts.beta, parts.schedule, why("schedule")));
  parts.controls.reverse_variance.parentElement.append(why("sigma"));
  for (const name of ["preset", "schedule", "n_steps", "beta_max"]) parts.controls[name].addEventListener("input", drawScheduleSoon);
  parts.controls.network.addEventListener("change", fillSizes);
  fillSizes();
  return form;
}

// The notebook counts epochs, the defaults training steps.
function showAmounts() {
  const isNotebook = parts.controls.preset.value === "ddpm";
  parts.controls.max_steps.parentElement.hidden = isNotebook;
  parts.controls.epochs.parentElement.hidden = !isNotebook;
  if (isNotebook && !parts.controls.epochs.value) parts.controls.epochs.value = "200";
}

// A fit that was running when the tab was loaded again.
async function resume() {
  const fit = sessionStorage.getItem(FIT_KEY);
  if (!fit || live.fit) return;
  let known;
  try {
    known = await getJson(`/api/fits/${fit}`);
  } catch {
    sessionStorage.removeItem(FIT_KEY);
    return;
  }
  live.isOld = known.state !== "running";
  listen(fit);
}

export const trainPanel = {
  name: "train",
  title: "Train",
  build(root) {
    parts.chart = el("div", { class: "chart-box", id: "training-chart" });
    parts.reading = el("p", { class: "figure-line", id: "training-reading" });
    parts.bar = el("progress", { max: "1", value: "0", "aria-label": "Progress of the training" });
    parts.scale = el("input", { type: "checkbox", id: "late" });
    parts.scale.addEventListener("change", showChart);
    parts.train = el("button", { type: "button", class: "primary", id: "train", disabled: true, onclick: () => train(parts.train) }, "Train");
    parts.stop = el("button", { type: "button", id: "stop", onclick: () => attempt(parts.stop, () => postJson(`/api/fits/${live.fit}/stop`)) }, "Stop");
    parts.goOn = el("button", { type: "button", id: "go-on", onclick: () => goOn(parts.goOn) }, "Go on");
    parts.again = el("button", { type: "button", id: "again", onclick: () => train(parts.again) }, "Start again from the same weights");
    parts.stop.hidden = parts.goOn.hidden = parts.again.hidden = parts.bar.hidden = true;
    parts.notes = el("ul", { class: "hint messages" });
    parts.live = el("div", { class: "live", hidden: true }, parts.bar, parts.reading, parts.chart,
      el("p", { class: "hint" }, "Training: the mean over rows and noise levels. With the weight w = SNR it is L_simple, the squared distance to the noise; with 1 + SNR it is the v-loss, the default. "
        + "Held out: the part of the bound that the network decides, in nats per standardised row. It counts the noise levels of one schedule. To compare schedules, take −log p by the ODE under Bound. "
        + "Tables with levels, and models that take conditions, have the cross-entropy of levels, or the training loss, in its place."), why("loss"), parts.notes, el("p", { class: "check" }, parts.scale, el("label", { for: "late" }, "The last three quarters only")));
    add(root,
      el("p", { class: "lead" }, "Choose rows, and watch a network learn them. Two moons take a few seconds."),
      parts.live, el("h2", {}, "Rows"), dataChooser(() => buttons(Boolean(live.events))), el("h2", {}, "Settings"), settingsForm(),
      el("p", { class: "row actions" }, parts.train, parts.stop, parts.goOn, parts.again),
    );
    if (state.fit) fillSettings(state.fit);
    showAmounts();
    resume();
  },
  show() {
    attempt(null, firstData);
  },
  hide() {
    const [stage] = session.stages;
    stage.snapshot = stage.background = null;
    stage.caption.textContent = usualCaption();
    redraw();
  },
  update() {},
};

// Trains what a link describes, where its model is not in this workspace.
export async function trainFromLink() {
  session.data = await rowsOf(state.data);
  fillSettings(state.fit);
  parts.seed.value = String(state.fitSeed);
  await train(parts.train);
}
