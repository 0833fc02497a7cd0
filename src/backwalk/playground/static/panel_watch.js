// The first panel: what is to be seen, and how the chain is drawn.
import { add, count, el, field, number, option, refill } from "./dom.js";
import { prose } from "./formulas.js";
import { redraw } from "./player.js";
import { attempt, modelChoices, onChain, onModel, openModel, session } from "./session.js";
import { showSchedule } from "./schedule_view.js";
import { MOST_EVALUATIONS } from "./models.js";
import { heldRows, theSchedule } from "./source.js";
import { change, state } from "./state.js";
import { why } from "./why.js";

// The controls of a sampler, which `read` and `onPick` get and set; `most` is the number of steps of the chain.
export function samplerControls(onPick, read, most) {
  const solver = el("select", { class: "solver" }, option("ancestral", "ancestral"), option("ddim", "DDIM"));
  const evaluations = el("input", { type: "number", min: "1", max: "100000", step: "1", inputmode: "numeric" });
  const variance = el("select", {}, option("beta_tilde", "β̃"), option("beta", "β"));
  const eta = el("input", { type: "number", min: "0", max: "1", step: "0.1", value: "0", inputmode: "decimal" });
  const parts = [
    field("Sampler", solver), field("Evaluations", evaluations, "steps taken"),
    field("Variance σ²", variance), field("η", eta, "share of fresh noise"),
  ];
  parts[2].append(why("sigma"));
  parts[3].append(why("eta"));
  const show = () => {
    const values = read();
    solver.value = values.solver;
    evaluations.value = values.evaluations || "";
    evaluations.placeholder = Math.min(most(), MOST_EVALUATIONS);
    variance.value = values.variance;
    eta.value = values.eta;
    parts[2].hidden = solver.value !== "ancestral";
    parts[3].hidden = solver.value !== "ddim";
  };
  for (const control of [solver, evaluations, variance, eta]) {
    control.addEventListener("change", () => {
      onPick({
        solver: solver.value, evaluations: Math.max(0, Math.round(Number(evaluations.value) || 0)),
        variance: variance.value, eta: solver.value === "ddim" ? Number(eta.value) || 0 : 0,
      });
      show();
    });
  }
  return { parts, show };
}

function facts(card) {
  const rows = [
    ["network", card.n_parameters ? `${count(card.n_parameters)} weights` : "a function in closed form"],
    ["chain", prose(`N = ${count(card.schedule.n_steps)} steps; ᾱ_N = ${number(card.schedule.alpha_bar[card.schedule.n_steps])}`)],
    ["sampler", session.chain?.header.sampler.words ?? "…"],
    ["prior mismatch", `${number(card.prior_mismatch)} nats`],
  ];
  return [el("dl", { class: "facts" }, rows.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    el("details", {}, el("summary", {}, "About the model"), el("pre", { class: "code", tabindex: "0", role: "region", "aria-label": "About the model" }, el("code", {}, card.words.join("\n"))))];
}

export const watchPanel = {
  name: "watch",
  title: "Watch",
  build(root) {
    const model = el("select", { id: "model" });
    model.addEventListener("change", () => attempt(null, () => {
      change({ row: 0 });
      return openModel(model.value);
    }));
    const words = el("div", { class: "model-words" });
    const warning = el("p", { class: "notice", hidden: true });
    const trails = el("input", { type: "checkbox", id: "trails" });
    trails.checked = state.trails;
    trails.addEventListener("change", () => {
      change({ trails: trails.checked });
      redraw();
    });
    const n = el("select", { id: "n-points" }, [500, 2000, 5000, 10000].map((k) => option(String(k), k.toLocaleString("en"), k === state.n)));
    n.addEventListener("change", () => change({ n: Number(n.value) }));
    const seed = el("input", { type: "number", min: "0", max: "4294967295", step: "1", id: "seed", value: state.seed });
    seed.addEventListener("change", () => change({ seed: Math.max(0, Math.round(Number(seed.value) || 0)) }));
    const again = el("button", { type: "button", onclick: () => change({ seed: (state.seed + 1) % 1_000_000 }) }, "New seed");
    const sampler = samplerControls((values) => change(values), () => state, () => session.card?.schedule.n_steps ?? MOST_EVALUATIONS), drawing = el("div", {}, el("h2", {}, "How it is drawn"), el("div", { class: "row" }, sampler.parts), el("div", { class: "row" }, field("Points", n), field("Seed", seed), el("div", { class: "field" }, again)));
    const drawn = el("div", {});
    const showDrawn = () => schedule.open && attempt(null, async () => showSchedule(drawn, await theSchedule(session.card.id)));
    const schedule = el("details", { id: "schedule", ontoggle: showDrawn }, el("summary", {}, prose("The schedule: β_t, ᾱ_t and SNR")), drawn, why("schedule"));
    add(root,
      el("p", { class: "lead" }, "A diffusion model learns to undo noise. Forward, each row of the data becomes noise, a little at a time. "
        + "Backward, the network starts from noise and finds rows like the data."),
      el("p", {}, "Move the slider under the picture, or let it play. Click on a point to see its arithmetic."),
      el("p", { class: "row" }, el("button", { type: "button", class: "primary", "data-action": "tour" }, "Start the tour"),
        el("button", { type: "button", "data-tab": "train" }, "Train your own")),
      field("Model", model), words, warning, schedule,
      drawing,
      el("p", { class: "check" }, trails, el("label", { for: "trails" }, "Trails of twelve particles")),
    );
    const show = () => {
      sampler.show();
      n.value = String(state.n);
      seed.value = String(state.seed);
      trails.checked = state.trails;
    };
    onModel(async () => {
      const { card } = session;
      words.replaceChildren(...facts(card));
      showDrawn();
      warning.hidden = !card.warning;
      refill(warning, prose(card.warning || ""));
      drawing.hidden = heldRows(card.id) !== null; // a model from Python has one chain, with its own sampler
      show();
      const choices = await attempt(null, modelChoices) || [];
      model.replaceChildren(...choices.map(({ value, title }) => option(value, title, value === state.model)));
    });
    onChain(() => words.replaceChildren(...facts(session.card)));
    this.update = (changed) => (changed.size > 1 || !changed.has("p")) && show();
    show();
  },
};
