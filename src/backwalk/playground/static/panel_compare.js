// Two settings side by side under one seed, and how good their rows are.
import { add, count, digits, el, field, option, refill, say, tableOf, withError } from "./dom.js";
import { prose } from "./formulas.js";
import { redraw } from "./player.js";
import { samplerControls } from "./panel_watch.js";
import { attempt, fetchChain, modelChoices, modelId, onModel, session, usualCaption } from "./session.js";
import { MOST_EVALUATIONS, SCHEDULES } from "./models.js";
import { START, theCard, theLogP, theQuality } from "./source.js";
import { asked, change, drawing, state } from "./state.js";

const FIGURES = [
  { name: "distance", title: "sliced distance" },
  { name: "logP", title: "−log p, nats" },
];
const parts = { sides: [] };
let pair = [];
let turn = 0;
let asking = new AbortController();

// Each side as text in the state: model, solver, evaluations, variance, eta, schedule.
export function sideText({ model = "", solver = "ancestral", evaluations = 0, variance = "beta_tilde", eta = 0, schedule = "" }) {
  return [model, solver, evaluations || "", variance, eta || "", schedule].join(",");
}

function sideOf(text) {
  const [model = "", solver, evaluations, variance, eta, schedule = ""] = text.split(",");
  return { model, solver: solver || "ancestral", evaluations: Number(evaluations) || 0, variance: variance || "beta_tilde", eta: Number(eta) || 0, schedule };
}

// Comparisons to start from: their sides, and what to look at.
const PAIRS = {
  "The course’s network and a better one": {
    sides: [{ model: "course" }, { model: "better" }],
    words: "Same rows, same noise, and about as many weights: 30,902 and 25,346. The better network reads the noise level, and predicts what is left after the best linear answer.",
  },
  "The notebook’s chain": {
    sides: [{ model: "notebook", evaluations: 100, variance: "beta" }, { model: "better" }],
    words: "The notebook’s chain ends at ᾱ_N = 0.3475, but sampling starts from pure noise. Press Both and move the slider to noise: on the left the two clouds differ.",
  },
  "Ancestral and DDIM": {
    sides: [{ evaluations: 10 }, { solver: "ddim", evaluations: 10 }],
    words: "The ancestral step adds fresh noise, DDIM none: its paths are smooth, and the same x_N leads to the same row.",
  },
  "10 and 100 steps": {
    sides: [{ evaluations: 10 }, { evaluations: 100 }],
    words: "Why 10 steps fail: each draws x_{t−1} from one Gaussian. That is right for a short step. Over a long one x_{t−1} may lie in several places, whose mean μ_θ is none of them, so rows are left between the moons.",
  },
  "Linear and cosine": {
    sides: [{ model: "better", evaluations: 20, schedule: "linear" }, { model: "better", evaluations: 20, schedule: "cosine" }],
    words: "One network, 20 of 1,000 steps. The line takes 4 of them where ᾱ_t is above one half, the cosine 10: it has more steps at little noise, where the shape is decided.",
  },
  "σ² = β and β̃": {
    sides: [{ evaluations: 10, variance: "beta" }, { evaluations: 10 }],
    words: "β is right for standard normal data, β̃ for a single point. In 10 steps β scatters the rows too far and β̃ too little; in many steps they agree.",
  },
};

function pairText(name) {
  return PAIRS[name].sides.map((side) => sideText({ model: state.model, ...side })).join("~");
}

function chosen() {
  return (state.pair || pairText("Ancestral and DDIM")).split("~").slice(0, 2).map(sideOf);
}

function settingsOf(side) {
  return { sampler: side.solver, n_evaluations: side.evaluations || null, reverse_variance: side.variance, eta: side.eta, schedule: side.schedule || null };
}

async function load() {
  if (state.tab !== "compare" || !session.card) return;
  const now = (turn += 1), sides = chosen();
  asking.abort();
  asking = new AbortController();
  document.body.classList.add("waiting");
  session.stages.forEach((stage, i) => { stage.caption.textContent = `${"AB"[i]}: drawing the chain`; });
  const got = await attempt(null, () => Promise.all(sides.map(async (side) => {
    const body = drawing({ n: state.n, ...settingsOf(side) });
    const [chain, card] = await Promise.all([fetchChain(side.model, body), theCard(modelId(side.model))]);
    return { chain, card };
  })));
  if (now !== turn) return;
  document.body.classList.remove("waiting");
  if (!got || state.tab !== "compare") return;
  pair = got;
  session.stages.forEach((stage, i) => { stage.chain = pair[i].chain; });
  show();
  showQuality([{}, {}]);
  redraw();
  say("Both chains are drawn.");
  loadQuality(now, sides);
}

function captionOf(i, figures) {
  const { card, chain } = pair[i], { distance, logP } = figures;
  const good = [distance && `distance ${digits(distance.value)}, ${digits(distance.value / distance.null)} times real rows’`, logP && `−log p ${digits(logP.value)}`].filter(Boolean);
  return [`${"AB"[i]}: `, el("span", { class: "title" }, `${card.title}; `), chain.header.sampler.words.split(";")[0], good.length > 0 && el("span", { class: "quality" }, good.join(" · "))];
}

// What is known of both sides: {c2st, distance, logP} each, with the same of other real rows.
function showQuality(known) {
  session.stages.forEach((stage, i) => refill(stage.caption, captionOf(i, known[i])));
  const cell = (i, { name }) => (known[i][name] ? withError(known[i][name].value, known[i][name].error) : known[i].problem ? "–" : "…");
  const null_ = ({ name }) => {
    const found = known.find((side) => side[name]?.null !== undefined && side[name].null !== null)?.[name];
    return found ? withError(found.null, found.null_error) : "–";
  };
  const rows = FIGURES.map((figure) => [figure.title, cell(0, figure), cell(1, figure), null_(figure)]);
  const problem = known.find((side) => side.problem)?.problem, origin = known.find((side) => side.origin)?.origin;
  refill(parts.quality,
    tableOf("How good the rows of both are", ["figure", "A", "B", "real rows"], rows, { class: "quality" }),
    el("p", { class: "hint" }, problem || (origin ? `Mean ± standard error; 4 sets of ${count(origin.n_rows)} rows, beside ${origin.rows}. ` : "Computing the figures, which takes some seconds. "),
      "Sliced distance: how far rows have to be moved to match real ones, in standard deviations. "
      + "−log p by the ODE, of new rows: the network's figure, whatever the sampler. Less is better in both; no rows beat the last column but by chance."));
}

// -log p of a model's network; its null is the entropy, where that is known.
function logPOf({ ladder }) {
  const ode = ladder.find((rung) => rung.name === "ode"), entropy = ladder.find((rung) => rung.name === "entropy");
  return { value: ode.value, error: ode.error, null: entropy?.value, null_error: entropy?.error };
}

async function loadQuality(now, sides) {
  const known = [{}, {}], { signal } = asking;
  const tellAs = (i, got) => {
    if (now !== turn) return;
    Object.assign(known[i], got);
    showQuality(known);
  };
  const asks = sides.flatMap((side, i) => [
    () => theQuality(modelId(side.model), asked({ ...settingsOf(side), seed: state.seed }), signal).then(({ figures, ...origin }) => tellAs(i, { ...figures, origin })),
    () => theLogP(modelId(side.model), { n: 500, seed: state.seed }, signal).then((answer) => tellAs(i, { logP: logPOf(answer) })),
  ]);
  for (const [k, ask] of asks.entries()) {
    try {
      await ask();
    } catch (error) {
      if (error.name === "AbortError") return;
      tellAs(k >> 1, { problem: error.message });
    }
  }
  if (now === turn) say("The figures of both are computed.");
}

async function fillModels() {
  const models = await attempt(null, modelChoices) || [];
  for (const side of parts.sides) side.model.replaceChildren(...models.map(({ value, title }) => option(value || START, title)));
  show();
}

function show() {
  const now = chosen().map(sideText).join("~");
  const name = Object.keys(PAIRS).find((each) => now === pairText(each));
  for (const chip of parts.chips) chip.setAttribute("aria-pressed", String(chip.textContent === name));
  refill(parts.words, name && prose(PAIRS[name].words));
  chosen().forEach((values, i) => {
    parts.sides[i].model.value = values.model || START;
    parts.sides[i].sampler.show();
    parts.sides[i].schedule.value = values.schedule;
    parts.sides[i].schedule.parentElement.hidden = !pair[i]?.card.any_level;
  });
}

function changeSide(i, values) {
  const sides = chosen();
  sides[i] = { ...sides[i], ...values };
  change({ pair: sides.map(sideText).join("~") });
}

function controls(i) {
  const model = el("select", {});
  model.addEventListener("change", () => changeSide(i, { model: model.value }));
  const sampler = samplerControls((values) => changeSide(i, values), () => chosen()[i], () => pair[i]?.card.schedule.n_steps ?? MOST_EVALUATIONS);
  const schedule = el("select", {}, option("", "its own"), Object.entries(SCHEDULES).map(([value, text]) => option(value, text)));
  schedule.addEventListener("change", () => changeSide(i, { schedule: schedule.value }));
  parts.sides[i] = { model, sampler, schedule };
  return el("fieldset", {}, el("legend", {}, "AB"[i]), field("Model", model), el("div", { class: "row" }, sampler.parts, field("Schedule", schedule, "this network serves any")));
}

export const comparePanel = {
  name: "compare",
  title: "Compare",
  build(root) {
    parts.quality = el("div", { id: "compare-quality" });
    parts.words = el("p", { id: "compare-words" });
    add(root,
      el("p", { class: "lead" }, "Two settings under one seed: both chains start from the same noise, so that only the settings differ."),
      el("div", { class: "chips", role: "group", "aria-label": "Comparisons to start from" },
        parts.chips = Object.keys(PAIRS).map((name) => el("button", { type: "button", onclick: () => change({ pair: pairText(name) }) }, name))),
      parts.words, parts.quality, controls(0), controls(1),
    );
    onModel(() => state.tab === "compare" && load());
  },
  show() {
    session.stages[1].root.hidden = false;
    document.body.classList.add("comparing");
    fillModels();
    load();
  },
  hide() {
    turn += 1;
    asking.abort();
    document.body.classList.remove("comparing", "waiting");
    const [first, second] = session.stages;
    second.root.hidden = true;
    first.chain = session.chain;
    first.caption.textContent = usualCaption();
    redraw();
  },
  update(changed) {
    if (changed.has("pair") || changed.has("seed") || changed.has("n")) {
      show();
      load();
    }
  },
};
