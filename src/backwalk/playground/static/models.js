// A model: its rows, standardised, the chain that it walks, and a network's estimate beside the exact one.
import { NetworkDenoiser } from "./maths/denoiser.js";
import { mixtureDenoiser } from "./maths/exact.js";
import { Residual, Textbook } from "./maths/network.js";
import { stream } from "./maths/random.js";
import { cosine, evenSteps, linear, logSnrUniform, priorMismatch, respace } from "./maths/schedule.js";
import { momentsOf, newRows } from "./data.js";
import { niceTicks } from "./ticks.js";

export const MOST_EVALUATIONS = 50; // of a chain where no number is asked for
const FLOOR = 0.02; // the finest structure that the better network follows, of standardised rows
const SHOWN_NOISE = 3.3; // standard deviations of x_N that a picture shows
const HELD_OUT = 0.1, MOST_HELD_OUT = 1000; // the share of rows that are not trained on, and the most of them
const OUTSIDE = 0.0005, MARGIN = 0.06; // the share of rows beyond the picture's sides, and the room around the others

export const PRESETS = {
  better: { network: "residual", width: 64, depth: 3, predicts: "F", schedule: "log_snr", steps: 1000, betaMax: 0.02, weight: "simple", rate: 0.003, batch: 256 },
  course: { network: "textbook", width: 100, depth: 4, predicts: "eps", schedule: "linear", steps: 40, betaMax: 0.3, weight: "simple", rate: 0.001, batch: 256 },
  notebook: { network: "textbook", width: 100, depth: 4, predicts: "eps", schedule: "linear", steps: 100, betaMax: 0.02, weight: "simple", rate: 0.001, batch: 256 },
};

export const SCHEDULES = { linear: "linear", cosine: "cosine", log_snr: "even in log-SNR" };

export function scheduleOfSettings({ schedule, steps, betaMax }) {
  if (schedule === "linear") return linear(steps, Math.min(1e-3, betaMax / 10), betaMax);
  return schedule === "cosine" ? cosine(steps) : logSnrUniform(steps, 8, -8);
}

// Rows, each column with mean 0 and standard deviation 1, and the sides and ticks of their picture.
export class Standardised {
  constructor(data) {
    Object.assign(this, { data, ...momentsOf(data.points) });
    this.z = this.encode(data.points);
    this.limits = this.findLimits();
  }

  // Rows in the user's units to standardised ones.
  encode(points) {
    return Float64Array.from(points, (value, i) => (value - this.mean[i % 2]) / this.scale[i % 2]);
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
      const ends = this.limits.slice(2 * k, 2 * k + 2).map((z) => this.mean[k] + this.scale[k] * z);
      return { name, ticks: niceTicks(...ends, 5).map((value) => ({ at: (value - this.mean[k]) / this.scale[k], label: value.toLocaleString("en", { maximumSignificantDigits: 6 }) })) };
    });
  }
}

// Rows in another order.
function shuffled(z, random) {
  const rows = z.slice();
  for (let i = rows.length / 2 - 1; i > 0; i -= 1) {
    const j = random.below(i + 1);
    for (const k of [0, 1]) [rows[2 * i + k], rows[2 * j + k]] = [rows[2 * j + k], rows[2 * i + k]];
  }
  return rows;
}

export class Model extends Standardised {
  // `settings` are those of PRESETS, with a seed of the first weights. Its weights are 0 until they are unpacked or trained.
  constructor(id, title, data, settings) {
    super(data);
    const { scale } = this;
    Object.assign(this, { id, title, settings, steps: 0 });
    this.schedule = scheduleOfSettings(settings);
    const { network, width, depth, predicts, batch } = settings;
    const made = network === "textbook" ? new Textbook({ width, nHidden: depth, rows: batch }) : new Residual({ width, nBlocks: depth, rows: batch });
    this.denoiser = new NetworkDenoiser(made, { predicts, schedule: this.schedule, floor: FLOOR });
    const held = Math.min(MOST_HELD_OUT, Math.max(2, Math.round(HELD_OUT * data.n))), rows = shuffled(this.z, stream(0, "split"));
    Object.assign(this, { held: rows.subarray(0, 2 * held), train: rows.subarray(2 * held) });
    const centres = data.mixture ? this.encode(data.mixture.centres) : this.z;
    this.exact = mixtureDenoiser(centres, scale.map((each) => (data.mixture ? (data.mixture.noise / each) ** 2 : 0)));
  }

  get network() {
    return this.denoiser.network;
  }

  // ln |det dz/dx|, which turns log-densities of standardised rows into those of the user's units.
  get logVolume() {
    return -Math.log(this.scale[0] * this.scale[1]);
  }

  // At most n rows to judge by: new ones of a known density, else rows of the data, in an order of the seed's.
  judgingRows(n, purpose, seed = 0, of = this.z) {
    const random = stream(seed, purpose), fresh = newRows(this.data, n, random);
    if (fresh) return this.encode(fresh);
    return shuffled(of, random).subarray(0, 2 * n);
  }

  // The chain that a request asks for: {schedule, times: the visited steps after a 0, sampler}. A network that reads the
  // noise level serves other schedules than its own, of 1,000 steps.
  chainOf({ sampler: name = "ancestral", n_evaluations: evaluations = MOST_EVALUATIONS, eta = 0, reverse_variance: kind = "beta_tilde", schedule: other = "" } = {}) {
    const whole = other && this.settings.predicts === "F" ? scheduleOfSettings({ schedule: other, steps: 1000, betaMax: 0.02 }) : this.schedule;
    const { n } = whole, k = Math.min(n, evaluations), times = evenSteps(n, k), symbol = { beta: "β", beta_tilde: "β̃" }[kind];
    const shortened = `${k === n ? `all ${n}` : `${k} of ${n.toLocaleString("en")}`} steps${whole === this.schedule ? "" : `, ${SCHEDULES[other]}`}`;
    return {
      schedule: k === n ? whole : respace(whole, times),
      times: [0, ...times],
      sampler: { name, variance: kind === "beta" ? "beta" : "betaTilde", eta },
      record: {
        solver: name, n_evaluations: k, eta, words: name === "ddim" ? `DDIM, η = ${eta}, ${shortened}` : `ancestral, ${shortened}, σ² = ${symbol}`,
      },
      reverseVariance: kind,
    };
  }

  mismatchOf(schedule) {
    const n = this.z.length / 2;
    let covariance = 0;
    for (let i = 0; i < n; i += 1) covariance += (this.z[2 * i] * this.z[2 * i + 1]) / n;
    return priorMismatch(schedule, { covariance: [1, covariance, covariance, 1] });
  }

  // What the page says about the model.
  card() {
    const { schedule, settings, data } = this, mismatch = this.mismatchOf(schedule), left = schedule.alphaBar[schedule.n];
    const warning = mismatch > 0.01 ? `The chain ends before the data are gone: ᾱ_N = ${left.toPrecision(4)}. Sampling starts from N(0, I), which costs at least ${mismatch.toPrecision(4)} nats.` : null;
    const predicts = { eps: "the noise ε", v: "v", x_0: "x₀", F: "F, what is left of x₀ after the best linear answer" }[settings.predicts];
    const names = settings.network === "textbook" ? `${settings.depth} layers of ${settings.width} units, tanh` : `${settings.depth} residual blocks of ${settings.width} units`;
    return {
      title: this.title,
      schedule: { n_steps: schedule.n, alpha_bar: Array.from(schedule.alphaBar) }, prior_mismatch: mismatch, warning,
      n_parameters: this.network.size, predicts, any_level: settings.predicts === "F",
      words: [`${names}; it predicts ${predicts}`, `${data.title}, ${data.n.toLocaleString("en")} rows, standardised`, `trained for ${this.steps.toLocaleString("en")} steps of ${settings.batch} rows`],
    };
  }
}
