// The reverse chain p_theta: noise becomes data, one step at a time. `x0Hat` is the network's estimate E[x_0 | x_t].

// mu_theta = (x_t - beta_t / sqrt(1 - alpha_bar_t) eps_theta) / sqrt(alpha_t). Ho et al. 2020, Eq. 11.
export function muFromEps(xt, eps, t, { alpha, beta, noise }) {
  const factor = beta[t] / Math.sqrt(noise[t]), scale = 1 / Math.sqrt(alpha[t]);
  return xt.map((value, i) => scale * (value - factor * eps[i]));
}

// The variances sigma_t^2 of the chain: beta_t, or beta_tilde_t.
export const variances = (schedule, name) => (name === "beta" ? schedule.beta : schedule.betaTilde);

// A step of the chain: x_{t-1} = mu + sigma_t z, where mu is mu_tilde at x0Hat. No noise is added where t - 1 is 0.
export function ancestralStep(xt, x0Hat, t, schedule, sigmaSq, z) {
  const { xtWeight, x0Weight } = schedule, sigma = t === 1 ? 0 : Math.sqrt(sigmaSq[t]);
  return xt.map((value, i) => xtWeight[t] * value + x0Weight[t] * x0Hat[i] + sigma * z[i]);
}

// DDIM (Song et al. 2021): the same noise goes on, of which a share eta is fresh. eta = 1 is the chain with beta_tilde.
export function ddimStep(xt, x0Hat, t, schedule, eta, z) {
  const { alphaBar, noise, betaTilde } = schedule, sigmaSq = eta * eta * betaTilde[t];
  const a = Math.sqrt(alphaBar[t]), b = Math.sqrt(noise[t]), next = Math.sqrt(alphaBar[t - 1]);
  const kept = Math.sqrt(Math.max(noise[t - 1] - sigmaSq, 0)), sigma = Math.sqrt(sigmaSq);
  return xt.map((value, i) => next * x0Hat[i] + (kept * (value - a * x0Hat[i])) / b + sigma * z[i]);
}

// The states of a chain from x_N to x_0 under a sampler: {name: "ancestral" | "ddim", variance, eta}. `noise(t)` draws z.
export function* walk(denoise, xN, schedule, sampler, noise) {
  let x = xN;
  for (let t = schedule.n; t >= 1; t -= 1) {
    const x0Hat = denoise(x, schedule.logSnr[t]);
    yield { t, x, x0Hat };
    x = sampler.name === "ddim" ? ddimStep(x, x0Hat, t, schedule, sampler.eta, noise(t))
      : ancestralStep(x, x0Hat, t, schedule, variances(schedule, sampler.variance), noise(t));
  }
  yield { t: 0, x, x0Hat: x };
}
