// A model: its rows, standardised, the chain that it walks, and a network's estimate beside the exact one.
import { NetworkDenoiser } from "./maths/denoiser.js";
import { mixtureDenoiser } from "./maths/exact.js";
import { Residual, Textbook } from "./maths/network.js";
import { stream } from "./maths/random.js";
import { cosine, evenSteps, linear, logSnrUniform, priorMismatch, respace } from "./maths/schedule.js";
import { momentsOf, newRows } from "./data.js";

const FLOOR = 0.02; // the finest structure that the better network follows, of standardised rows
const SHOWN_NOISE = 3.3; // standard deviations of x_N that a picture shows
const OUTSIDE = 0.0005, MARGIN = 0.06; // the share of rows beyond the picture's sides, and the room around the others

export const PRESETS = {
  better: { network: "residual", width: 64, depth: 3, predicts: "F", schedule: "log_snr", steps: 1000, betaMax: 0.02, rate: 0.003, batch: 256 },
  course: { network: "textbook", width: 100, depth: 4, predicts: "eps", schedule: "linear", steps: 40, betaMax: 0.3, rate: 0.001, batch: 256 },
  notebook: { network: "textbook", width: 100, depth: 4, predicts: "eps", schedule: "linear", steps: 100, betaMax: 0.02, rate: 0.001, batch: 256 },
};

export function scheduleOfSettings({ schedule, steps, betaMax }) {
  if (schedule === "linear") return linear(steps, Math.min(1e-3, betaMax / 10), betaMax);
  return schedule === "cosine" ? cosine(steps) : logSnrUniform(steps, 8, -8);
}

export class Model {
  // `settings` are those of PRESETS, with a seed of the first weights.
  constructor(id, title, data, settings) {
    Object.assign(this, { id, title, data, settings, steps: 0 });
    const { mean, scale } = momentsOf(data.points);
    this.mean = mean;
    this.scale = scale;
    this.z = this.encode(data.points);
    this.schedule = scheduleOfSettings(settings);
    const { network, width, depth, predicts, batch } = settings;
    const made = network === "textbook" ? new Textbook({ width, nHidden: depth, rows: batch }) : new Residual({ width, nBlocks: depth, rows: batch });
    made.start(stream(settings.seed ?? 0, "weights"));
    this.denoiser = new NetworkDenoiser(made, { predicts, schedule: this.schedule, floor: FLOOR });
    const centres = data.mixture ? this.encode(data.mixture.centres) : this.z;
    this.exact = mixtureDenoiser(centres, scale.map((each) => (data.mixture ? (data.mixture.noise / each) ** 2 : 0)));
    this.limits = this.findLimits();
  }

  get network() {
    return this.denoiser.network;
  }

  // Rows in the user's units to standardised ones, and back.
  encode(points) {
    return Float64Array.from(points, (value, i) => (value - this.mean[i % 2]) / this.scale[i % 2]);
  }

  decode(z) {
    return Float64Array.from(z, (value, i) => this.mean[i % 2] + this.scale[i % 2] * value);
  }

  // ln |det dz/dx|, which turns log-densities of standardised rows into those of the user's units.
  get logVolume() {
    return -Math.log(this.scale[0] * this.scale[1]);
  }

  // Rows to judge by: new ones of a known density, else rows of the data in an order of the seed's.
  judgingRows(n, purpose, seed = 0) {
    const random = stream(seed, purpose), fresh = newRows(this.data, n, random);
    if (fresh) return this.encode(fresh);
    const order = Array.from({ length: this.data.n }, (_, i) => i);
    for (let i = order.length - 1; i > 0; i -= 1) {
      const j = random.below(i + 1);
      [order[i], order[j]] = [order[j], order[i]];
    }
    return Float64Array.from(order.slice(0, n).flatMap((i) => [this.z[2 * i], this.z[2 * i + 1]]));
  }

  // [left, right, bottom, top], of the rows and of noise.
  findLimits() {
    return [0, 1].flatMap((k) => {
      const values = this.z.filter((_, i) => i % 2 === k).sort(), at = (share) => values[Math.round(share * (values.length - 1))];
      const low = Math.min(at(OUTSIDE), -SHOWN_NOISE), high = Math.max(at(1 - OUTSIDE), SHOWN_NOISE), room = MARGIN * (high - low);
      return [low - room, high + room];
    });
  }

  axes() {
    return this.data.names.map((name, k) => {
      const ends = this.limits.slice(2 * k, 2 * k + 2).map((z) => this.mean[k] + this.scale[k] * z), step = niceStep(ends[1] - ends[0]);
      const ticks = [];
      for (let value = Math.ceil(ends[0] / step) * step; value <= ends[1]; value += step) {
        const shown = Number(value.toPrecision(12)) + 0;
        ticks.push({ at: (shown - this.mean[k]) / this.scale[k], label: String(shown) });
      }
      return { name, ticks, ends };
    });
  }

  // The chain that a request asks for: {schedule, times: the visited steps after a 0, sampler}.
  chainOf({ sampler = null, n_evaluations: evaluations = null, eta = 0, reverse_variance: variance = null } = {}) {
    const n = this.schedule.n, k = Math.min(n, evaluations ?? Math.min(n, 50)), times = evenSteps(n, k), name = sampler ?? "ancestral";
    const shortened = k === n ? `all ${n} steps` : `${k} of ${n.toLocaleString("en")} steps`;
    const kind = variance ?? "beta_tilde", symbol = { beta: "β", beta_tilde: "β̃" }[kind];
    return {
      schedule: k === n ? this.schedule : respace(this.schedule, times),
      times: [0, ...times],
      sampler: { name, variance: kind === "beta" ? "beta" : "betaTilde", eta },
      record: { solver: name, n_evaluations: k, eta, words: name === "ddim" ? `DDIM, η = ${eta}, ${shortened}` : `ancestral, ${shortened}, σ² = ${symbol}` },
      reverseVariance: kind,
    };
  }

  get mismatch() {
    const n = this.z.length / 2;
    let covariance = 0;
    for (let i = 0; i < n; i += 1) covariance += (this.z[2 * i] * this.z[2 * i + 1]) / n;
    return priorMismatch(this.schedule, { mean: [0, 0], covariance: [1, covariance, covariance, 1] });
  }

  // What the page says about the model.
  card() {
    const { schedule, settings, data } = this, mismatch = this.mismatch, left = schedule.alphaBar[schedule.n];
    const warning = mismatch > 0.01 ? `The chain ends before the data are gone: ᾱ_N = ${left.toPrecision(4)}. Sampling starts from N(0, I), which costs at least ${mismatch.toPrecision(2)} nats.` : null;
    const of = { eps: "the noise ε", v: "v", x_0: "x_0", F: "what the best linear answer leaves" }[settings.predicts];
    const names = settings.network === "textbook" ? `${settings.depth} layers of ${settings.width} units, tanh` : `${settings.depth} residual blocks of ${settings.width} units`;
    return {
      model: this.id, title: this.title, mean: this.mean, scale: this.scale,
      columns: data.names.map((name, k) => ({ name, kind: "number", description: "standardised", low: this.mean[k], high: this.scale[k] })),
      schedule: { n_steps: schedule.n, alpha_bar: Array.from(schedule.alphaBar) }, prior_mismatch: mismatch, warning,
      sampler: { words: this.chainOf().record.words }, n_parameters: this.network.size, trained: this.steps,
      words: [`${names}; it predicts ${of}`, `${data.title}, ${data.n.toLocaleString("en")} rows, standardised`, `trained for ${this.steps.toLocaleString("en")} steps of ${settings.batch} rows`],
      drawable: data.names, has_chain: true, has_exact: true, knows_density: Boolean(data.mixture), has_rows: true,
    };
  }
}

function niceStep(span) {
  const rough = span / 5, decade = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((factor) => factor * decade).find((step) => step >= rough * (1 - 1e-9));
}
