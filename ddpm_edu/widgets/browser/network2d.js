// A small network that sees the noise in the plane: eps-hat of (x, y, t), its gradient by hand, and Adam. No DOM.
//
// A point, waves of it, and waves of t -> hidden layers with SiLU -> 2 numbers. Weights are (out, in), row by row, then
// the biases, layer by layer, in one Float64Array, so that Adam sees one row of numbers.

const EMBEDDING = 16; // sines and cosines of t
const WAVES = [1, 2, 4]; // half waves over half the picture; without them fine shapes take ten times as long
const INPUTS = 2 + 4 * WAVES.length + EMBEDDING;
const HIDDEN = [64, 64];

// DDPM's embedding: sin(w_k t), then cos(w_k t), with w_k from 1 down to 1/10000.
function sinusoidal(t) {
  const half = EMBEDDING / 2;
  const angles = Array.from({ length: half }, (_, k) => t * 10000 ** (-k / (half - 1)));
  return [...angles.map(Math.sin), ...angles.map(Math.cos)];
}

// x and y, then the sines and cosines of (x, y) pi k / EDGE for each k of WAVES: Fourier features (Tancik et al. 2020).
function position(x, y) {
  const angles = WAVES.map((k) => [x, y].map((c) => (Math.PI * k * c) / EDGE));
  return [x, y, ...angles.flatMap((both) => [...both.map(Math.sin), ...both.map(Math.cos)])];
}

function emptyNetwork(hidden = HIDDEN) {
  const sizes = [INPUTS, ...hidden, 2];
  const count = sizes.slice(1).reduce((sum, out, k) => sum + out * (sizes[k] + 1), 0);
  return withViews(sizes, new Float64Array(count));
}

// Layers as views into one row of numbers: { inputs, outputs, weight, bias } each.
function withViews(sizes, parameters) {
  let at = 0;
  const take = (count) => parameters.subarray(at, (at += count));
  const layers = sizes.slice(1).map((outputs, k) => {
    return { inputs: sizes[k], outputs, weight: take(outputs * sizes[k]), bias: take(outputs) };
  });
  return { sizes, parameters, layers };
}

// Uniform within 1 / sqrt(inputs); the last layer starts at zero, so that an untrained network says 0 everywhere.
function newNetwork(uniform, hidden = HIDDEN) {
  const network = emptyNetwork(hidden);
  for (const layer of network.layers.slice(0, -1)) {
    for (const part of [layer.weight, layer.bias]) {
      for (let i = 0; i < part.length; i++) part[i] = (2 * uniform() - 1) / Math.sqrt(layer.inputs);
    }
  }
  return network;
}

// ---------------------------------------------------------------- forward

// What goes in, (n, INPUTS). An embedding is computed once for each time that occurs.
function inputs(x, t) {
  const known = new Map();
  const rows = new Float64Array(t.length * INPUTS);
  t.forEach((time, n) => {
    if (!known.has(time)) known.set(time, sinusoidal(time));
    rows.set(position(x[2 * n], x[2 * n + 1]), n * INPUTS);
    rows.set(known.get(time), (n + 1) * INPUTS - EMBEDDING);
  });
  return rows;
}

// a (n, inputs) -> a weight^T + bias, (n, outputs).
function affine(layer, a, n) {
  const { inputs: width, outputs, weight, bias } = layer;
  const z = new Float64Array(n * outputs);
  for (let row = 0; row < n; row++) {
    for (let j = 0; j < outputs; j++) z[row * outputs + j] = bias[j] + dot(a, row * width, weight, j * width, width);
  }
  return z;
}

// Two sums side by side: a processor need not wait for one addition before the next.
function dot(a, i, b, j, count) {
  let even = 0, odd = 0;
  for (let k = 0; k < count; k += 2) {
    even += a[i + k] * b[j + k];
    odd += a[i + k + 1] * b[j + k + 1];
  }
  return even + odd;
}

function silu(z) {
  return z.map((value) => value / (1 + Math.exp(-value)));
}

// eps-hat (n, 2), and what went into and came out of each layer on the way, which the gradient needs.
function forward(network, x, t) {
  let a = inputs(x, t);
  const seen = network.layers.map((layer, k) => {
    const z = affine(layer, a, t.length);
    const step = { a, z };
    a = k < network.layers.length - 1 ? silu(z) : z;
    return step;
  });
  return { eps: a, seen };
}

// ---------------------------------------------------------------- the gradient

// The mean squared error of eps-hat over all numbers, and its gradient, of the parameters' shape.
function lossAndGradient(network, x, t, eps) {
  const { eps: found, seen } = forward(network, x, t);
  const gradient = withViews(network.sizes, new Float64Array(network.parameters.length));
  const loss = found.reduce((sum, value, i) => sum + (value - eps[i]) ** 2, 0) / eps.length;
  let back = found.map((value, i) => (2 * (value - eps[i])) / eps.length);
  for (let k = network.layers.length - 1; k >= 0; k--) {
    if (k < network.layers.length - 1) back = throughSilu(back, seen[k].z);
    addGradient(gradient.layers[k], back, seen[k].a, t.length);
    if (k > 0) back = throughWeight(network.layers[k], back, t.length);
  }
  return { loss, gradient: gradient.parameters };
}

// silu'(z) = g (1 + z (1 - g)), g = 1 / (1 + e^-z).
function throughSilu(back, z) {
  return back.map((value, i) => {
    const gate = 1 / (1 + Math.exp(-z[i]));
    return value * gate * (1 + z[i] * (1 - gate));
  });
}

function addGradient({ inputs: width, outputs, weight, bias }, back, a, n) {
  for (let row = 0; row < n; row++) {
    for (let j = 0; j < outputs; j++) {
      bias[j] += back[row * outputs + j];
      addScaled(weight, j * width, back[row * outputs + j], a, row * width, width);
    }
  }
}

function throughWeight({ inputs: width, outputs, weight }, back, n) {
  const before = new Float64Array(n * width);
  for (let row = 0; row < n; row++) {
    for (let j = 0; j < outputs; j++) addScaled(before, row * width, back[row * outputs + j], weight, j * width, width);
  }
  return before;
}

function addScaled(into, i, factor, from, j, count) {
  for (let k = 0; k < count; k++) into[i + k] += factor * from[j + k];
}

// ---------------------------------------------------------------- training

function newAdam(count, rate = 5e-3) {
  return { rate, step: 0, mean: new Float64Array(count), square: new Float64Array(count) };
}

// Adam (Kingma & Ba 2015), Algorithm 1, with beta = (0.9, 0.999) and epsilon = 1e-8. Changes parameters and state.
function adamStep(adam, parameters, gradient) {
  adam.step += 1;
  const rate = adam.rate / (1 - 0.9 ** adam.step);
  const correction = Math.sqrt(1 - 0.999 ** adam.step);
  for (let i = 0; i < parameters.length; i++) {
    adam.mean[i] = 0.9 * adam.mean[i] + 0.1 * gradient[i];
    adam.square[i] = 0.999 * adam.square[i] + 0.001 * gradient[i] ** 2;
    parameters[i] -= (rate * adam.mean[i]) / (Math.sqrt(adam.square[i]) / correction + 1e-8);
  }
}

// n examples: points, each with as much noise as a random t of 1..T has. { x, t, eps }.
function examples(s, points, n, stream) {
  const x0 = new Float64Array(2 * n);
  const t = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    const which = Math.floor((stream.uniform() * points.length) / 2);
    x0.set(points.subarray(2 * which, 2 * which + 2), 2 * i);
    t[i] = 1 + Math.floor(stream.uniform() * s.T);
  }
  const eps = stream.normals(2 * n);
  return { x: noised(s, x0, t, eps), t, eps };
}
