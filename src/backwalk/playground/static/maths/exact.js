// Denoisers that are known exactly: E[x_0 | x_t] where the data are a finite set of points, or a mixture of Gaussians.
//
// Both are averages with weights softmax(ln w_i + ln N(x_t; a m_i, v)). Of a finite set the answer is what a network
// that remembers every point would learn; of a mixture it is what the best of all networks learns from endless data.

// E[x_0 | x_t] of a mixture of round Gaussians: centres (flat pairs), one variance for all, weights 1 / k.
// With variance 0 it is the finite set itself. Returns estimates, and where asked the trace of d x_0_hat / d x_t.
export function mixtureDenoiser(centres, variance = 0) {
  const k = centres.length / 2, logWeights = new Float64Array(k);

  function at(xt, logSnr, traces = null) {
    const alphaBar = 1 / (1 + Math.exp(-logSnr)), noise = 1 / (1 + Math.exp(logSnr)), a = Math.sqrt(alphaBar);
    const total = alphaBar * variance + noise, toCentre = noise / total; // x_0_hat = toCentre m + (a variance / total) x_t
    const kept = (a * variance) / total, result = new Float64Array(xt.length);
    for (let i = 0; i < xt.length; i += 2) {
      let most = -Infinity, sum = 0, x = 0, y = 0, square = 0;
      for (let j = 0; j < k; j += 1) {
        const dx = xt[i] - a * centres[2 * j], dy = xt[i + 1] - a * centres[2 * j + 1], log = -(dx * dx + dy * dy) / (2 * total);
        logWeights[j] = log;
        if (log > most) most = log;
      }
      for (let j = 0; j < k; j += 1) {
        const log = logWeights[j] - most;
        if (log < -40) continue;
        const w = Math.exp(log), u = centres[2 * j], v = centres[2 * j + 1];
        sum += w;
        x += w * u;
        y += w * v;
        square += w * (u * u + v * v);
      }
      x /= sum;
      y /= sum;
      result[i] = toCentre * x + kept * xt[i];
      result[i + 1] = toCentre * y + kept * xt[i + 1];
      // d E[m] / d x_t = (a / total) Cov(m), so the trace is that of its covariance.
      if (traces) traces[i / 2] = toCentre * (a / total) * (square / sum - x * x - y * y) + 2 * kept;
    }
    return result;
  }

  // ln q(x_t): the log-density of the noisy data, in nats.
  function logDensity(xt, logSnr) {
    const alphaBar = 1 / (1 + Math.exp(-logSnr)), noise = 1 / (1 + Math.exp(logSnr)), a = Math.sqrt(alphaBar), total = alphaBar * variance + noise;
    return Float64Array.from({ length: xt.length / 2 }, (_, i) => {
      let most = -Infinity, sum = 0;
      for (let j = 0; j < k; j += 1) {
        const dx = xt[2 * i] - a * centres[2 * j], dy = xt[2 * i + 1] - a * centres[2 * j + 1];
        logWeights[j] = -(dx * dx + dy * dy) / (2 * total);
        if (logWeights[j] > most) most = logWeights[j];
      }
      for (let j = 0; j < k; j += 1) sum += Math.exp(logWeights[j] - most);
      return most + Math.log(sum / k) - Math.log(2 * Math.PI * total);
    });
  }

  return {
    at,
    logDensity,
    withTrace(xt, logSnr) {
      const trace = new Float64Array(xt.length / 2);
      return { x0Hat: at(xt, logSnr, trace), trace };
    },
  };
}
