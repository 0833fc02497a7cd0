// Denoisers that are known exactly: E[x_0 | x_t] where the data are a finite set of points, or a mixture of Gaussians.
//
// Both are averages over centres m with weights softmax(ln N(x_t; a m, V)), V = a^2 variance + b^2 along each axis. Of a
// finite set (variance 0) the answer is what a network that remembers every point would learn; of a mixture it is what
// the best of all networks learns from endless data.

const shares = (logSnr) => [1 / (1 + Math.exp(-logSnr)), 1 / (1 + Math.exp(logSnr))];

const LEAST = -40; // a weight below e^-40 of the greatest does not change the last digit of a sum

// Centres are flat pairs of equal weight, with one variance along x and one along y.
export function mixtureDenoiser(centres, variance = [0, 0]) {
  const k = centres.length / 2, logWeights = new Float64Array(k), [us, vs] = [0, 1].map((axis) => Float64Array.from({ length: k }, (_, j) => centres[2 * j + axis]));

  // ln N(x_t; a m, V) of each centre but for what they share, into `logWeights`; returns the greatest.
  function weigh(x, y, a, total) {
    const byU = -0.5 / total[0], byV = -0.5 / total[1];
    let most = -Infinity;
    for (let j = 0; j < k; j += 1) {
      const dx = x - a * us[j], dy = y - a * vs[j], log = byU * dx * dx + byV * dy * dy;
      logWeights[j] = log;
      if (log > most) most = log;
    }
    return most;
  }

  // x_0_hat of points at a log-SNR, and where asked the trace of d x_0_hat / d x_t of each.
  function at(xt, logSnr, traces = null) {
    const [alphaBar, noise] = shares(logSnr), a = Math.sqrt(alphaBar), total = variance.map((v) => alphaBar * v + noise);
    // Along an axis x_0_hat = toCentre E[m] + kept x_t, and d E[m] / d x_t = (a / V) Var(m).
    const toCentre = total.map((v) => noise / v), kept = total.map((v, i) => (a * variance[i]) / v), result = new Float64Array(xt.length);
    for (let i = 0; i < xt.length; i += 2) {
      const most = weigh(xt[i], xt[i + 1], a, total);
      let sum = 0, x = 0, y = 0, xx = 0, yy = 0;
      for (let j = 0; j < k; j += 1) {
        const log = logWeights[j] - most;
        if (log < LEAST) continue;
        const w = Math.exp(log), u = us[j], v = vs[j];
        sum += w;
        x += w * u;
        y += w * v;
        if (traces) {
          xx += w * u * u;
          yy += w * v * v;
        }
      }
      x /= sum;
      y /= sum;
      result[i] = toCentre[0] * x + kept[0] * xt[i];
      result[i + 1] = toCentre[1] * y + kept[1] * xt[i + 1];
      if (traces) {
        traces[i / 2] = toCentre[0] * (a / total[0]) * (xx / sum - x * x) + toCentre[1] * (a / total[1]) * (yy / sum - y * y) + kept[0] + kept[1];
      }
    }
    return result;
  }

  return {
    at,
    withTrace(xt, logSnr) {
      const trace = new Float64Array(xt.length / 2);
      return { x0Hat: at(xt, logSnr, trace), trace };
    },
    // ln q(x_t): the log-density of the noisy data, in nats; at log-SNR Infinity that of the data.
    logDensity(xt, logSnr) {
      const [alphaBar, noise] = shares(logSnr), a = Math.sqrt(alphaBar), total = variance.map((v) => alphaBar * v + noise);
      const scale = Math.log(2 * Math.PI * Math.sqrt(total[0] * total[1]) * k);
      return Float64Array.from({ length: xt.length / 2 }, (_, i) => {
        const most = weigh(xt[2 * i], xt[2 * i + 1], a, total);
        let sum = 0;
        for (let j = 0; j < k; j += 1) sum += Math.exp(logWeights[j] - most);
        return most + Math.log(sum) - scale;
      });
    },
  };
}
