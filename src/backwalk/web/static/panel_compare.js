// Two settings side by side under one seed.
import { add, count, el, field, number, option, say, tableOf } from "./dom.js";
import { redraw } from "./player.js";
import { samplerControls } from "./panel_watch.js";
import { attempt, chainBody, fetchChain, modelChoices, modelId, onModel, session, usualCaption } from "./session.js";
import { theCard } from "./source.js";
import { change, state } from "./state.js";

const parts = { sides: [] };
let pair = [];
let asked = 0;

// Each side as text in the state: model, solver, evaluations, variance, eta.
export function sideText({ model = "", solver = "", evaluations = 0, variance = "", eta = 0 }) {
  return [model, solver, evaluations || "", variance, eta || ""].join(",");
}

function sideOf(text) {
  const [model, solver, evaluations, variance, eta] = text.split(",");
  return { model: model || "", solver: solver || "", evaluations: Number(evaluations) || 0, variance: variance || "", eta: Number(eta) || 0 };
}

const PAIRS = {
  "Notebook and default": [{ model: "notebook", solver: "ancestral" }, { model: "start", solver: "" }],
  "Ancestral and DDIM": [{ solver: "ancestral", evaluations: 20 }, { solver: "ddim", evaluations: 20 }],
  "DDIM and multistep": [{ solver: "ddim", evaluations: 10 }, { solver: "multistep", evaluations: 10 }],
  "5 and 100 steps": [{ solver: "ddim", evaluations: 5 }, { solver: "ddim", evaluations: 100 }],
  "10 and 100 steps": [{ solver: "ancestral", evaluations: 10 }, { solver: "ancestral", evaluations: 100 }],
  "σ² = β and β̃": [{ solver: "ancestral", evaluations: 20, variance: "beta" }, { solver: "ancestral", evaluations: 20, variance: "beta_tilde" }],
};

function pairText(name) {
  return PAIRS[name].map((side) => sideText({ model: state.model, ...side })).join("~");
}

function chosen() {
  return (state.pair || pairText("Ancestral and DDIM")).split("~").slice(0, 2).map(sideOf);
}

async function load() {
  if (state.tab !== "compare" || !session.card) return;
  const turn = (asked += 1), sides = chosen();
  document.body.classList.add("waiting");
  session.stages.forEach((stage, i) => { stage.caption.textContent = `${"AB"[i]}: drawing the chain`; });
  const got = await attempt(null, () => Promise.all(sides.map(async (side) => {
    const body = chainBody({
      sampler: side.solver || null, n_evaluations: side.evaluations || null, reverse_variance: side.variance || null, eta: side.eta || null,
      columns: side.model === state.model ? chainBody().columns ?? null : null,
    });
    const [chain, card] = await Promise.all([fetchChain(side.model, body), theCard(modelId(side.model))]);
    return { chain, card };
  })));
  if (turn !== asked) return;
  document.body.classList.remove("waiting");
  if (!got || state.tab !== "compare") return;
  pair = got;
  session.stages.forEach((stage, i) => {
    stage.chain = pair[i].chain;
    stage.caption.textContent = `${"AB"[i]}: ${pair[i].card.title}; ${pair[i].chain.header.sampler.words.split(";")[0]}`;
  });
  session.pair = pair;
  parts.table.replaceChildren(tableOf("The two settings in numbers", ["setting", "A", "B"], [
    ["model", ...pair.map(({ card }) => card.title)],
    ["sampler", ...pair.map(({ chain }) => chain.header.sampler.words)],
    ["evaluations per row", ...pair.map(({ chain }) => String(chain.header.sampler.n_evaluations))],
    ["steps N", ...pair.map(({ card }) => count(card.schedule.n_steps))],
    ["ᾱ_N, the signal left at the end", ...pair.map(({ card }) => number(card.schedule.alpha_bar[card.schedule.n_steps], 4))],
    ["prior mismatch, nats", ...pair.map(({ card }) => number(card.prior_mismatch, 3))],
  ], { class: "compare" }));
  redraw();
  say("Both chains are drawn.");
}

async function fillModels() {
  const models = await attempt(null, modelChoices) || [];
  for (const side of parts.sides) side.model.replaceChildren(...models.map(({ value, title }) => option(value || session.catalogue.start.model, title)));
  show();
}

function show() {
  chosen().forEach((values, i) => {
    parts.sides[i].model.value = values.model || session.catalogue.start.model;
    parts.sides[i].sampler.show();
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
  const sampler = samplerControls((values) => changeSide(i, values), () => chosen()[i]);
  parts.sides[i] = { model, sampler };
  return el("fieldset", {}, el("legend", {}, "AB"[i]), field("Model", model), sampler.parts);
}

export const comparePanel = {
  name: "compare",
  title: "Compare",
  build(root) {
    parts.table = el("div", { id: "compare-table" });
    add(root,
      el("p", { class: "lead" }, "Two settings under one seed: both chains start from the same noise, so that only the settings differ."),
      el("div", { class: "chips", role: "group", "aria-label": "Comparisons to start from" },
        Object.keys(PAIRS).map((name) => el("button", { type: "button", onclick: () => change({ pair: pairText(name) }) }, name))),
      el("div", { class: "two" }, controls(0), controls(1)), parts.table,
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
    asked += 1;
    document.body.classList.remove("comparing", "waiting");
    const [first, second] = session.stages;
    second.root.hidden = true;
    first.chain = session.chain;
    first.caption.textContent = usualCaption();
    session.pair = null;
    redraw();
  },
  update(changed) {
    if (changed.has("pair") || changed.has("seed") || changed.has("n")) {
      show();
      load();
    }
  },
};
