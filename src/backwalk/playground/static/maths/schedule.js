// The noise schedule: alpha_bar_t, beta_t and what follows from them, for t = 0..N. Entry 0 is clean data.
//
// A schedule is its log-SNR, ln(alpha_bar / (1 - alpha_bar)), from which everything follows without cancellation at
// either end. Ho et al. 2020, Eqs. 4 and 7; the cosine is that of Nichol & Dhariwal 2021.

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const logSigmoid = (x) => (x > 0 ? -Math.log1p(Math.exp(-x)) : x - Math.log1p(Math.exp(x)));

// The arrays of a chain of N steps, by their names in the paper; `logSnr` has N + 1 entries, the first +Infinity.
export function scheduleOf(logSnr) {
  const n = logSnr.length - 1, array = (first, at) => Float64Array.from({ length: n + 1 }, (_, t) => (t === 0 ? first : at(t)));
  const alphaBar = array(1, (t) => sigmoid(logSnr[t])), noise = array(0, (t) => sigmoid(-logSnr[t])); // 1 - alpha_bar
  const lost = array(0, (t) => -Math.expm1(logSnr[t] - logSnr[t - 1])); // the share of the SNR that step t takes
  const alpha = array(1, (t) => Math.exp(logSigmoid(logSnr[t]) - logSigmoid(logSnr[t - 1])));
  return {
    n,
    logSnr: Float64Array.from(logSnr),
    alphaBar,
    noise,
    alpha,
    beta: array(0, (t) => noise[t] * lost[t]),
    betaTilde: array(0, (t) => noise[t - 1] * lost[t]), // the variance of q(x_{t-1} | x_t, x_0)
    x0Weight: array(0, (t) => Math.sqrt(alphaBar[t - 1]) * lost[t]), // the factors of its mean mu_tilde
    xtWeight: array(1, (t) => (Math.sqrt(alpha[t]) * noise[t - 1]) / noise[t]),
    noiseLevel: array(0, (t) => Math.exp(-0.5 * logSnr[t])), // Karras' sigma, sqrt((1 - alpha_bar) / alpha_bar)
  };
}

export function fromBeta(beta) {
  let logAlphaBar = 0;
  return scheduleOf([Infinity, ...beta.map((b) => {
    logAlphaBar += Math.log1p(-b);
    return logAlphaBar - Math.log(-Math.expm1(logAlphaBar));
  })]);
}

const evenly = (n, first, last) => Array.from({ length: n }, (_, i) => (n === 1 ? first : first + ((last - first) * i) / (n - 1)));

// beta_t rises linearly. The betas do not depend on N, so more steps destroy more of the signal.
export function linear(n, betaMin = 1e-3, betaMax = 0.02) {
  return fromBeta(evenly(n, betaMin, betaMax));
}

// alpha_bar_t = f(t) / f(0) with f(t) = cos^2((t / N + offset) / (1 + offset) pi / 2), and beta_t at most `betaMax`.
export function cosine(n, offset = 0.008, betaMax = 0.999) {
  const angle = (t) => ((t / n + offset) / (1 + offset)) * (Math.PI / 2);
  return fromBeta(Array.from({ length: n }, (_, i) => {
    const before = angle(i), after = angle(i + 1);
    return Math.min((Math.sin(after + before) * Math.sin(after - before)) / Math.cos(before) ** 2, betaMax);
  }));
}

// The log-SNR falls evenly.
export function logSnrUniform(n, most, least) {
  return scheduleOf([Infinity, ...evenly(n, most, least)]);
}

// The shorter chain that visits some steps, increasing and ending at N: as it is a schedule too, the step before t is t - 1.
export function respace(schedule, times) {
  return scheduleOf([Infinity, ...times.map((t) => schedule.logSnr[t])]);
}

// k steps of N, spread evenly, the last one N.
export function evenSteps(n, k) {
  return Array.from({ length: k }, (_, i) => Math.max(i + 1, Math.round(((i + 1) * n) / k)));
}

// What N(0, I) at t = N costs at least: KL(q(x_N) || N(0, I)) by the moments of data of unit variance and mean 0, in nats.
export function priorMismatch(schedule, { mean = [0, 0], covariance = [1, 0, 0, 1] } = {}) {
  const ab = schedule.alphaBar[schedule.n], noise = schedule.noise[schedule.n], [a, b, c, d] = covariance;
  const v = [ab * a + noise, ab * b, ab * c, ab * d + noise], square = mean[0] ** 2 + mean[1] ** 2;
  return 0.5 * (v[0] + v[3] + ab * square - 2 - Math.log(v[0] * v[3] - v[1] * v[2]));
}
