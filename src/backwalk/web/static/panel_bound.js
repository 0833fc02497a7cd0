// The variational bound, a bar per step, and the ladder of figures.
import { barChart, ladder } from "./charts.js";
import { add, el, number, tableOf, withError } from "./dom.js";
import { boundRule, formula } from "./formulas.js";
import { attempt, nowAt, onModel, session } from "./session.js";
import { theBound } from "./source.js";
import { state } from "./state.js";

const NAMES = { entropy: "entropy (the least)", ode: "−log p by the ODE", bound: "bound L of the chain" };
const parts = {};
let answer = null;
let askedFor = null;

function showBars() {
  if (!answer) return;
  const { t } = nowAt();
  const lit = answer.terms.reduce((best, term) => (Math.abs(term.t - t) < Math.abs(best.t - t) ? term : best));
  if (parts.lit === lit.t) return;
  parts.lit = lit.t;
  parts.bars.replaceChildren(barChart("The bound's terms against the step t, in nats", answer.terms, "step t", "nats", { lit: lit.t }));
  parts.reading.textContent = `Step t = ${lit.t} costs ${number(lit.value, 3)} ± ${number(lit.error, 2)} nats.`;
}

// A table of all terms, made when it is opened.
function showNumbers() {
  if (!parts.all.open || !answer) return;
  parts.numbers.replaceChildren(tableOf("The bound's terms", ["step t", "nats per row"], answer.terms.map(({ t, value, error }) => [String(t), `${number(value, 3)} ± ${number(error, 2)}`])));
}

function showAll() {
  showNumbers();
  parts.lit = null;
  showBars();
  const sum = answer.terms.reduce((total, term) => total + term.value, 0);
  parts.ladder.replaceChildren(
    ladder("Entropy, ODE and bound with two standard errors, in nats per row", answer.ladder.map((rung) => ({ ...rung, name: NAMES[rung.name] || rung.name })), "nats per row"),
    tableOf("The ladder of figures", ["figure", "nats per row"], answer.ladder.map((rung) => [NAMES[rung.name] || rung.name, withError(rung.value, rung.error)])),
  );
  parts.parts.replaceChildren(tableOf("Parts of the bound", ["part", "nats per row"], [
    ["prior, how far x_N is from noise", withError(answer.prior, answer.prior_error, 4)],
    ["of it lost to the prior mismatch, at least", number(answer.prior_mismatch, 3)],
    [`the ${answer.terms.length} bars together`, number(sum, 4)],
    ["reconstruction", number(answer.reconstruction, 4)],
  ]));
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
    parts.numbers = el("div", {});
    parts.all = el("details", { ontoggle: showNumbers }, el("summary", {}, "The bars as numbers"), parts.numbers);
    parts.ladder = el("div", { id: "bound-ladder" });
    parts.parts = el("div", {});
    add(root,
      el("p", { class: "lead" }, "How good is the model, in nats? The bound L is never below the entropy on average, and each step of the chain adds its part."),
      formula("The bound", boundRule()), parts.bars, parts.reading, parts.all, el("h2", {}, "The ladder of figures"),
      el("p", { class: "soft" }, "No model can be below the entropy in expectation. The ODE and the chain are two models of one network, so each has its own figure. Whiskers are two standard errors."),
      parts.ladder, el("h2", {}, "The parts"), parts.parts,
    );
    onModel(() => {
      answer = askedFor = null;
      if (state.tab === "bound") load();
    });
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
