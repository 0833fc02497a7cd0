// How good a model is: the bound term by term, -log p by the ODE, and the sliced distance of its rows from real ones.
import { meanOf, squaredErrors, variationalBound } from "./maths/bound.js";
import { logDensity } from "./maths/ode.js";
import { variances, walk } from "./maths/reverse.js";
import { stream } from "./maths/random.js";

const LEVEL_MAX = 50; // where the ODE ends: standardised rows are then a 2,500th of the variance
const NODES = 32; // of the quadrature of the divergence
const N_ENTROPY = 20_000, N_DIRECTIONS = 50, N_SETS = 4, N_ROWS = 1000;

// The noise levels between which the ODE runs: those of the chain for a network that knows no others.
function levelsOf({ schedule, settings }) {
  return settings.predicts === "F" ? [0.005, LEVEL_MAX] : [schedule.noiseLevel[1], schedule.noiseLevel[schedule.n]];
}

// ln p of standardised rows by the ODE, in nats of the user's units.
function logP(model, z) {
  return logDensity(model.denoiser, z, ...levelsOf(model), NODES).map((value) => value + model.logVolume);
}

function exactLogP(model, z) {
  return model.data.mixture ? model.exact.logDensity(z, Infinity).map((value) => value + model.logVolume) : null;
}

// -E ln p of a known density over many draws, with its standard error; it is computed once.
function entropyOf(model) {
  if (model.data.mixture) model.entropy ??= meanOf(exactLogP(model, model.judgingRows(N_ENTROPY, "entropy")).map((value) => -value));
  return model.entropy ?? null;
}

// Figures of the same rows from the least. Where the density is known a figure is the entropy plus the mean difference
// of the same rows, so that likely and unlikely rows cancel.
function ladderOf(model, z, figures) {
  const truth = exactLogP(model, z), entropy = entropyOf(model);
  if (!truth) return figures.map(([name, nats]) => ({ name, ...meanOf(nats) }));
  const paired = figures.map(([name, nats]) => {
    const above = meanOf(nats.map((value, i) => value + truth[i]));
    return { name, value: entropy.value + above.value, error: Math.hypot(above.error, entropy.error) };
  });
  return [{ name: "entropy", ...entropy }, ...paired];
}

// Rows that were not trained on.
const heldOut = (model, n, seed) => model.judgingRows(n, "bound", seed, model.held);
const heldOutWords = (model) => (model.data.mixture ? "new draws" : "held-out rows");

export function boundOf(model, { n, seed }) {
  const z = heldOut(model, n, seed), { schedule } = model, eps = (t) => stream(seed, `bound/${t}`).normals(z.length), denoise = (x, logSnr) => model.denoiser.at(x, logSnr);
  // The best variance of the decoder, of other rows than those of the bound.
  const others = model.judgingRows(n, "decoder", seed, model.train), decoder = meanOf(squaredErrors(denoise, others, schedule, 1, stream(seed, "decoder eps").normals(others.length))).value / 2;
  const { prior, terms, perPoint, total } = variationalBound(denoise, z, schedule, variances(schedule, "betaTilde"), eps, decoder);
  const nats = perPoint.map((value) => value - model.logVolume), truth = exactLogP(model, z);
  return {
    n: z.length / 2, rows: heldOutWords(model), terms: terms.slice(1), prior, prior_mismatch: model.mismatchOf(schedule),
    reconstruction: terms[0].value - model.logVolume, bound: total - model.logVolume,
    pairing: truth && entropyOf(model).value + meanOf(truth).value,
    ladder: ladderOf(model, z, [["ode", logP(model, z).map((value) => -value)], ["bound", nats]]),
  };
}

export function logPOf(model, { n, seed }) {
  const z = heldOut(model, n, seed);
  return { n: z.length / 2, rows: heldOutWords(model), ladder: ladderOf(model, z, [["ode", logP(model, z).map((value) => -value)]]) };
}

// The mean over directions of the distance that sorted projections have to be moved (sliced Wasserstein-1).
export function slicedDistance(one, other, directions = N_DIRECTIONS) {
  let sum = 0;
  for (let k = 0; k < directions; k += 1) {
    const angle = (Math.PI * (k + 0.5)) / directions, u = Math.cos(angle), v = Math.sin(angle);
    const [a, b] = [one, other].map((z) => Float64Array.from({ length: z.length / 2 }, (_, i) => u * z[2 * i] + v * z[2 * i + 1]).sort());
    for (let i = 0; i < a.length; i += 1) sum += Math.abs(a[i] - b[i]) / a.length;
  }
  return sum / directions;
}

// Rows of a sampler, standardised.
export function drawRows(model, n, seed, asked = {}) {
  const chain = model.chainOf(asked), noise = (purpose) => stream(seed, purpose).normals(2 * n);
  let last = null;
  for (const { x } of walk((x, logSnr) => model.denoiser.at(x, logSnr), noise("x_N"), chain.schedule, chain.sampler, (t) => noise(`z/${chain.times[t]}`))) last = x;
  return last;
}

const part = (z, k, rows) => z.subarray(2 * k * rows, 2 * (k + 1) * rows);

// The sliced distance of drawn rows from real ones in four pairs of sets, beside that of other real rows.
export function qualityOf(model, { seed, ...asked }) {
  const real = model.judgingRows(2 * N_SETS * N_ROWS, "quality"), rows = Math.min(N_ROWS, Math.floor(real.length / (4 * N_SETS)));
  if (rows < 25) throw new Error(`Distances need at least ${50 * N_SETS} rows, but there are ${real.length / 2}: take more rows.`);
  const drawn = drawRows(model, N_SETS * rows, seed, asked), sets = Array.from({ length: N_SETS }, (_, k) => k);
  const value = meanOf(sets.map((k) => slicedDistance(part(drawn, k, rows), part(real, 2 * k, rows)))), none = meanOf(sets.map((k) => slicedDistance(part(real, 2 * k + 1, rows), part(real, 2 * k, rows))));
  return {
    rows: model.data.mixture ? "new draws" : "rows of the data", n_rows: rows, n_pairs: N_SETS,
    figures: { distance: { value: value.value, error: value.error, null: none.value, null_error: none.error } },
  };
}
