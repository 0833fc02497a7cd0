// The forward chain q: data becomes noise. Points are flat arrays, two numbers a point. Ho et al. 2020, Eqs. 2, 4, 6, 7.

// x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps.
export function qSample(x0, eps, t, { alphaBar, noise }) {
  const a = Math.sqrt(alphaBar[t]), b = Math.sqrt(noise[t]);
  return x0.map((value, i) => a * value + b * eps[i]);
}

// One step from t - 1 to t: x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) eps.
export function qStep(xs, eps, t, { alpha, beta }) {
  const a = Math.sqrt(alpha[t]), b = Math.sqrt(beta[t]);
  return xs.map((value, i) => a * value + b * eps[i]);
}

// q(x_{t-1} | x_t, x_0): its mean mu_tilde and its variance beta_tilde_t.
export function qPosterior(xt, x0, t, { xtWeight, x0Weight, betaTilde }) {
  return { mean: xt.map((value, i) => xtWeight[t] * value + x0Weight[t] * x0[i]), variance: betaTilde[t] };
}

// The noise that leads from x_0 to x_t, and x_0 by the noise: the two ways to say what a network predicts.
export function epsOf(xt, x0, t, { alphaBar, noise }) {
  const a = Math.sqrt(alphaBar[t]), b = Math.sqrt(noise[t]);
  return xt.map((value, i) => (value - a * x0[i]) / b);
}

export function x0Of(xt, eps, t, { alphaBar, noise }) {
  const a = Math.sqrt(alphaBar[t]), b = Math.sqrt(noise[t]);
  return xt.map((value, i) => (value - b * eps[i]) / a);
}
