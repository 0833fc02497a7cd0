// The variational bound, a bar for each step, and the figures that it stands beside.
import { barChart } from "./charts.js";
import { add, digits, el, number, refill, tableOf, withError } from "./dom.js";
import { boundRule, formula, prose } from "./formulas.js";
import { attempt, nowAt, onChain, onModel, session } from "./session.js";
import { theBound } from "./source.js";
import { state } from "./state.js";

const NAMES = { entropy: "entropy (the least)", ode: "−log p by the ODE", bound: "bound L of the chain" };
const parts = {};
let answer = null;
let askedFor = null;

// The terms L_0 .. L_N as {k, value, error}: L_{t-1} is that of step t, and L_N that of the start.
function terms() {
  const { reconstruction, prior } = answer, steps = answer.terms.map(({ t, ...term }) => ({ ...term, k: t - 1 }));
  return [{ k: 0, value: reconstruction }, ...steps, { k: steps.length + 1, value: prior }];
}

function showBars() {
  if (!answer) return;
  const all = terms(), lit = all[Math.max(0, Math.min(nowAt().t, all.length - 1) - 1)];
  if (parts.lit === lit.k) return;
  parts.lit = lit.k;
  parts.bars.replaceChildren(barChart("The bound's terms, in nats", all, "k of Lₖ", "nats", { lit: lit.k }));
  refill(parts.reading, prose(`Step t = ${lit.k + 1} costs ${withError(lit.value, lit.error)} nats: the bar at k = ${lit.k}. Where L_0 and L_N leave the scale of the others their bars are cut.`));
}

// With four decimals, so that they add up, and with four significant digits.
const summand = (value) => digits(value, Math.max(4, Math.floor(Math.log10(Math.abs(value))) + 5));

function showAll() {
  parts.lit = null;
  showBars();
  const sum = answer.terms.reduce((total, term) => total + term.value, 0), isPaired = answer.pairing !== null;
  parts.ladder.replaceChildren(tableOf("The ladder of figures", ["figure", "nats per row"], answer.ladder.map(({ name, value, error }) => [NAMES[name], withError(value, error)])));
  parts.parts.replaceChildren(tableOf("Parts of the bound", ["part", "nats per row"], [
    ["L_N, how far x_N is from noise", summand(answer.prior)],
    [`the ${answer.terms.length} terms between, together`, summand(sum)],
    ["L_0, −log p(x_0 | x_1) of the last step", summand(answer.reconstruction)],
    [`their sum, L of these ${answer.n} rows`, summand(answer.bound)],
    ...(isPaired ? [["the entropy less −log p of these rows", summand(answer.pairing)], ["L, as in the ladder", summand(answer.bound + answer.pairing)]] : []),
  ].map(([text, value]) => [prose(text), value])),
  el("p", { class: "hint" }, prose(`Of L_N at least ${number(answer.prior_mismatch)} nats are lost to the prior mismatch. `
    + "L_0 may be negative, and L as well: it is −log of a density, not of a probability. Where x_1 tells x_0 to within much less than one unit, the density there is far above 1.")),
  ...(isPaired ? [el("p", { class: "hint" }, "The data's density is known here. So the ladder corrects the mean over a few rows: it takes their own −log p out, and puts its exact mean, the entropy, in.")] : []));
}

async function load() {
  if (!session.card) return;
  const key = `${session.card.id} ${state.seed}`;
  if (askedFor === key && answer) {
    showBars();
    return;
  }
  askedFor = key;
  answer = null;
  parts.reading.textContent = "Computing the bound of 500 rows, which takes a few seconds.";
  parts.root.classList.add("waiting");
  const got = await attempt(null, () => theBound(session.card.id, { n: 500, seed: state.seed }));
  if (askedFor !== key) return;
  parts.root.classList.remove("waiting");
  if (!got) {
    askedFor = null;
    return;
  }
  answer = got;
  showAll();
}

export const boundPanel = {
  name: "bound",
  title: "Bound",
  build(root) {
    parts.root = root;
    parts.bars = el("div", { class: "chart-box", id: "bound-bars" });
    parts.reading = el("p", { class: "hint" });
    parts.ladder = el("div", { id: "bound-ladder" });
    parts.parts = el("div", {});
    add(root,
      el("p", { class: "lead" }, "How good is the model, in nats? The bound L is never below the entropy on average, and each step of the chain adds its part."),
      formula("The bound", boundRule()),
      el("p", { class: "hint" }, prose("Why it is a bound: p_θ(x_0) is a mean over all paths from x_N to x_0, and −log of a mean is at most the mean of −log (Jensen's inequality). L is that mean, over the paths of the forward chain. The gap is how far these paths are from the model's own, in nats, and a tall bar is a step where they differ.")), parts.bars, parts.reading, el("h2", {}, "The ladder of figures"),
      el("p", { class: "soft" }, "No model can be below the entropy in expectation. The ODE and the chain are two models of one network, so each has its own figure, here with its standard error."),
      parts.ladder, el("h2", {}, "The parts"), parts.parts,
    );
    onModel(() => {
      answer = askedFor = null;
      if (state.tab === "bound") load();
    });
    onChain(() => state.tab === "bound" && showBars());
  },
  show() {
    load();
  },
  hide() {},
  update(changed) {
    if (changed.has("seed")) load();
    else if (changed.has("p")) showBars();
  },
};
