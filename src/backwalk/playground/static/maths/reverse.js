// The reverse chain p_theta: noise becomes data, one step at a time. `x0Hat` is the network's estimate E[x_0 | x_t].
import { epsOf, qPosterior } from "./forward.js";

// The variances sigma_t^2 of the chain: beta_t, or beta_tilde_t.
export const variances = (schedule, name) => (name === "beta" ? schedule.beta : schedule.betaTilde);

// p_theta(x_{t-1} | x_t) of a sampler, {name: "ancestral" | "ddim", variance, eta}: its mean, and its sigma_t. The
// ancestral mean is mu_tilde at x0Hat, and no noise is added where t - 1 is 0. DDIM (Song et al. 2021) goes on with the
// same noise, of which a share eta is fresh; eta = 1 is the chain with beta_tilde.
export function transition(xt, x0Hat, t, schedule, sampler) {
  if (sampler.name === "ancestral") {
    const sigma = t === 1 ? 0 : Math.sqrt(variances(schedule, sampler.variance)[t]);
    return { mean: qPosterior(xt, x0Hat, t, schedule).mean, sigma };
  }
  const sigmaSq = sampler.eta ** 2 * schedule.betaTilde[t], eps = epsOf(xt, x0Hat, t, schedule);
  const a = Math.sqrt(schedule.alphaBar[t - 1]), kept = Math.sqrt(Math.max(schedule.noise[t - 1] - sigmaSq, 0));
  return { mean: x0Hat.map((value, i) => a * value + kept * eps[i]), sigma: Math.sqrt(sigmaSq) };
}

// The states of a chain from x_N to x_0: {t, x, x0Hat}, with {mean, sigma, z} of the step that leaves them. `noise(t)` draws z.
export function* walk(denoise, xN, schedule, sampler, noise) {
  let x = xN;
  for (let t = schedule.n; t >= 1; t -= 1) {
    const x0Hat = denoise(x, schedule.logSnr[t]);
    const { mean, sigma } = transition(x, x0Hat, t, schedule, sampler), z = noise(t);
    yield { t, x, x0Hat, mean, sigma, z };
    x = mean.map((value, i) => value + sigma * z[i]);
  }
  yield { t: 0, x, x0Hat: x };
}
