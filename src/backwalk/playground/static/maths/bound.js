// The variational bound L on E[-ln p_theta(x_0)], term by term, in nats for each point. Ho et al. 2020, Eq. 5.
//
//   L_N     = KL(q(x_N | x_0) || N(0, I))                          what the chain forgets to lose
//   L_{t-1} = KL(q(x_{t-1} | x_t, x_0) || p_theta(x_{t-1} | x_t))   one for each t = 2..N
//   L_0     = -ln N(x_0; x_0_hat(x_1), sigma_1^2 I)                 the decoder
import { qSample } from "./forward.js";

const LOG_2_PI = Math.log(2 * Math.PI);

// L_N at x_0: (1/2)(alpha_bar_N |x_0|^2 - d alpha_bar_N - d ln(1 - alpha_bar_N)), of each point.
export function priorTerm(x0, schedule) {
  const ab = schedule.alphaBar[schedule.n], noise = schedule.noise[schedule.n];
  return Float64Array.from({ length: x0.length / 2 }, (_, i) => 0.5 * ab * (x0[2 * i] ** 2 + x0[2 * i + 1] ** 2) - ab - Math.log(noise));
}

// The factors of |x_0 - x_0_hat|^2 in L_{t-1} for t = 1..N, where sigma_t^2 is beta_tilde_t, and beta_1 at t = 1.
export function errorWeights({ n, beta, betaTilde, x0Weight }) {
  return Float64Array.from({ length: n + 1 }, (_, t) => (t === 0 ? 0 : x0Weight[t] ** 2 / (2 * (t > 1 ? betaTilde[t] : beta[t]))));
}

// L_{t-1} for t >= 2, of squared errors |x_0 - x_0_hat|^2: (d/2)(r - 1 - ln r) + w^2 error / (2 sigma^2) with
// r = beta_tilde / sigma^2 and w the factor of x_0 in mu_tilde.
export function transitionTerm(squaredError, t, schedule, sigmaSq) {
  const ratio = schedule.betaTilde[t] / sigmaSq, weight = schedule.x0Weight[t] ** 2 / (2 * sigmaSq);
  return ratio - 1 - Math.log(ratio) + weight * squaredError;
}

// L_0 of a squared error: the Gaussian density of the decoder.
export function reconstructionTerm(squaredError, sigmaSq) {
  return LOG_2_PI + Math.log(sigmaSq) + squaredError / (2 * sigmaSq);
}

// |x_0 - x_0_hat|^2 of points that are noised to step t.
export function squaredErrors(denoise, x0, schedule, t, eps) {
  const estimate = denoise(qSample(x0, eps, t, schedule), schedule.logSnr[t]);
  return Float64Array.from({ length: x0.length / 2 }, (_, i) => (x0[2 * i] - estimate[2 * i]) ** 2 + (x0[2 * i + 1] - estimate[2 * i + 1]) ** 2);
}

// The means of all terms over points x_0 with their standard errors: {prior, terms: [{t, value, error}] for L_{t-1}, the
// first of them L_0 at t = 1, perPoint, total, error}. `eps(t)` draws the noise at t; `decoder` is sigma_1^2.
export function variationalBound(denoise, x0, schedule, sigmaSq, eps, decoder) {
  const n = x0.length / 2, prior = priorTerm(x0, schedule), perPoint = Float64Array.from(prior), terms = [];
  for (let t = 1; t <= schedule.n; t += 1) {
    const term = squaredErrors(denoise, x0, schedule, t, eps(t)).map((error) => (t > 1 ? transitionTerm(error, t, schedule, sigmaSq[t]) : reconstructionTerm(error, decoder)));
    term.forEach((value, i) => { perPoint[i] += value; });
    terms.push({ t, ...meanOf(term) });
  }
  const { value: total, error } = meanOf(perPoint);
  return { prior: meanOf(prior).value, terms, perPoint, total, error };
}

// A mean and its standard error.
export function meanOf(values) {
  const n = values.length, value = values.reduce((sum, each) => sum + each, 0) / n;
  const spread = values.reduce((sum, each) => sum + (each - value) ** 2, 0) / Math.max(n - 1, 1);
  return { value, error: Math.sqrt(spread / n) };
}
