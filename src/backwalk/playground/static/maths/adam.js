// Adam (Kingma & Ba 2015), and the average of the weights over training by which a network is judged.

export class Adam {
  constructor(n, { beta1 = 0.9, beta2 = 0.999, eps = 1e-8 } = {}) {
    this.m = new Float64Array(n);
    this.v = new Float64Array(n);
    this.steps = 0;
    this.options = { beta1, beta2, eps };
  }

  step(parameters, gradient, rate) {
    const { m, v, options: { beta1, beta2, eps } } = this;
    this.steps += 1;
    const size = rate / (1 - beta1 ** this.steps), scale = 1 / Math.sqrt(1 - beta2 ** this.steps);
    for (let i = 0; i < parameters.length; i += 1) {
      const g = gradient[i];
      m[i] += (1 - beta1) * (g - m[i]);
      v[i] += (1 - beta2) * (g * g - v[i]);
      parameters[i] -= (size * m[i]) / (Math.sqrt(v[i]) * scale + eps);
    }
  }
}

// The weights' mean over about the last `share` of all steps so far: w <- w + (now - w) (k + 1) / (k + n), k = 1 / share.
export class Average {
  constructor(n, share = 0.1) {
    this.weights = new Float32Array(n);
    this.steps = 0;
    this.k = 1 / share;
  }

  add(parameters) {
    this.steps += 1;
    const part = Math.min(1, (this.k + 1) / (this.k + this.steps));
    for (let i = 0; i < parameters.length; i += 1) this.weights[i] += part * (parameters[i] - this.weights[i]);
  }
}
