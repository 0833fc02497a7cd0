// What a network's output means: x_0_hat = E[x_0 | x_t] by its prediction, and the loss by which it learns to predict.
//
// Every prediction is x_0_hat = p x_t + q out, so that the network is to answer (x_0 - p x_t) / q. With a = sqrt(alpha_bar)
// and b = sqrt(1 - alpha_bar):
//
//   eps   p = 1/a, q = -b/a      the noise: the loss is L_simple (Ho et al. 2020, Eq. 14)
//   x_0   p = 0,   q = 1         the clean point
//   v     p = a,   q = -b        v = a eps - b x_0 (Salimans & Ho 2022)
//   F     p = a,   q = b s / sqrt(s^2 + floor^2)      what the best linear answer leaves (Karras et al. 2022), s = b/a
//
// A network reads t/N, or, for F, ln(s^2 + floor^2) / 8, which is the noise level and serves any chain.

const GREATEST_LEVEL = 1e5;

function predictionAt(predicts, logSnr, floor) {
  const a = Math.sqrt(1 / (1 + Math.exp(-logSnr))), b = Math.sqrt(1 / (1 + Math.exp(logSnr)));
  if (predicts === "eps") return { a, b, p: 1 / a, q: -b / a };
  if (predicts === "x_0") return { a, b, p: 0, q: 1 };
  if (predicts === "v") return { a, b, p: a, q: -b };
  const levelSq = Math.min(Math.exp(-logSnr), GREATEST_LEVEL ** 2);
  return { a, b, p: a, q: b * Math.sqrt(levelSq / (levelSq + floor ** 2)) };
}

// t/N of a log-SNR: linear between two steps of the schedule, constant beyond its ends.
function timeShare(schedule, logSnr) {
  const { logSnr: grid, n } = schedule;
  if (n === 1 || logSnr <= grid[n]) return 1;
  if (logSnr >= grid[1]) return 1 / n;
  let low = 1, high = n;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (grid[middle] >= logSnr) low = middle;
    else high = middle;
  }
  return (low + (grid[low] - logSnr) / (grid[low] - grid[high])) / n;
}

// A network with what it predicts: "eps", "x_0" or "v" on the steps of a schedule, or "F" with a floor at any noise level.
export class NetworkDenoiser {
  constructor(network, { predicts, schedule = null, floor = 0 }) {
    Object.assign(this, { network, predicts, schedule, floor });
  }

  levelOf(logSnr) {
    if (this.predicts === "F") return 0.125 * Math.log(Math.min(Math.exp(-logSnr), GREATEST_LEVEL ** 2) + this.floor ** 2);
    return timeShare(this.schedule, logSnr);
  }

  // x_0_hat of points x_t at one log-SNR.
  at(xt, logSnr) {
    return this.withOutput(xt, logSnr, null);
  }

  // x_0_hat, and the trace of d x_0_hat / d x_t of each point.
  withTrace(xt, logSnr) {
    const trace = new Float64Array(xt.length / 2), x0Hat = this.withOutput(xt, logSnr, trace);
    return { x0Hat, trace };
  }

  withOutput(xt, logSnr, trace) {
    const { p, q } = predictionAt(this.predicts, logSnr, this.floor), out = this.network.evaluate(xt, this.levelOf(logSnr), trace);
    if (trace) for (let i = 0; i < trace.length; i += 1) trace[i] = 2 * p + q * trace[i];
    for (let i = 0; i < out.length; i += 1) out[i] = p * xt[i] + q * out[i];
    return out;
  }

  // The loss of a batch and its gradient by all weights, which the network keeps: the mean over rows of
  // |out - target|^2, summed over both coordinates; of F it is |v - v_theta|^2, that is (q/b)^2 |out - target|^2. With
  // `errorWeight` it is that times |x_0 - x_0_hat|^2 = q^2 |out - target|^2 of each row.
  lossAndGradient(x0, eps, logSnr, errorWeight = null) {
    const n = x0.length / 2, xt = new Float64Array(2 * n), target = new Float64Array(2 * n), weight = new Float64Array(n), levels = new Float64Array(n);
    for (let i = 0; i < n; i += 1) {
      const { a, b, p, q } = predictionAt(this.predicts, logSnr[i], this.floor);
      levels[i] = this.levelOf(logSnr[i]);
      weight[i] = errorWeight ? errorWeight[i] * q * q : this.predicts === "F" ? (q / b) ** 2 : 1;
      for (let k = 2 * i; k < 2 * i + 2; k += 1) {
        xt[k] = a * x0[k] + b * eps[k];
        target[k] = (x0[k] - p * xt[k]) / q;
      }
    }
    let loss = 0;
    this.network.differentiate(xt, levels, (out) => out.map((value, k) => {
      const error = value - target[k], w = weight[k >> 1] / n;
      loss += w * error * error;
      return 2 * w * error;
    }));
    return loss;
  }
}
