// The probability-flow ODE, a deterministic path between data and noise, and the log-density that it carries.
//
// In the angle theta = arctan s of the noise level s it is dx_t / d theta = (cos(theta) x_t - x_0_hat) / sin(theta), and
//   ln p(x) = ln N(x_N; 0, I) + integral of tr d(dx_t / d theta)/dx_t d theta - (d/2) ln(1 + s_min^2).
// Steps are those of Dormand & Prince; the divergence is taken at Gauss-Legendre nodes in ln(theta + 0.05) alone, between
// which the path takes one step each. Song et al. 2021; Salimans & Ho 2022, Appendix D.

const OFFSET = 0.05;
const NODES = [1 / 5, 3 / 10, 4 / 5, 8 / 9, 1];
const STAGES = [
  [1 / 5],
  [3 / 40, 9 / 40],
  [44 / 45, -56 / 15, 32 / 9],
  [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
  [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
];
const WEIGHTS = [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84];

export const logSnrAt = (angle) => -2 * Math.log(Math.tan(angle));

function advanced(x, h, weights, slopes) {
  const result = Float64Array.from(x);
  weights.forEach((weight, k) => {
    if (weight === 0) return;
    const slope = slopes[k], factor = h * weight;
    for (let i = 0; i < result.length; i += 1) result[i] += factor * slope[i];
  });
  return result;
}

function velocity(x, x0Hat, angle) {
  const a = Math.cos(angle), b = Math.sin(angle);
  return x.map((value, i) => (a * value - x0Hat[i]) / b);
}

// x after one step of order 5 from one angle to another; `slope` is that at the start, where it is known.
export function dormandPrince(denoiser, x, from, to, slope = null) {
  const h = to - from, slopeAt = (angle, at) => velocity(at, denoiser.at(at, logSnrAt(angle)), angle);
  const slopes = [slope || slopeAt(from, x)];
  NODES.forEach((node, k) => slopes.push(slopeAt(from + node * h, advanced(x, h, STAGES[k], slopes))));
  return advanced(x, h, WEIGHTS, slopes);
}

// Nodes and weights of Gauss and Legendre on [-1, 1], by Newton's method on the recurrence of the polynomials.
export function gaussLegendre(n) {
  return Array.from({ length: n }, (_, i) => {
    let x = -Math.cos((Math.PI * (i + 0.75)) / (n + 0.5)), slope = 1;
    for (let round = 0; round < 50; round += 1) {
      let now = 1, before = 0;
      for (let k = 1; k <= n; k += 1) [now, before] = [((2 * k - 1) * x * now - (k - 1) * before) / k, now];
      slope = (n * (x * now - before)) / (x * x - 1);
      const step = now / slope;
      x -= step;
      if (Math.abs(step) < 1e-15) break;
    }
    return { node: x, weight: 2 / ((1 - x * x) * slope * slope) };
  });
}

// ln p(x) of each point under the ODE, in nats, with `n` nodes; the denoiser's `withTrace` gives the exact divergence.
export function logDensity(denoiser, x, levelMin, levelMax, n = 32) {
  const rows = x.length / 2, scale = 1 / Math.hypot(1, levelMin), total = new Float64Array(rows);
  const [low, high] = [levelMin, levelMax].map((level) => Math.log(Math.atan(level) + OFFSET));
  let at = Float64Array.from(x, (value) => value * scale), angle = Math.atan(levelMin), slope = null;
  for (const { node, weight } of gaussLegendre(n)) {
    const shifted = Math.exp(0.5 * (low + high) + 0.5 * (high - low) * node), next = shifted - OFFSET;
    at = dormandPrince(denoiser, at, angle, next, slope);
    const { x0Hat, trace } = denoiser.withTrace(at, logSnrAt(next)), a = Math.cos(next), b = Math.sin(next);
    for (let i = 0; i < rows; i += 1) total[i] += (0.5 * (high - low) * weight * shifted * (2 * a - trace[i])) / b;
    slope = velocity(at, x0Hat, next);
    angle = next;
  }
  at = dormandPrince(denoiser, at, angle, Math.atan(levelMax), slope);
  for (let i = 0; i < rows; i += 1) {
    total[i] += -0.5 * (at[2 * i] ** 2 + at[2 * i + 1] ** 2) - Math.log(2 * Math.PI) - Math.log1p(levelMin ** 2);
  }
  return total;
}
