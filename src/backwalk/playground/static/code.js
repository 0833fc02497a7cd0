// The same in Python and on the command line. The page and the library draw other random numbers, so rows agree in
// distribution, not one by one; the text says so.

const DENSITY = { two_moons: "two_moons()", circles: "circles()", spirals: "spirals(noise=0.1)", mixture: null };
const quoted = (text) => JSON.stringify(text);

function rowsOf({ recipe, n }) {
  if (recipe.kind === "density" && DENSITY[recipe.name]) {
    return { imports: [`from backwalk.datasets import ${recipe.name}`], rows: `X = ${DENSITY[recipe.name]}.sample(${n}, random_state=${recipe.seed})` };
  }
  if (recipe.kind === "density") {
    return { imports: ["import numpy as np"], rows: `rng = np.random.default_rng(${recipe.seed})\nangle = 2 * np.pi * (rng.integers(8, size=${n}) + 0.5) / 8\nX = 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.2 * rng.normal(size=(${n}, 2))` };
  }
  if (recipe.kind === "points") {
    return { imports: ["from backwalk.datasets import around_points"], rows: `X = around_points(${JSON.stringify(recipe.points)}, noise=0.06).sample(${n}, random_state=${recipe.seed})` };
  }
  return { imports: ["import pandas as pd"], rows: `X = pd.read_csv(${quoted(recipe.file)})[[${recipe.names.map(quoted).join(", ")}]].dropna()` };
}

function scheduleOf({ schedule, steps, betaMax }) {
  if (schedule === "linear") return `NoiseSchedule.linear(${steps}, beta_min=${Math.min(1e-3, betaMax / 10)}, beta_max=${betaMax})`;
  return schedule === "cosine" ? `NoiseSchedule.cosine(${steps})` : `NoiseSchedule.log_snr_uniform(${steps}, log_snr_max=8, log_snr_min=-8)`;
}

export function codeOf(model, { n, seed, sampler, n_evaluations: evaluations, eta, reverse_variance: variance }) {
  const { settings, data, steps } = model, { imports, rows } = rowsOf(data), isTextbook = settings.network === "textbook", { record } = model.chainOf({ sampler, n_evaluations: evaluations, eta, reverse_variance: variance });
  const network = isTextbook ? `Textbook(width=${settings.width}, n_hidden=${settings.depth})` : `Residual(width=${settings.width}, n_blocks=${settings.depth})`;
  const options = [`denoiser=${network}`, "schedule=schedule", `reverse_variance=${quoted(variance ?? "beta_tilde")}`, `max_steps=${Math.max(steps, 1)}`, `random_state=${settings.seed ?? 0}`];
  const python = [
    `from backwalk import Diffusion, NoiseSchedule, ${isTextbook ? "Sampler, Textbook" : "Residual, Sampler"}`, ...imports, "", rows,
    `schedule = ${scheduleOf(settings)}`, "model = Diffusion(", ...options.map((option) => `    ${option},`), ").fit(X)",
    `sampler = Sampler(${[quoted(record.solver), `n_evaluations=${record.n_evaluations}`, ...(record.eta ? [`eta=${record.eta}`] : [])].join(", ")})`,
    `X_new = model.sample(${n}, sampler=sampler, random_state=${seed})`, "print(model.bound(X[:500]))", "model.show()  # this page, with that model",
  ].join("\n");
  const isOther = !["eps", "F"].includes(settings.predicts) || settings.weight === "bound";
  return {
    python,
    note: isOther ? `Diffusion's Textbook predicts eps by L_simple; this page's network predicts ${settings.predicts}${settings.weight === "bound" ? " with the bound's weights" : ""}. The course's second lesson trains such a network in plain PyTorch.`
      : "The library draws other random numbers than this page: rows agree in distribution, not one by one.",
  };
}
