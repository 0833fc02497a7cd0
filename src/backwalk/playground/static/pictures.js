// The numbers of the pictures: the chain of many rows, one particle's arithmetic, and the field on a grid.
import { epsOf, qSample } from "./maths/forward.js";
import { transition, walk } from "./maths/reverse.js";
import { stream } from "./maths/random.js";

const MOST_FRAMES = 121;
const N_COMPARED = 1000; // rows on which what is learned is compared with what is exact

const within = (value, low, high) => Math.round(65535 * Math.min(1, Math.max(0, (value - low) / (high - low))));

// Points as 16-bit places within the picture.
export function placesOf(points, [left, right, bottom, top], into, offset) {
  for (let i = 0; i < points.length; i += 2) {
    into[offset + i] = within(points[i], left, right);
    into[offset + i + 1] = within(points[i + 1], bottom, top);
  }
}

// The states that are shown: at most 121 of them, evenly spread, with the first and the last.
function framesOf(n) {
  const k = Math.min(MOST_FRAMES, n);
  return [...new Set(Array.from({ length: k }, (_, i) => Math.round((i * (n - 1)) / Math.max(k - 1, 1))))];
}

// The backward walk of rows first..stop-1 of a seed. A row's noise depends on the seed, the step and its number alone.
function* backward(model, chain, seed, first, stop) {
  const draws = (purpose) => stream(seed, purpose).normals(2 * stop).slice(2 * first);
  yield* walk((x, logSnr) => model.denoiser.at(x, logSnr), draws("x_N"), chain.schedule, chain.sampler, (t) => draws(`z/${chain.times[t]}`));
}

// Forward from data, backward from noise, and x_0_hat, at the same noise levels, from x_0 to x_N. Forward rows keep their
// noise eps from frame to frame, so that paths are smooth.
export function chainOf(model, { n, seed, ...asked }) {
  const chain = model.chainOf(asked), { schedule, times } = chain, kept = framesOf(times.length), size = 2 * n;
  const x0 = model.judgingRows(n, "forward", seed), eps = stream(seed, "eps").normals(x0.length);
  const forward = new Uint16Array(kept.length * x0.length), back = new Uint16Array(kept.length * size), estimate = new Uint16Array(kept.length * size);
  kept.forEach((t, i) => placesOf(qSample(x0, eps, t, schedule), model.limits, forward, i * x0.length));
  for (const { t, x, x0Hat } of backward(model, chain, seed, 0, n)) {
    const i = kept.indexOf(t);
    if (i < 0) continue;
    placesOf(x, model.limits, back, i * size);
    placesOf(x0Hat, model.limits, estimate, i * size);
  }
  return {
    header: { limits: model.limits, axes: model.axes(), n, sampler: chain.record, forward_from: "data" },
    t: kept.map((t) => times[t]), log_snr: kept.map((t) => schedule.logSnr[t]), alpha_bar: kept.map((t) => schedule.alphaBar[t]),
    forward: { data: forward, shape: [kept.length, x0.length / 2] }, backward: { data: back, shape: [kept.length, n] }, x_0_hat: { data: estimate, shape: [kept.length, n] },
  };
}

// Each step of one row with every number of its formulas, and the exact ones beside.
export function particleOf(model, { row, seed, ...asked }) {
  const chain = model.chainOf(asked), { schedule, times, sampler } = chain, states = [...backward(model, chain, seed, row, row + 1)], kept = new Set(framesOf(times.length));
  const numbers = (t, x, x0Hat) => ({
    eps_theta: Array.from(epsOf(x, x0Hat, t, schedule)), x_0_hat: Array.from(x0Hat), mu_theta: Array.from(transition(x, x0Hat, t, schedule, sampler).mean),
  });
  const steps = states.slice(0, -1).map(({ t, x, x0Hat, sigma, z }, i) => {
    return {
      place: t, t: times[t], t_next: times[t - 1], x_t: Array.from(x), ...numbers(t, x, x0Hat),
      noise: sigma > 0 ? Array.from(z) : null, x_next: Array.from(states[i + 1].x), sigma_t: sigma,
      exact: numbers(t, x, model.exact.at(x, schedule.logSnr[t])),
      a: Math.sqrt(schedule.alphaBar[t]), b: Math.sqrt(schedule.noise[t]), a_next: Math.sqrt(schedule.alphaBar[t - 1]),
      alpha: schedule.alpha[t], beta: schedule.beta[t], beta_tilde: schedule.betaTilde[t],
    };
  }).filter(({ place }) => kept.has(place));
  return { row, sampler: chain.record, reverse_variance: chain.reverseVariance, steps };
}

// The grid of a picture: its axes, and its points, rows of equal y after each other.
export function gridOf(model, size) {
  const [left, right, bottom, top] = model.limits, axis = (low, high) => Float64Array.from({ length: size }, (_, i) => low + ((high - low) * i) / (size - 1));
  const x = axis(left, right), y = axis(bottom, top), points = new Float64Array(2 * size * size);
  for (let j = 0; j < size; j += 1) for (let i = 0; i < size; i += 1) points.set([x[i], y[j]], 2 * (j * size + i));
  return { x, y, points };
}

const rms = (values) => Math.sqrt((2 * values.reduce((sum, value) => sum + value * value, 0)) / values.length);

// What the network has learned at step t, on a grid, and the exact answer: "x_0_hat", "eps" or the "score" -eps / b.
export function fieldOf(model, { t, what, size }) {
  const { schedule } = model, logSnr = schedule.logSnr[t], b = Math.sqrt(schedule.noise[t]);
  const asField = (points, x0Hat) => (what === "x_0_hat" ? x0Hat : epsOf(points, x0Hat, t, schedule).map((value) => (what === "score" ? -value / b : value)));
  const both = (points) => [model.denoiser, model.exact].map((denoiser) => asField(points, denoiser.at(points, logSnr)));
  const { x, y, points } = gridOf(model, size), [learned, exact] = both(points);
  const x0 = model.judgingRows(N_COMPARED, "field"), eps = stream(0, "field eps").normals(x0.length);
  const [near, truth] = both(qSample(x0, eps, t, schedule)), apart = rms(near.map((value, i) => value - truth[i])), whole = rms(truth);
  return {
    header: { what, others: "none", rms: apart, rms_exact: whole, relative: apart / whole, of: model.data.mixture ? "density" : "rows" },
    x, y, learned: Float32Array.from(learned), exact: Float32Array.from(exact),
  };
}
