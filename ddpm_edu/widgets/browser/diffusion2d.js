// DDPM in the plane, as pure functions: a chain, the exact denoiser of given points, the samplers. No DOM.
// They are the package's (schedules, oracles, sampling), and a test in a browser holds each of them to it.
//
// A batch of n points is one Float64Array x0 y0 x1 y1 ..; times t are one number a point. Tables have T + 1 entries,
// alphaBar[0] = 1. A denoiser is a function (x, t) -> { x0, eps }; draw(count) gives that many standard normal numbers.

const EDGE = 2.5; // half a side of the picture: the limit of what is drawn, seen and believed of an x0-hat

// ---------------------------------------------------------------- chance

// A stream of random numbers that is the same everywhere for the same seed and name: a counter, mixed until no bit of
// it can be told from chance. Streams of different names count in different odd strides.
function randomStream(seed, name) {
  let state = mixed(seed + 1);
  const stride = mixed([...name].reduce((hash, letter) => mixed(hash + letter.codePointAt(0)), 1)) | 1;
  const uniform = () => {
    state = (state + stride) | 0;
    return (mixed(state) + 0.5) / 4294967296; // never 0 and never 1
  };
  return { uniform, normals: (count) => normals(uniform, count) };
}

// 32 bits to 32 bits, one to one: each bit of the result depends on each bit that is given.
function mixed(bits) {
  let h = Math.imul(bits ^ (bits >>> 16), 0x21f0aaad);
  h = Math.imul(h ^ (h >>> 15), 0x735a2d97);
  return (h ^ (h >>> 15)) >>> 0;
}

// Box and Muller: two uniform numbers give two independent normal ones.
function normals(uniform, count) {
  const drawn = new Float64Array(count);
  for (let i = 0; i < count; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(uniform()));
    const angle = 2 * Math.PI * uniform();
    drawn[i] = radius * Math.cos(angle);
    if (i + 1 < count) drawn[i + 1] = radius * Math.sin(angle);
  }
  return drawn;
}

// ---------------------------------------------------------------- the chain

// The cosine schedule: improved DDPM (Nichol & Dhariwal 2021), Eq. 17, each beta at most 0.999.
function cosine(T) {
  const curve = (t) => Math.cos(((t / T + 0.008) / 1.008) * (Math.PI / 2)) ** 2;
  const alphaBar = new Float64Array(T + 1).fill(1);
  for (let t = 1; t <= T; t++) alphaBar[t] = alphaBar[t - 1] * (1 - Math.min(1 - curve(t) / curve(t - 1), 0.999));
  return { T, alphaBar };
}

// log of the signal-to-noise ratio, infinite at t = 0.
function logSnr(s, t) {
  return Math.log(s.alphaBar[t] / (1 - s.alphaBar[t]));
}

function times(n, t) {
  return new Float64Array(n).fill(t);
}

// x_t = sqrt(ab) x_0 + sqrt(1 - ab) eps, each point at its own t: DDPM (Ho et al. 2020), Eq. 4.
function noised(s, x0, t, eps) {
  return x0.map((value, i) => {
    const ab = s.alphaBar[t[i >> 1]];
    return Math.sqrt(ab) * value + Math.sqrt(1 - ab) * eps[i];
  });
}

// The noise that leads from x_0 to x_t.
function epsFromX0(s, x, t, x0) {
  return x.map((value, i) => {
    const ab = s.alphaBar[t[i >> 1]];
    return (value - Math.sqrt(ab) * x0[i]) / Math.sqrt(1 - ab);
  });
}

// ---------------------------------------------------------------- denoisers

// The exact one where x_0 is one of the given points, each as likely: x0-hat is their average, weighted by
// softmax(-|x_t - sqrt(ab) point|^2 / (2 (1 - ab))).
function exactDenoiser(s, points) {
  return (x, t) => {
    const x0 = new Float64Array(x.length);
    for (let i = 0; i < x.length; i += 2) {
      const mean = weightedMean(points, x[i], x[i + 1], s.alphaBar[t[i >> 1]]);
      x0[i] = mean[0];
      x0[i + 1] = mean[1];
    }
    return { x0, eps: epsFromX0(s, x, t, x0) };
  };
}

function weightedMean(points, x, y, ab) {
  const root = Math.sqrt(ab);
  const logs = new Float64Array(points.length / 2);
  let largest = -Infinity; // taken off before exp, or all weights would be 0 at small noise
  for (let k = 0; k < logs.length; k++) {
    logs[k] = -((x - root * points[2 * k]) ** 2 + (y - root * points[2 * k + 1]) ** 2) / (2 * (1 - ab));
    largest = Math.max(largest, logs[k]);
  }
  let total = 0, sumX = 0, sumY = 0;
  for (let k = 0; k < logs.length; k++) {
    const weight = Math.exp(logs[k] - largest);
    total += weight;
    sumX += weight * points[2 * k];
    sumY += weight * points[2 * k + 1];
  }
  return [sumX / total, sumY / total];
}

// One from a network (x, t) -> eps-hat. Its x0-hat is clipped to [-limit, limit], since at large t an error of eps-hat
// is multiplied by up to 2000; eps is derived anew, so that both still add up to x_t.
function learnedDenoiser(s, network, limit) {
  return (x, t) => {
    const eps = network(x, t);
    const x0 = x.map((value, i) => {
      const ab = s.alphaBar[t[i >> 1]];
      return Math.min(limit, Math.max(-limit, (value - Math.sqrt(1 - ab) * eps[i]) / Math.sqrt(ab)));
    });
    return { x0, eps: epsFromX0(s, x, t, x0) };
  };
}

// ---------------------------------------------------------------- arrows

const FIELDS = {
  // -v = sqrt(1 - ab) x0-hat - sqrt(ab) eps-hat: the direction in which DDIM goes in small steps.
  flow: (s, x, t, seen) =>
    x.map((_, i) => Math.sqrt(1 - s.alphaBar[t[i >> 1]]) * seen.x0[i] - Math.sqrt(s.alphaBar[t[i >> 1]]) * seen.eps[i]),
  // grad log q(x_t) = -eps-hat / sqrt(1 - ab).
  score: (s, x, t, seen) => x.map((_, i) => -seen.eps[i] / Math.sqrt(1 - s.alphaBar[t[i >> 1]])),
};

// ---------------------------------------------------------------- which times are visited

// Steps as equal as whole numbers allow: the times i T / steps, rounded half up, from T down to 0.
function uniformTimes(s, steps) {
  return Array.from({ length: steps + 1 }, (_, i) => Math.floor((2 * (steps - i) * s.T + steps) / (2 * steps)));
}

// Times at equal distances of log SNR from T to 1, then 0; no two of them equal. DPM-Solver (Lu et al. 2022), 3.4.
function logSnrTimes(s, steps) {
  const first = logSnr(s, s.T);
  const whole = Array.from({ length: steps }, (_, i) => {
    const share = i / Math.max(steps - 1, 1);
    return Math.floor(timeOf(s, first + share * (logSnr(s, 1) - first)) + 0.5);
  });
  whole[0] = s.T;
  for (let i = 1; i < steps; i++) whole[i] = Math.min(whole[i], whole[i - 1] - 1);
  for (let i = 1; i < steps; i++) whole[steps - i] = Math.max(whole[steps - i], i); // from the end: at least 1, 2, ..
  return [...whole, 0];
}

// The time, as a real number, at which log SNR has the given value.
function timeOf(s, wanted) {
  let t = s.T - 1; // the end of the interval t .. t + 1 that is searched, downwards
  while (t > 1 && logSnr(s, t) < wanted) t -= 1;
  const share = (wanted - logSnr(s, t + 1)) / (logSnr(s, t) - logSnr(s, t + 1));
  return t + 1 - Math.min(1, Math.max(0, share));
}

// ---------------------------------------------------------------- one step of each sampler, from t to the earlier s_

// A draw from q(x_s | x_t, x0-hat), with the variance 1 - ab_t / ab_s: DDPM, Algorithm 2, for any pair.
function ddpmStep(s, x, t, s_, seen, noise) {
  const [now, then] = [s.alphaBar[t], s.alphaBar[s_]];
  const beta = 1 - now / then;
  const fromX0 = (Math.sqrt(then) * beta) / (1 - now);
  const fromX = (Math.sqrt(1 - beta) * (1 - then)) / (1 - now);
  const sigma = s_ === 0 ? 0 : Math.sqrt(beta);
  return x.map((value, i) => fromX0 * seen.x0[i] + fromX * value + sigma * noise[i]);
}

// DDIM (Song et al. 2021), Eq. 12 and 16: eta = 0 has no noise, eta = 1 is DDPM with the posterior's variance.
function ddimStep(s, x, t, s_, seen, noise, eta) {
  const [now, then] = [s.alphaBar[t], s.alphaBar[s_]];
  const variance = (eta ** 2 * (1 - now / then) * (1 - then)) / (1 - now);
  const rest = Math.sqrt(Math.max(1 - then - variance, 0));
  return x.map((_, i) => Math.sqrt(then) * seen.x0[i] + rest * seen.eps[i] + Math.sqrt(variance) * noise[i]);
}

// DPM-Solver++(2M) (Lu et al. 2022), Algorithm 2: DDIM with an x0-hat half a step ahead on the line through the last
// two. before: { t, x0 } of the step before, null at the first.
function dpmpp2mStep(s, x, t, s_, seen, before) {
  if (before === null || s_ === 0) return ddimStep(s, x, t, s_, seen, x, 0);
  const weight = (logSnr(s, s_) - logSnr(s, t)) / (2 * (logSnr(s, t) - logSnr(s, before.t)));
  const x0 = seen.x0.map((value, i) => value + weight * (value - before.x0[i]));
  return ddimStep(s, x, t, s_, { x0, eps: epsFromX0(s, x, times(x.length / 2, t), x0) }, x, 0);
}

// Heun, EDM's sampler (Karras et al. 2022), Algorithm 1: the mean of the slopes at both ends; none is known at s = 0.
function heunStep(s, x, t, s_, seen, denoise) {
  const euler = ddimStep(s, x, t, s_, seen, x, 0);
  if (s_ === 0) return euler;
  const there = denoise(euler, times(x.length / 2, s_));
  const sigma = (time) => Math.sqrt(1 / s.alphaBar[time] - 1);
  const halfWay = (Math.sqrt(s.alphaBar[s_]) * (sigma(s_) - sigma(t))) / 2;
  return euler.map((value, i) => value + halfWay * (there.eps[i] - seen.eps[i]));
}

// By the package's names: which times, and the step in terms of a walk. Uniform times would ruin Heun here: the cosine
// schedule's last sigma is 2000, and the slopes at both ends of so long a step say little of the way between.
const SAMPLERS = {
  ddpm: { times: uniformTimes, step: (w, s_, seen, noise) => ddpmStep(w.s, w.x, w.t, s_, seen, noise) },
  ddim: { times: uniformTimes, step: (w, s_, seen, noise) => ddimStep(w.s, w.x, w.t, s_, seen, noise, w.eta) },
  dpmpp_2m: { times: uniformTimes, step: (w, s_, seen) => dpmpp2mStep(w.s, w.x, w.t, s_, seen, w.before) },
  heun: { times: logSnrTimes, step: (w, s_, seen, _, denoise) => heunStep(w.s, w.x, w.t, s_, seen, denoise) },
};

// ---------------------------------------------------------------- a walk from noise to data

function startWalk(s, sampler, steps, eta, x) {
  return { s, sampler, eta, x, t: s.T, ahead: SAMPLERS[sampler].times(s, steps).slice(1), before: null };
}

// The walk one step further. Every step draws its noise, whether or not it uses it, so that samplers can be compared.
function advance(walk, denoise, draw) {
  const [next, ...ahead] = walk.ahead;
  const seen = denoise(walk.x, times(walk.x.length / 2, walk.t));
  const x = SAMPLERS[walk.sampler].step(walk, next, seen, draw(walk.x.length), denoise);
  return { ...walk, x, t: next, ahead, before: { t: walk.t, x0: seen.x0 } };
}

// How far each of x lies from the nearest of the points, Float64Array (n).
function distances(x, points) {
  return Float64Array.from({ length: x.length / 2 }, (_, i) => {
    let least = Infinity;
    for (let k = 0; k < points.length; k += 2) {
      least = Math.min(least, (x[2 * i] - points[k]) ** 2 + (x[2 * i + 1] - points[k + 1]) ** 2);
    }
    return Math.sqrt(least);
  });
}
