// The forward chain q: data becomes noise. Points are flat arrays, two numbers a point. Ho et al. 2020, Eqs. 4, 6 and 7.

// x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps.
export function qSample(x0, eps, t, { alphaBar, noise }) {
  const a = Math.sqrt(alphaBar[t]), b = Math.sqrt(noise[t]);
  return x0.map((value, i) => a * value + b * eps[i]);
}

// q(x_{t-1} | x_t, x_0): its mean mu_tilde and its variance beta_tilde_t.
export function qPosterior(xt, x0, t, { xtWeight, x0Weight, betaTilde }) {
  return { mean: xt.map((value, i) => xtWeight[t] * value + x0Weight[t] * x0[i]), variance: betaTilde[t] };
}

// The noise that leads from x_0 to x_t: eps = (x_t - sqrt(alpha_bar_t) x_0) / sqrt(1 - alpha_bar_t).
export function epsOf(xt, x0, t, { alphaBar, noise }) {
  const a = Math.sqrt(alphaBar[t]), b = Math.sqrt(noise[t]);
  return xt.map((value, i) => (value - a * x0[i]) / b);
}
