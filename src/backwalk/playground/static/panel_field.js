// What the network has learned, beside the exact answer where the density is known.
import { add, digits, el, field, option, say } from "./dom.js";
import { prose } from "./formulas.js";
import { Plot, arrows, heat, usualLength } from "./plots.js";
import { redraw } from "./player.js";
import { nowAt, onChain, session, tell } from "./session.js";
import { theField } from "./source.js";
import { change, state } from "./state.js";

const ARROWS = 22;
const FULL = 0.3; // relative difference of the map's full color
const WORDS = {
  score: "The score, the gradient of log q(x_t): it points to where rows are denser. Sampling follows it.",
  x_0_hat: "The way from each point to x̂_0, the mean of all clean points that it may come from.",
  eps: "The noise ε that the network sees in a point at each place: the opposite of the score, but for its length.",
};
const parts = {};
let asked = 0;

// A grid of vectors for drawing: for x_0_hat the way from the point to the estimate.
function drawn(grid, answer) {
  const k = answer.x.length, { x, y } = answer;
  if (answer.header.what !== "x_0_hat") return grid;
  return grid.map((value, i) => value - (i % 2 ? y[Math.floor(i / 2 / k)] : x[Math.floor(i / 2) % k]));
}

function showField(answer) {
  const k = answer.x.length, learned = drawn(answer.learned, answer), exact = answer.exact ? drawn(answer.exact, answer) : null;
  const scale = usualLength(exact || learned);
  parts.learned.show((pen, size) => {
    pen.clearRect(0, 0, size, size);
    arrows(pen, size, learned, k, { scale, ink: "--backward" });
  });
  parts.exact.root.hidden = parts.difference.root.hidden = parts.meaning.hidden = !exact;
  if (exact) {
    parts.exact.show((pen, size) => {
      pen.clearRect(0, 0, size, size);
      arrows(pen, size, exact, k, { scale, ink: "--forward" });
    });
    const rows = session.stages[0].occupied("forward", state.p, k);
    const away = Float32Array.from({ length: k * k }, (_, i) => {
      if (!rows[i]) return NaN;
      const u = exact[2 * i], v = exact[2 * i + 1];
      return Math.hypot(learned[2 * i] - u, learned[2 * i + 1] - v) / (FULL * Math.max(Math.hypot(u, v), answer.header.rms_exact));
    });
    parts.difference.show((pen, size) => {
      pen.clearRect(0, 0, size, size);
      heat(pen, size, away, k);
    });
    parts.difference.caption.textContent = `Length of the difference over the exact length; full color ${100 * FULL} %. Blank where no rows of this noise level lie.`;
  }
  const { rms, rms_exact: rmsExact, relative } = answer.header;
  parts.figure.replaceChildren(...(exact
    ? [el("strong", { id: "field-relative" }, `${digits(100 * relative)} %`), ` apart, where rows of this noise level lie: the root mean square of the difference is ${digits(rms)}, that of the exact field ${digits(rmsExact)}. ${answer.header.of === "rows" ? "The exact denoiser of a file remembers every row; the network cannot, and so its rows are new." : ""}`]
    : ["The exact field of this model's data is not known."]));
  parts.learned.caption.textContent = "Learned";
  background((pen, place, size) => arrows(pen, size, learned, k, { scale, ink: "--ink", opacity: 0.5 }));
}

function background(paint) {
  const [stage] = session.stages;
  stage.background = paint;
  redraw();
}

async function load() {
  if (!session.chain || state.tab !== "field") return;
  const turn = (asked += 1);
  parts.root.classList.add("waiting");
  try {
    const answer = await theField(session.card.id, { t: Math.max(1, Math.round(nowAt().t)), what: state.field, size: ARROWS });
    if (turn !== asked || state.tab !== "field" || !session.chain) return;
    showField(answer);
    const others = { absent: " The other columns count as absent.", mean: " The other columns are at their mean." }[answer.header.others] || "";
    parts.when.textContent = `At t = ${Math.max(1, Math.round(nowAt().t))}. Move the slider for other noise levels.${others}`;
    say("The field is drawn.");
  } catch (error) {
    tell(error);
  } finally {
    if (turn === asked) parts.root.classList.remove("waiting");
  }
}

let busy = false;
let stale = false;

// While the slider moves, the next field is asked for when the last one has come.
async function follow() {
  stale = true;
  if (busy) return;
  busy = true;
  while (stale) {
    stale = false;
    await load();
  }
  busy = false;
}

export const fieldPanel = {
  name: "field",
  title: "Field",
  build(root) {
    parts.root = root;
    parts.view = el("select", { id: "field-view" }, option("score", "Score"), option("x_0_hat", "x̂₀, the estimate of the clean point"), option("eps", "ε, the noise seen"));
    parts.view.addEventListener("change", () => change({ field: parts.view.value }));
    parts.words = el("p", { class: "soft" });
    parts.when = el("p", { class: "hint", "aria-live": "off" });
    parts.figure = el("p", { class: "figure-line" });
    parts.meaning = el("p", { class: "hint" }, prose("The exact field is that of E[x_0 | x_t]: the mean of all clean points, each with the probability that x_t comes from it. No network has a lower loss."));
    parts.learned = new Plot("Learned");
    parts.exact = new Plot("Exact");
    parts.difference = new Plot("Difference");
    add(root,
      el("p", { class: "lead" }, "The network is one function of place and noise level. Here it is at the slider's noise level, beside the exact one."),
      field("Show", parts.view), parts.words, parts.when,
      el("div", { class: "plots" }, parts.learned.root, parts.exact.root, parts.difference.root, parts.figure), parts.meaning,
    );
    onChain(load);
    this.update(new Set());
  },
  show() {
    load();
  },
  hide() {
    background(null);
  },
  update(changed) {
    parts.view.value = state.field;
    parts.words.replaceChildren(...prose(WORDS[state.field]));
    if (changed.has("field")) load();
    else if (changed.has("p")) follow();
  },
};
