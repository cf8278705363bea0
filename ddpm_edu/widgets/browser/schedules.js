// The mathematics of the noise-schedule explorer, as pure functions: they are the package's (schedules, schedule_checks,
// SchedulePicture.describe), and a test in a browser holds each of them to it.

const MAX_BETA = 0.999; // of the cosine and sigmoid families: or beta_T would be 1
const WASTED = 0.01; // below this alpha_bar a step has next to nothing of the image to work on

// ---------------------------------------------------------------- numbers as Python writes them

// "%.{digits}g": as many digits, no zeros at the end, an exponent only where the number is very large or small.
function general(value, digits) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
  const power = value === 0 ? 0 : Number(value.toExponential(digits - 1).split("e")[1]);
  if (power < -4 || power >= digits) return scientific(value, digits - 1, withoutZeros);
  return withoutZeros(fixed(value, digits - 1 - power));
}

// "%.{decimals}f": what lies exactly between two goes to the even one, where toFixed goes up. Such
// halves occur: 12.5%, and 0.03125 where every beta is 1/2.
function fixed(value, decimals) {
  const rounded = value.toFixed(decimals), long = value.toFixed(decimals + 25);
  const half = /50{24}$/.test(long) && "13579".includes(rounded.at(-1));
  return half ? long.slice(0, -25).replace(/\.$/, "") : rounded;
}

function scientific(value, decimals, finish = (text) => text) {
  const [number, power] = value.toExponential(decimals).split("e");
  return `${finish(number)}e${power[0]}${power.slice(1).padStart(2, "0")}`;
}

function withoutZeros(text) {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

// ---------------------------------------------------------------- schedules

// A setting that no schedule can have. Its message is the package's, word for word.
class ScheduleError extends Error {}

function refuse(message) {
  throw new ScheduleError(message);
}

function checkT(T) {
  if (T >= 1) return;
  refuse(`T must be an integer >= 1, got ${T}. It counts the steps of the chain. Fix: for example T = 1000.`);
}

function checkEnds(start, end) {
  for (const [name, value] of [["beta_start", start], ["beta_end", end]]) {
    if (!Number.isFinite(value)) {
      refuse(`${name} must be a finite number, got ${general(value, 6)}. Fix: for example 1e-4 and 0.02.`);
    }
    if (!(value > 0 && value <= 1)) {
      refuse(
        `${name} must lie in (0, 1], got ${general(value, 6)}: beta is the variance of one step's noise, out of 1. ` +
          "Usual cause: a percentage, or sigma in place of beta. Fix: for example 1e-4 and 0.02.",
      );
    }
  }
  if (start > end) {
    refuse(
      `beta_start = ${general(start, 6)} is larger than beta_end = ${general(end, 6)}: noise would come first and ` +
        "fade out. Usual cause: the two swapped. Fix: swap them, or pass falling values to from_betas if they are " +
        "meant.",
    );
  }
}

function checkScale(T, end) {
  const last = (1000 / T) * end;
  if (last > 1) {
    refuse(
      `linear_scaled: T = ${T} makes beta_T = ${general(last, 4)}, and a beta above 1 is no variance. ` +
        `With beta_end = ${general(end, 6)} this schedule needs T >= ${Math.ceil(1000 * end)}. ` +
        "Usual cause: fewer steps than the scaling can carry. Fix: more steps, or cosine(T), which needs no scaling.",
    );
  }
}

function checkBetas(betas, name) {
  const last = betas.length - 1; // beta_T = 1 is allowed: all signal is gone, on purpose
  const wrong = betas.findIndex((beta, i) => !(beta > 0 && (beta < 1 || (beta === 1 && i === last))));
  if (wrong < 0) return;
  refuse(
    `${name}: every beta must lie in (0, 1) (the last may be 1), but beta[${wrong + 1}] = ` +
      `${general(betas[wrong], 6)}. Usual cause: betas scaled for another T, or alphas passed as betas. ` +
      "Fix: more steps, or smaller betas.",
  );
}

// T numbers at equal distances; counted from both ends, so that the last is exactly what was asked for.
function evenly(start, end, T) {
  const step = T > 1 ? (end - start) / (T - 1) : 0;
  return Float64Array.from({ length: T }, (_, i) => (i < T / 2 ? start + step * i : end - step * (T - 1 - i)));
}

// Betas from a curve alpha_bar(u), u = t / T in [0, 1].
function fromCurve(curve, T) {
  return Float64Array.from({ length: T }, (_, i) => Math.min(1 - curve((i + 1) / T) / curve(i / T), MAX_BETA));
}

// What lies between t / T = 0 and 1 of a falling logistic curve from -3 to 3; scaled below to run from 1 to 0.
function logistic(u) {
  return 1 / (1 + Math.exp(u * 6 - 3));
}

// The T betas of each family. The first three have two ends to choose.
const WITH_ENDS = {
  linear: evenly,
  linear_scaled: (start, end, T) => {
    checkScale(T, end);
    return evenly((1000 / T) * start, (1000 / T) * end, T);
  },
  quadratic: (start, end, T) => evenly(Math.sqrt(start), Math.sqrt(end), T).map((root) => root ** 2),
};
const CURVES = {
  cosine: (u) => Math.cos((((u + 0.008) / 1.008) * Math.PI) / 2) ** 2,
  sigmoid: (u) => (logistic(u) - logistic(1)) / (logistic(0) - logistic(1)),
};

// A schedule as tables over t = 0..T, beta[0] = 0 and alphaBar[0] = 1. Throws ScheduleError.
function schedule(family, T, betaStart, betaEnd) {
  checkT(T);
  if (family in WITH_ENDS) checkEnds(betaStart, betaEnd);
  const betas = family in WITH_ENDS ? WITH_ENDS[family](betaStart, betaEnd, T) : fromCurve(CURVES[family], T);
  checkBetas(betas, family);
  const alphaBar = new Float64Array(T + 1).fill(1);
  betas.forEach((beta, i) => (alphaBar[i + 1] = alphaBar[i] * (1 - beta)));
  return { T, beta: Float64Array.of(0, ...betas), alphaBar };
}

function snr(s, t) {
  return s.alphaBar[t] / (1 - s.alphaBar[t]);
}

// The numbers of the readout. bits: KL(q(x_T | x_0) || N(0, I)) a dimension; meanSquare: the data's average x_0^2.
function numbers(s, t, meanSquare) {
  const ab = s.alphaBar[t], end = s.alphaBar[s.T];
  return {
    alpha_bar: ab,
    image: Math.sqrt(ab),
    noise: Math.sqrt(1 - ab),
    snr: snr(s, t),
    left: Math.sqrt(end),
    bits: (0.5 * (end * meanSquare - end - Math.log1p(-end))) / Math.LN2,
    wasted: s.alphaBar.filter((value) => value < WASTED).length / s.T,
  };
}

// The readout: what holds at t, and what holds at T.
function describe(s, t, meanSquare) {
  const n = numbers(s, t, meanSquare);
  const left = n.left >= 0.001 || n.left === 0 ? fixed(n.left, 4) : scientific(n.left, 1);
  return [
    `at t = ${t}: alpha_bar = ${fixed(n.alpha_bar, 4)}, ` +
      `image times ${fixed(n.image, 3)} plus noise times ${fixed(n.noise, 3)}, SNR = ${general(n.snr, 3)}.`,
    `at T = ${s.T}: the factor left on the image is ${left}, bits left: ${general(n.bits, 2)} per dimension; ` +
      `steps with alpha_bar below ${WASTED}: ${fixed(100 * n.wasted, 0)}%.`,
  ];
}
