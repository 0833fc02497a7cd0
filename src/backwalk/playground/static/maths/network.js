// The two networks: functions of noisy points and a level, with their gradients and their tangents, written by hand.
//
//   Textbook   h <- tanh(W h + b), four times; out = W h + b. The course's.
//   Residual   h = W (x, level) + b;  h <- h + B silu(A silu(h) + a) + b, three times; out = W silu(h) + b.
//
// A matrix is (rows, columns), row by row. Widths are filled up to multiples of 8 with units that are always 0: their
// weights start at 0, so their gradients are 0 as well.
import { Matrices, transpose } from "./products.js";

const IN = 4, OUT = 8; // (x, y, level, 0), and (x, y) with six zeros
const filled = (width) => Math.ceil(width / 8) * 8;

// e^x for |x| <= 100: 2^n e^r with |r| <= ln(2) / 2, where the series to r^7 is exact to 6e-9, a tenth of single precision.
// Networks spend most of their time here, and Math.exp, which is exact to 1e-16, takes three times as long.
const POWERS = Float64Array.from({ length: 301 }, (_, i) => 2 ** (i - 150));
function exp(x) {
  const n = Math.floor(x * Math.LOG2E + 0.5), r = x - n * Math.LN2;
  return POWERS[n + 150] * (1 + r * (1 + r * (1 / 2 + r * (1 / 6 + r * (1 / 24 + r * (1 / 120 + r * (1 / 720 + r / 5040)))))));
}

const tanh = (x) => (x > 20 ? 1 : x < -20 ? -1 : 1 - 2 / (exp(2 * x) + 1));
const sigmoid = (x) => 1 / (1 + exp(x > 100 ? -100 : x < -100 ? 100 : -x));

class Network {
  // Layers are [columns in, columns out] before they are filled up; `rows` is the most that one pass takes, of which the
  // first `active` are computed.
  constructor(layers, rows) {
    this.rows = this.active = Math.ceil(rows / 4) * 4;
    const sizes = layers.map(([n, m]) => [n === 3 ? IN : filled(n), m === 2 ? OUT : filled(m)]);
    const n = sizes.reduce((sum, [a, b]) => sum + (a + 1) * b, 0), widest = Math.max(...sizes.map(([, m]) => m));
    const numbers = 4 * n + (6 * layers.length + 8) * this.rows * widest;
    this.matrices = new Matrices(Math.ceil((4 * numbers) / 1048576) + 1);
    this.parameters = this.matrices.matrix(1, n);
    this.gradient = this.matrices.matrix(1, n);
    let start = 0;
    this.layers = sizes.map(([a, b], i) => {
      const weights = [start, start + a * b], bias = [start + a * b, start + (a + 1) * b];
      start = bias[1];
      const part = (of, [from, to]) => of.subarray(from, to);
      return {
        n: a, m: b, asked: layers[i],
        weight: part(this.parameters, weights), bias: part(this.parameters, bias),
        weightGradient: part(this.gradient, weights), biasGradient: part(this.gradient, bias),
        transposed: this.matrices.matrix(b, a),
      };
    });
    this.input = this.matrices.matrix(this.rows, IN);
    this.turned = this.matrices.matrix(widest, this.rows);
    this.width = widest; // of the hidden layers
    this.byUnits = [this.hidden(), this.hidden()];
    [this.out, this.byOut, this.pushed] = [0, 1, 2].map(() => this.matrices.matrix(this.rows, OUT));
  }

  get size() {
    return this.layers.reduce((sum, { asked: [n, m] }) => sum + (n + 1) * m, 0);
  }

  hidden() {
    return this.matrices.matrix(this.rows, this.width);
  }

  // out = x W + b.
  affine({ weight, bias, n, m }, x, out) {
    for (let i = 0; i < this.active; i += 1) out.set(bias, i * m);
    this.matrices.addProduct(out, x, weight, this.active, n, m);
    return out;
  }

  // The gradients by weight and bias, given x and that by out.
  collect({ weightGradient, biasGradient, n, m }, x, byOut) {
    this.matrices.addProduct(weightGradient, transpose(x, this.turned, this.rows, n), byOut, n, this.rows, m);
    for (let i = 0; i < byOut.length; i += m) for (let j = 0; j < m; j += 1) biasGradient[j] += byOut[i + j];
  }

  // byIn = byOut W^T.
  back({ weight, transposed, n, m }, byOut, byIn) {
    byIn.fill(0);
    this.matrices.addProduct(byIn, byOut, transpose(weight, transposed, n, m), this.rows, m, n);
    return byIn;
  }

  // The tangent of a layer: out = x W.
  push({ weight, n, m }, x, out) {
    out.fill(0);
    this.matrices.addProduct(out, x, weight, this.rows, n, m);
    return out;
  }

  load(points, levels, first, count) {
    for (let i = 0; i < this.active; i += 1) {
      const row = first + Math.min(i, count - 1); // the last row again, where there are fewer
      this.input[4 * i] = points[2 * row];
      this.input[4 * i + 1] = points[2 * row + 1];
      this.input[4 * i + 2] = typeof levels === "number" ? levels : levels[row];
    }
  }

  // The outputs at points (flat pairs) and levels (one, or one for each); with `traces` also d out_x/dx + d out_y/dy.
  evaluate(points, levels, traces = null) {
    const n = points.length / 2, result = new Float64Array(2 * n);
    for (let first = 0; first < n; first += this.rows) {
      const count = Math.min(this.rows, n - first);
      this.active = traces ? this.rows : Math.ceil(count / 4) * 4;
      this.load(points, levels, first, count);
      const out = this.forward(traces !== null);
      for (let i = 0; i < count; i += 1) {
        result[2 * (first + i)] = out[OUT * i];
        result[2 * (first + i) + 1] = out[OUT * i + 1];
      }
      if (!traces) continue;
      for (const axis of [0, 1]) {
        const slope = this.tangent(axis);
        for (let i = 0; i < count; i += 1) traces[first + i] = (axis ? traces[first + i] : 0) + slope[OUT * i + axis];
      }
    }
    return result;
  }

  // The gradient of a loss by all parameters, into `gradient`: `byOutput(out)` returns the loss's gradient by the outputs.
  differentiate(points, levels, byOutput) {
    const n = points.length / 2;
    if (n > this.rows) throw new RangeError(`a batch should have at most ${this.rows} rows, but has ${n}: make the network for as many.`);
    this.active = this.rows;
    this.load(points, levels, 0, n);
    const all = this.forward(true), out = new Float64Array(2 * n);
    for (let i = 0; i < n; i += 1) [out[2 * i], out[2 * i + 1]] = [all[OUT * i], all[OUT * i + 1]];
    const given = byOutput(out);
    this.byOut.fill(0); // rows beyond the batch count nothing
    for (let i = 0; i < n; i += 1) [this.byOut[OUT * i], this.byOut[OUT * i + 1]] = [given[2 * i], given[2 * i + 1]];
    this.gradient.fill(0);
    this.backward();
  }

  // The weights of all layers as one list, (in, out) and bias layer by layer, and back.
  packed() {
    return Float32Array.from(this.layers.flatMap((_, i) => { const { weight, bias } = this.weightsOf(i); return [...weight, ...bias]; }));
  }

  unpack(list) {
    let at = 0;
    const take = (n) => list.subarray(at, (at += n));
    this.layers.forEach(({ asked: [n, m] }, i) => this.setWeights(i, take(n * m), take(m)));
  }

  // Weights and biases of a layer without what fills them up: arrays (in, out) and (out), row by row.
  weightsOf(i) {
    const { asked: [n, m], weight, bias, m: wide } = this.layers[i];
    return { weight: Array.from({ length: n * m }, (_, k) => weight[Math.floor(k / m) * wide + (k % m)]), bias: Array.from(bias.subarray(0, m)) };
  }

  setWeights(i, weights, biases) {
    const { asked: [n, m], weight, bias, m: wide } = this.layers[i];
    for (let k = 0; k < n * m; k += 1) weight[Math.floor(k / m) * wide + (k % m)] = weights[k];
    bias.set(biases);
  }
}

export class Textbook extends Network {
  constructor({ width = 100, nHidden = 4, rows = 256 } = {}) {
    super([[3, width], ...Array.from({ length: nHidden - 1 }, () => [width, width]), [width, 2]], rows);
    this.units = this.layers.slice(0, -1).map(() => this.hidden());
  }

  // Uniform within 1 / sqrt(columns in), as PyTorch's nn.Linear starts.
  start(random) {
    this.layers.forEach(({ asked: [n, m] }, i) => {
      const draw = (count) => Array.from({ length: count }, () => (2 * random.uniform() - 1) / Math.sqrt(n));
      this.setWeights(i, draw(n * m), draw(m));
    });
  }

  forward() {
    let h = this.input;
    this.units.forEach((units, i) => {
      this.affine(this.layers[i], h, units);
      for (let k = 0; k < this.active * this.width; k += 1) units[k] = tanh(units[k]);
      h = units;
    });
    return this.affine(this.layers.at(-1), h, this.out);
  }

  backward() {
    let byOut = this.byOut;
    for (let i = this.layers.length - 1; i >= 0; i -= 1) {
      this.collect(this.layers[i], i ? this.units[i - 1] : this.input, byOut);
      if (!i) return;
      const units = this.units[i - 1], byUnits = this.back(this.layers[i], byOut, this.byUnits[i % 2]);
      for (let k = 0; k < units.length; k += 1) byUnits[k] *= 1 - units[k] * units[k];
      byOut = byUnits;
    }
  }

  // d out / d x or d y at the points of the last forward pass, (rows, OUT).
  tangent(axis) {
    const { weight, m } = this.layers[0];
    let t = this.byUnits[0];
    for (let k = 0; k < t.length; k += m) t.set(weight.subarray(axis * m, (axis + 1) * m), k);
    for (let i = 0; i < this.units.length; i += 1) {
      const units = this.units[i], isLast = i === this.units.length - 1;
      for (let k = 0; k < units.length; k += 1) t[k] *= 1 - units[k] * units[k];
      t = this.push(this.layers[i + 1], t, isLast ? this.pushed : this.byUnits[(i + 1) % 2]);
    }
    return t;
  }
}

export class Residual extends Network {
  constructor({ width = 64, nBlocks = 3, rows = 256 } = {}) {
    super([[3, width], ...Array.from({ length: 2 * nBlocks }, () => [width, width]), [width, 2]], rows);
    this.h = this.hidden();
    // The values and slopes of each silu: two for each block, and the last.
    this.units = Array.from({ length: 2 * nBlocks + 1 }, () => this.hidden());
    this.slopes = this.units.map(() => this.hidden());
    this.byH = this.hidden();
  }

  // Normal weights, and 0 at the end of each block and of the network: untrained, it answers 0.
  start(random) {
    const last = this.layers.length - 1;
    this.layers.forEach(({ asked: [n, m] }, i) => {
      const isZero = i === last || (i > 0 && i % 2 === 0), gain = i ? Math.SQRT2 : 3;
      const draws = random.normals(n * m).map((z) => (isZero ? 0 : (gain * z) / Math.sqrt(n)));
      this.setWeights(i, draws, new Float64Array(m));
    });
  }

  silu(i, x, hasSlopes) {
    const units = this.units[i], slopes = this.slopes[i], size = this.active * this.width;
    if (!hasSlopes) for (let k = 0; k < size; k += 1) units[k] = x[k] * sigmoid(x[k]);
    else {
      for (let k = 0; k < size; k += 1) {
        const y = x[k], gate = sigmoid(y), value = y * gate;
        units[k] = value;
        slopes[k] = gate + (1 - gate) * value;
      }
    }
    return units;
  }

  // `hasSlopes` says whether the pass is to be differentiated.
  forward(hasSlopes) {
    const { h, layers } = this, last = layers.length - 1;
    this.affine(layers[0], this.input, h);
    for (let i = 1; i < last; i += 2) {
      const inner = this.affine(layers[i], this.silu(i - 1, h, hasSlopes), this.units[i]);
      this.silu(i, inner, hasSlopes);
      const { bias, weight, n, m } = layers[i + 1];
      for (let k = 0; k < this.active * m; k += m) for (let j = 0; j < m; j += 1) h[k + j] += bias[j];
      this.matrices.addProduct(h, this.units[i], weight, this.active, n, m);
    }
    return this.affine(layers[last], this.silu(last - 1, h, hasSlopes), this.out);
  }

  backward() {
    const { layers, units, slopes, byH } = this, last = layers.length - 1;
    this.collect(layers[last], units[last - 1], this.byOut);
    this.back(layers[last], this.byOut, byH);
    for (let k = 0; k < byH.length; k += 1) byH[k] *= slopes[last - 1][k];
    for (let i = last - 2; i >= 1; i -= 2) {
      this.collect(layers[i + 1], units[i], byH);
      const byInner = this.back(layers[i + 1], byH, this.byUnits[0]);
      for (let k = 0; k < byInner.length; k += 1) byInner[k] *= slopes[i][k];
      this.collect(layers[i], units[i - 1], byInner);
      const byOuter = this.back(layers[i], byInner, this.byUnits[1]);
      for (let k = 0; k < byH.length; k += 1) byH[k] += byOuter[k] * slopes[i - 1][k];
    }
    this.collect(layers[0], this.input, byH);
  }

  tangent(axis) {
    const { layers, slopes } = this, last = layers.length - 1, { weight, m } = layers[0], t = this.byH;
    for (let k = 0; k < t.length; k += m) t.set(weight.subarray(axis * m, (axis + 1) * m), k);
    const times = (by, out) => {
      for (let k = 0; k < t.length; k += 1) out[k] = t[k] * by[k];
      return out;
    };
    for (let i = 1; i < last; i += 2) {
      const inner = this.push(layers[i], times(slopes[i - 1], this.byUnits[0]), this.byUnits[1]);
      for (let k = 0; k < inner.length; k += 1) inner[k] *= slopes[i][k];
      this.matrices.addProduct(t, inner, layers[i + 1].weight, this.rows, layers[i + 1].n, layers[i + 1].m);
    }
    return this.push(layers[last], times(slopes[last - 1], this.byUnits[0]), this.pushed);
  }
}
