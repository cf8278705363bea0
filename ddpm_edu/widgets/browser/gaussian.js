// The bound and the model for Gaussian data in closed form, as pure functions over a schedule of schedules.js: they are
// the package's (closed_form.GaussianChain), and a test in a browser holds each of them to it. Values are in nats.

// The variance of x_t of data N(mean, std^2), t = 0..T.
function variances(s, std) {
  return s.alphaBar.map((ab) => ab * std ** 2 + 1 - ab);
}

// beta~_t, the variance of q(x_{t-1} | x_t, x_0), t = 2..T.
function posteriorVariance(s, t) {
  return (s.beta[t] * (1 - s.alphaBar[t - 1])) / (1 - s.alphaBar[t]);
}

// The variances S_t of the steps back by name, as functions of t = 1..T. "optimal" is that of the true reverse step;
// "posterior", which is 0 at t = 1, takes its second entry there.
const WIDTHS = {
  beta: (s) => (t) => s.beta[t],
  posterior: (s) => (t) => posteriorVariance(s, Math.max(t, 2)),
  optimal: (s, v) => (t) => (s.beta[t] * v[t - 1]) / v[t],
};

// L_T: what of the data is left at the end of the chain.
function prior(s, mean, std) {
  const end = s.alphaBar[s.T];
  return 0.5 * (end * (std ** 2 + mean ** 2) - end - Math.log1p(-end));
}

// L_{t-1} at index t = 2..T, averaged over the data; 0 at 0 and 1.
function denoising(s, std, v, width) {
  return Float64Array.from({ length: s.T + 1 }, (_, t) => {
    if (t < 2) return 0;
    const posterior = posteriorVariance(s, t), S = width(t);
    const error = (s.alphaBar[t - 1] * s.beta[t] ** 2 * std ** 2) / ((1 - s.alphaBar[t]) * v[t]);
    return 0.5 * (Math.log(S / posterior) + posterior / S - 1 + error / S);
  });
}

// L_0, with a density.
function reconstruction(s, std, v, width) {
  return 0.5 * (Math.log(2 * Math.PI * width(1)) + (s.beta[1] * std ** 2) / (v[1] * width(1)));
}

// The whole bound less the entropy: what is lost at the end of the chain, and by a wrong width in each step.
function lost(s, mean, v, width) {
  const right = WIDTHS.optimal(s, v), end = v[s.T];
  let sum = s.alphaBar[s.T] * mean ** 2 + end - 1 - Math.log(end);
  for (let t = 1; t <= s.T; t += 1) {
    const ratio = right(t) / width(t);
    sum += ratio - 1 - Math.log(ratio);
  }
  return 0.5 * sum;
}

// -log p(x_0) of the model, averaged over the data: a walk of mean and variance from N(0, 1) to t = 0.
function modelNats(s, mean, std, v, width) {
  let [centre, spread] = [0, 1];
  for (let t = s.T; t >= 1; t -= 1) {
    const factor = (Math.sqrt(1 - s.beta[t]) * v[t - 1]) / v[t];
    centre = Math.sqrt(s.alphaBar[t - 1]) * mean + factor * (centre - Math.sqrt(s.alphaBar[t]) * mean);
    spread = factor ** 2 * spread + width(t);
  }
  return 0.5 * (Math.log(2 * Math.PI * spread) + (std ** 2 + (mean - centre) ** 2) / spread);
}

// Everything that the explorer shows, in bits: bits of the terms, of the whole, of the data, and the two losses.
function boundInBits(s, variance, mean, std) {
  const v = variances(s, std), width = WIDTHS[variance](s, v);
  const entropy = 0.5 * Math.log(2 * Math.PI * Math.E * std ** 2);
  const total = entropy + lost(s, mean, v, width), nll = modelNats(s, mean, std, v, width);
  return {
    prior: prior(s, mean, std) / Math.LN2,
    denoising: denoising(s, std, v, width).map((nats) => nats / Math.LN2),
    reconstruction: reconstruction(s, std, v, width) / Math.LN2,
    total: total / Math.LN2,
    entropy: entropy / Math.LN2,
    by_model: (nll - entropy) / Math.LN2,
    by_bound: (total - nll) / Math.LN2,
  };
}
