// Training, a step at a time: rows, noise levels and noise are drawn, the loss is differentiated, and Adam moves.
import { Adam, Average } from "./maths/adam.js";
import { errorWeights } from "./maths/bound.js";
import { stream } from "./maths/random.js";

const HELD_EVERY = 50;
const CENTRE = -1.6, WIDTH = 1.5, UNIFORM = 0.15; // of ln s for the better network (Karras et al. 2022), and the share of even levels
const GOLDEN = 0.6180339887498949; // multiples of it, less their whole part, are spread evenly
const LEAST_LEVEL = 0.01, GREATEST_LEVEL = 50;

export class Trainer {
  constructor(model) {
    this.model = model;
    this.errorWeights = model.settings.weight === "bound" ? errorWeights(model.schedule).map((each) => each * model.schedule.n) : null;
    this.restart();
  }

  // From the same first weights, with the same draws.
  restart() {
    const { network, settings } = this.model, { parameters } = network;
    network.start(stream(settings.seed ?? 0, "weights"));
    this.adam = new Adam(parameters.length);
    this.average = new Average(parameters.length);
    this.current = null; // the weights that training goes on from, while the model has their average
    this.random = stream(settings.seed ?? 0, "training");
    this.loss = [];
    this.heldOut = [];
    this.model.steps = 0;
    const random = stream(0, "held out");
    const { held } = this.model;
    this.heldEps = random.normals(held.length);
    this.heldLevels = this.levelsAt(Array.from({ length: held.length / 2 }, (_, i) => (0.5 + i * GOLDEN) % 1), random);
  }

  // {logSnr, errorWeight} for uniform numbers; the weights are null where the loss is a plain mean.
  levelsAt(uniforms, random) {
    const { schedule } = this.model, weights = this.errorWeights;
    if (!weights) return { logSnr: Float64Array.from(uniforms, (u) => this.levelAt(u, random)), errorWeight: null };
    const t = uniforms.map((u) => 1 + Math.floor(u * schedule.n));
    return { logSnr: Float64Array.from(t, (step) => schedule.logSnr[step]), errorWeight: Float64Array.from(t, (step) => weights[step]) };
  }

  // A log-SNR for a uniform number: a step t of the chain, or the better network's own spread of levels.
  levelAt(u, random) {
    const { schedule, settings } = this.model;
    if (settings.predicts !== "F") return schedule.logSnr[1 + Math.floor(u * schedule.n)];
    const low = Math.log(LEAST_LEVEL), high = Math.log(GREATEST_LEVEL);
    const level = u < UNIFORM ? low + ((high - low) * u) / UNIFORM : Math.min(high, Math.max(low, CENTRE + WIDTH * random.normals(1)[0]));
    return -2 * level;
  }

  // The weights that training moves, in place of their average.
  resume() {
    if (this.current) this.model.network.parameters.set(this.current);
    this.current = null;
  }

  step() {
    this.resume();
    const { model, random } = this, { train } = model, { batch, rate, predicts } = model.settings, x0 = new Float64Array(2 * batch), uniforms = [], shift = random.uniform();
    for (let i = 0; i < batch; i += 1) {
      const row = random.below(train.length / 2);
      x0[2 * i] = train[2 * row];
      x0[2 * i + 1] = train[2 * row + 1];
      // Levels are spread evenly over a batch of the better network; the course draws t for each row.
      uniforms.push(predicts === "F" ? (i + shift) / batch : random.uniform());
    }
    const { logSnr, errorWeight } = this.levelsAt(uniforms, random), loss = model.denoiser.lossAndGradient(x0, random.normals(2 * batch), logSnr, errorWeight);
    if (!Number.isFinite(loss)) throw new Error(`The loss should be a number, but is none after ${model.steps} steps: take a lower learning rate, and reset.`);
    this.adam.step(model.network.parameters, model.network.gradient, rate);
    this.average.add(model.network.parameters);
    model.steps += 1;
    this.loss.push([model.steps, loss]);
    return loss;
  }

  // A network is judged and drawn from by the mean of its recent weights, as the newest change from step to step.
  settle() {
    if (this.current || !this.model.steps) return;
    this.current = Float32Array.from(this.model.network.parameters);
    this.model.network.parameters.set(this.average.weights);
  }

  // The loss of the rows that are not trained on, at fixed levels and noise.
  measure() {
    this.settle();
    const { model, heldLevels: { logSnr, errorWeight } } = this, { held } = model, n = held.length / 2;
    let loss = 0;
    for (let first = 0; first < n; first += model.network.rows) {
      const last = Math.min(n, first + model.network.rows), of = (array, width) => array.subarray(width * first, width * last);
      loss += (model.denoiser.lossAndGradient(of(held, 2), of(this.heldEps, 2), of(logSnr, 1), errorWeight && of(errorWeight, 1)) * (last - first)) / n;
    }
    this.heldOut.push([model.steps, loss]);
    return loss;
  }

  get isTimeToMeasure() {
    return this.model.steps % HELD_EVERY === 0;
  }
}
