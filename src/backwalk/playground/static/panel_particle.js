// One particle, one step: the numbers inside the formulas, and their marks in the picture.
import { add, digits, el, field, refill, say } from "./dom.js";
import {
  SYMBOLS, ddimNumbers, ddimRule, estimateNumbers, estimateRule, formula, inlineSymbol, meanNumbers, meanRule, prose, scrollable, stepNumbers, stepRule, varianceOf,
} from "./formulas.js";
import { pause, redraw, singleStep } from "./player.js";
import { nowAt, onChain, onModel, session, tell } from "./session.js";
import { heldRows, theParticle } from "./source.js";
import { change, drawing, state } from "./state.js";
import { why } from "./why.js";

let particle = null; // the answer for the row that is shown
let shownStep = null;
let isPicked = false; // whether the numbers are to be brought into sight
const parts = {};

// The step that leaves the state at the slider; at t = 0 the last one.
function stepNow() {
  const { t } = nowAt();
  return particle.steps.reduce((best, step) => (Math.abs(step.t - t) < Math.abs(best.t - t) ? step : best));
}

function marksOf(step) {
  const [x, y] = step.x_t, [e, f] = step.eps_theta, noise = step.b;
  const marks = [
    { symbol: "eps_theta", text: "ε", shape: "arrow", from: [x - noise * e, y - noise * f], at: step.x_t, label: [8, -8] },
    { symbol: "x_0_hat", text: "x̂₀", shape: "point", at: step.x_0_hat, label: [-10, 18] },
  ];
  if (step.sigma_t > 0) marks.push({ symbol: "sigma_t", text: "σ", shape: "circle", at: step.mu_theta, radius: step.sigma_t, label: [6, 12] });
  if (step.noise) marks.push({ symbol: "mu_theta", text: "μ", shape: "point", at: step.mu_theta, label: [-10, -8] });
  marks.push({ symbol: "x_next", text: `x${[...String(step.t_next)].map((digit) => "₀₁₂₃₄₅₆₇₈₉"[digit]).join("")}`, shape: "point", at: step.x_next, label: [10, 18] });
  marks.push({ symbol: "x_t", text: "xₜ", shape: "point", at: step.x_t, label: [10, -8] });
  for (const mark of marks) Object.assign(mark, { ink: SYMBOLS[mark.symbol].ink, isNear: ["x_t", "mu_theta", "sigma_t", "x_next"].includes(mark.symbol) });
  spread(marks.filter((mark) => mark.isNear && mark.shape === "point"));
  return marks;
}

// Labels of marks that lie close to each other point away from the others.
function spread(near) {
  const middle = [0, 1].map((k) => near.reduce((sum, mark) => sum + mark.at[k], 0) / near.length);
  for (const mark of near) {
    const away = mark.at.map((value, k) => value - middle[k]), length = Math.hypot(...away);
    if (length > 0) mark.label = [(14 * away[0]) / length, 5 - (16 * away[1]) / length];
  }
}

// Lights a symbol in the picture, in the formulas and in the list.
export function light(symbol) {
  for (const stage of session.stages) stage.lit = symbol;
  for (const node of document.querySelectorAll("[data-symbol]")) node.classList.toggle("lit", node.getAttribute("data-symbol") === symbol);
  redraw();
}

function listenForSymbols(root) {
  const of = (event) => event.target.closest?.("[data-symbol]")?.getAttribute("data-symbol") || null;
  root.addEventListener("pointerover", (event) => light(of(event)));
  root.addEventListener("pointerleave", () => light(null));
  root.addEventListener("focusin", (event) => light(of(event)));
  root.addEventListener("focusout", () => light(null));
}

// A step without fresh noise has none to show.
function withoutNoNoise(answer) {
  return { ...answer, steps: answer.steps.map((step) => (step.sigma_t > 0 ? step : { ...step, noise: null })) };
}

function valueOf(step, name) {
  const values = { ...step, z: step.noise, x_next: step.x_next };
  const value = values[name];
  if (value === null || value === undefined) return "none";
  return Array.isArray(value) ? `(${value.map((v) => digits(v)).join(", ")})` : digits(value);
}

// The symbols with their values, and what they would be if the network were exact.
function symbolTable(step) {
  const exact = step.exact ?? {}, hasExact = Boolean(step.exact);
  const rows = Object.entries(SYMBOLS).map(([name, { words }]) => el("tr", { "data-symbol": name },
    el("th", { scope: "row" }, el("button", { type: "button", class: `symbol-button symbol-${name}`, "aria-label": `Show ${SYMBOLS[name].plain} in the picture` }, inlineSymbol(name, step))),
    el("td", { class: "meaning" }, words), el("td", { class: "value" }, valueOf(step, name)), hasExact && el("td", { class: "value exact" }, exact[name] ? valueOf(exact, name) : "")));
  const name = "Symbols of this step and their values";
  return scrollable(el("div", { class: "wide", role: "region", "aria-label": name }, el("table", { class: "symbols" }, el("caption", { class: "hidden" }, name),
    hasExact && el("thead", {}, el("tr", {}, ["symbol", "meaning", "learned", "exact"].map((text) => el("th", { scope: "col" }, text)))), el("tbody", {}, rows))));
}

function showStep() {
  const step = stepNow();
  parts.where.replaceChildren(`Row ${particle.row}, from t = ${step.t} to t = ${step.t_next}`, nowAt().t === 0 ? ", the step that led here, as at t = 0 the row is done. " : ". ",
    inlineSymbol("x_t"), ` is ${digits(step.a, step.a > 0.9995 ? 7 : 4)} times a clean point plus ${digits(step.b)} times noise.`);
  if (step === shownStep) return;
  shownStep = step;
  const [stage] = session.stages;
  stage.marks = marksOf(step);
  stage.faded = true;
  const { solver, eta } = particle.sampler;
  parts.symbols.replaceChildren(symbolTable(step));
  const { predicts } = session.card, isOther = predicts && !predicts.includes("ε");
  const lines = [formula("What the network says", estimateRule(), estimateNumbers(step)), predicts && el("p", { class: "hint" }, prose(`Its own output is ${predicts}.${isOther ? " x̂_0 follows from that, and ε_θ from x̂_0 by this formula." : ""}`))];
  const variance = step.sigma_t > 0 ? varianceOf(step, solver, eta, particle.reverse_variance) : null;
  const spread = variance ? [formula("The variance of the fresh noise", ...variance.rules, variance.numbers), variance.hint && el("p", { class: "hint" }, prose(variance.hint)), why(solver === "ddim" ? "eta" : "sigma")] : [];
  if (solver === "ancestral") {
    lines.push(formula("The mean of the next point", meanRule(), meanNumbers(step)));
    if (step.t_next !== step.t - 1) lines.push(el("p", { class: "hint" }, prose(`The chain visits t = ${step.t} and then t = ${step.t_next}: α_t = ${digits(step.alpha)} and β_t = 1 − α_t are those of this long step, and t − 1 stands for ${step.t_next}.`)));
    lines.push(...spread, formula("The next point", stepRule(step), stepNumbers(step)));
    if (!step.noise) lines.push(el("p", { class: "hint" }, "The last step adds no noise."));
  } else {
    lines.push(...spread, formula("The next point", ddimRule(step), ddimNumbers(step)));
    if (!spread.length) lines.push(why("eta"));
    lines.push(el("p", { class: "hint" }, `Here t − 1 stands for ${step.t_next}, the next place that the chain visits.`), parts.ancestral);
  }
  refill(parts.lines, lines);
  redraw();
}

let asked = 0;
let loading = false;

async function load() {
  if (!session.chain) return;
  const turn = (asked += 1);
  parts.row.value = String(state.row);
  parts.ofPaper.hidden = heldRows(session.card.id) === null;
  loading = true;
  parts.root.classList.add("waiting");
  if (!particle) parts.where.textContent = "Following the row through the chain.";
  try {
    const answer = await theParticle(session.card.id, drawing({ row: state.row }));
    if (turn !== asked) return;
    particle = withoutNoNoise(answer);
    shownStep = null;
    if (state.tab === "particle") showStep();
    if (isPicked) showNumbers();
    isPicked = false;
  } catch (error) {
    tell(error);
  } finally {
    if (turn === asked) {
      loading = false;
      parts.root.classList.remove("waiting");
    }
  }
}

// Brings the numbers into sight, unless they are there already.
function showNumbers() {
  const { top } = parts.where.getBoundingClientRect(), above = parseFloat(getComputedStyle(document.documentElement).scrollPaddingTop) || 0;
  if (top < above || top > 0.6 * window.innerHeight) parts.where.scrollIntoView({ block: "start" });
}

export function pick(row) {
  const held = heldRows(session.card.id), nearest = held ? held.reduce((a, b) => (Math.abs(b - row) < Math.abs(a - row) ? b : a)) : row;
  pause();
  isPicked = state.tab !== "particle"; // in this panel the text stays where it is
  change({ row: nearest, tab: "particle", side: "backward" });
  say(`Particle ${nearest} is chosen.`);
}

export const particlePanel = {
  name: "particle",
  title: "Particle",
  build(root) {
    parts.root = root;
    parts.row = el("input", { type: "number", min: "0", step: "1", id: "row", value: state.row });
    parts.row.addEventListener("change", () => pick(Math.min((session.chain?.header.n ?? Infinity) - 1, Math.max(0, Math.round(Number(parts.row.value) || 0)))));
    parts.ofPaper = el("p", { class: "hint", hidden: true }, "The steps are the paper's, ancestral, at most 50 of them; the picture is drawn by the model's own sampler.");
    parts.where = el("p", { id: "particle-where" });
    parts.symbols = el("div", {});
    parts.lines = el("div", { class: "formulas", id: "particle-formulas" });
    parts.ancestral = el("button", { type: "button", onclick: () => change({ solver: "ancestral", evaluations: 0, eta: 0 }) },
      "Use the ancestral sampler, 50 steps");
    add(root,
      el("p", { class: "lead" }, "One step of one particle. Point at a symbol, and it lights up in the picture; click on another point to follow that one."),
      el("p", { class: "hint" }, "Numbers are standardised, as the picture's axes are now: a column's mean is 0 and its standard deviation 1."),
      el("div", { class: "row" }, field("Particle (row)", parts.row),
        el("div", { class: "field" }, el("button", { type: "button", onclick: () => singleStep(-1) }, "Take this step"))),
      parts.ofPaper, parts.where, parts.symbols, parts.lines,
    );
    listenForSymbols(root);
    onModel(() => {
      particle = shownStep = null;
      for (const part of [parts.where, parts.symbols, parts.lines]) part.replaceChildren();
    });
    onChain(() => {
      particle = null;
      if (state.tab === "particle") load();
    });
  },
  show() {
    session.stages[0].isStandardised = true;
    load();
  },
  hide() {
    const [stage] = session.stages;
    stage.isStandardised = false;
    stage.marks = [];
    stage.faded = false;
    shownStep = null;
    light(null);
  },
  update(changed) {
    if (changed.has("row")) load();
    else if (changed.has("p") && particle && !loading) showStep();
  },
};
