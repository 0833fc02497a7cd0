// Eight steps through the theory. Each sets the page's state and says what to look at.
import { byId, el, reducedMotion, say } from "./dom.js";
import { boundRule, estimateRule, forwardJump, forwardStep, lastLevel, meanRule, prose, scrollable, simpleLoss, stepRule, varianceRule } from "./formulas.js";
import { light } from "./panel_particle.js";
import { sideText } from "./panel_compare.js";
import { moveTo, pause, play, player } from "./player.js";
import { modelId, openModel } from "./session.js";
import { change, state } from "./state.js";

const HOME = "better"; // the model of the tour
const USUAL = { solver: "ancestral", evaluations: 0, variance: "beta_tilde", eta: 0 };
const side = (values) => sideText({ model: HOME, ...values });

const STEPS = [
  {
    title: "Data become noise",
    words: ["Take a row x_0 and add a little noise, N times. Each step shrinks the point by √(1 − β_t) and adds noise of variance β_t. "
      + "No step needs learning.", "Many small steps are one large one: x_t is the point times √ᾱ_t, plus noise. So x_t can be drawn for any t at once. At the end ᾱ_N is near 0, and nothing of the data is left."],
    formulas: () => [forwardStep(), forwardJump()],
    set: { tab: "watch", side: "forward", trails: true, ...USUAL }, at: 0, plays: true,
  },
  {
    title: "What the network learns",
    words: ["The network gets a noisy point and its noise level, and says which noise ε it sees in it. The loss is the squared distance to the noise that was really added.",
      "Nobody can know that noise exactly: many rows may have led to one point. The best answer is the mean over all of them. The arrows show it over the whole plane; move the slider to see them change with t."],
    formulas: () => [simpleLoss()],
    set: { tab: "field", side: "forward", field: "eps", trails: false, ...USUAL }, at: 0.45,
  },
  {
    title: "A guess of the clean point",
    words: ["Take the noise out that the network sees, and what remains is x̂_0, the mean of the clean points that x_t may come from.",
      "In much noise x̂_0 lies in the middle of the data, because all of them are possible. As t falls, fewer are, and it moves to these. The picture shows x̂_0 of all particles: drag the slider to the left, and watch the data appear."],
    formulas: () => [estimateRule()],
    set: { tab: "particle", side: "estimate", trails: false, row: 3, ...USUAL }, at: 0.7, lit: "x_0_hat",
  },
  {
    title: "One step back",
    words: ["From x_t, the next point is drawn around the mean μ_θ, which lies a little way towards x̂_0. The ring is σ_t: how much fresh noise z is added.",
      "Press “Take this step” a few times. The last step adds no noise."],
    formulas: () => [meanRule(), stepRule()],
    set: { tab: "particle", side: "backward", trails: true, row: 3, ...USUAL }, at: 0.5, lit: "mu_theta",
  },
  {
    title: "How much noise: σ and η",
    words: ["The marginals of the chain do not fix σ_t. The paper takes β_t or β̃_t. DDIM multiplies β̃_t by η²: η = 1 is the ancestral step, and with η = 0 nothing is random but the start.",
      "Left η = 1, right η = 0, 20 steps each, from the same noise. The paths on the right are smooth: the same noise gives nearly the same row, whatever the number of steps."],
    formulas: () => [varianceRule()],
    set: { tab: "compare", side: "backward", trails: true, ...USUAL, pair: [side({ solver: "ddim", evaluations: 20, eta: 1 }), side({ solver: "ddim", evaluations: 20 })].join("~") }, at: 0.3, plays: true,
  },
  {
    title: "The bound",
    words: ["Each reverse step is compared with the step that the data would make: a Kullback–Leibler divergence per t. Their sum, with a term for the start and one for the last step, is above −log p(x_0).",
      "One bar is one step. Below stand the entropy of the data, which no model can beat on average, the ODE's log-density, and the bound."],
    formulas: () => [boundRule()],
    set: { tab: "bound", side: "backward", ...USUAL }, at: 0.3,
  },
  {
    title: "Why the notebook’s chain starts wrong",
    words: ["The course notebook takes N = 100 steps with β from 0.001 to 0.02. Then ᾱ_N is 0.3475: x_N still holds 0.59 times the data. But sampling starts from pure noise, where the chain never was.",
      "Both clouds are shown at t = N: data with noise in blue, the sampler’s start in orange. On the left they differ, and no network can make up for it: the bound loses at least 0.01212 nats. On the right the chain ends in noise alone."],
    formulas: () => [lastLevel(0.3475)],
    set: { tab: "compare", side: "both", trails: false, ...USUAL, pair: [side({ model: "notebook", evaluations: 100, variance: "beta" }), side({})].join("~") }, at: 1,
  },
  {
    title: "A better network",
    words: ["Left the course’s network, right one of residual blocks that reads the noise level itself. They have 30,902 and 25,346 weights, saw the same rows, and start from the same noise.",
      "Below the pictures: how far the rows are from real ones, and −log p of new rows. Train both yourself under Train, with other settings, and see what helps."],
    formulas: () => [simpleLoss()],
    set: { tab: "compare", side: "backward", trails: false, ...USUAL, pair: [side({ model: "course" }), side({})].join("~") }, at: 0, plays: true,
  },
];

function card(number) {
  const step = STEPS[number - 1];
  const dots = STEPS.map(({ title }, i) => el("li", {}, el("button", { type: "button", "aria-label": `Step ${i + 1}: ${title}`, "aria-current": i + 1 === number ? "step" : null, onclick: () => goTo(i + 1) })));
  return [
    el("div", { class: "tour-head" }, el("p", { class: "overline" }, `Tour, step ${number} of ${STEPS.length}`),
      el("button", { type: "button", class: "plain", onclick: endTour, "aria-label": "End the tour" }, "End")),
    el("h2", { id: "tour-title", tabindex: "-1" }, step.title),
    step.words.map((text) => el("p", {}, prose(text.replaceAll(" = ", "\u00a0=\u00a0")))), scrollable(el("div", { class: "formula", role: "group", "aria-label": "Formulas of this step" }, step.formulas())),
    el("div", { class: "tour-foot" }, el("button", { type: "button", disabled: number === 1, onclick: () => goTo(number - 1) }, "Back"),
      el("ol", { class: "dots" }, dots),
      number < STEPS.length ? el("button", { type: "button", class: "primary", id: "tour-next", onclick: () => goTo(number + 1) }, "Next")
        : el("button", { type: "button", class: "primary", onclick: endTour }, "Done")),
  ];
}

export function showTour() {
  const box = byId("tour");
  box.hidden = state.tour === 0;
  box.replaceChildren(...(state.tour ? card(state.tour).flat() : []));
}

export async function goTo(number) {
  const step = STEPS[number - 1];
  pause();
  change({ tour: number });
  showTour();
  if (modelId(state.model) !== HOME) await openModel(modelId("") === HOME ? "" : HOME);
  change({ ...step.set, tour: number });
  moveTo(step.at);
  if (step.lit) setTimeout(() => light(step.lit), 600);
  byId("tour-title").focus({ preventScroll: true });
  byId("tour").scrollIntoView({ block: "nearest", behavior: reducedMotion() ? "auto" : "smooth" });
  say(`Step ${number}: ${step.title}`);
  if (step.plays && !reducedMotion() && !player.playing) play();
}

function endTour() {
  change({ tour: 0, pair: "" });
  showTour();
  change({ tab: "watch", side: "backward", trails: true });
  byId("tab-watch").focus();
}
