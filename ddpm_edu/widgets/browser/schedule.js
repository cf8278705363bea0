// The noise-schedule explorer without a kernel. First the mathematics, as pure functions: they are the package's
// (schedules, schedule_checks, forward, SchedulePicture.describe), and a test in a browser holds each of them to it.
// Then the drawing. given: {title, families, beta_starts, beta_ends, mean_square, size, photograph}, the last as
// grey bytes in base64. chosen: {family, T, beta_start, beta_end, t}.

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

// "%.{decimals}f" of a number >= 0: what lies exactly between two goes to the even one, where toFixed goes up. Such
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

// A schedule as tables over t = 0..T, alphaBar[0] = 1. Throws ScheduleError.
function schedule(family, T, betaStart, betaEnd) {
  checkT(T);
  if (family in WITH_ENDS) checkEnds(betaStart, betaEnd);
  const betas = family in WITH_ENDS ? WITH_ENDS[family](betaStart, betaEnd, T) : fromCurve(CURVES[family], T);
  checkBetas(betas, family);
  const alphaBar = new Float64Array(T + 1).fill(1);
  betas.forEach((beta, i) => (alphaBar[i + 1] = alphaBar[i] * (1 - beta)));
  return { T, alphaBar };
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

// ---------------------------------------------------------------- a noisy photograph

// Standard normal numbers, the same for the same seed everywhere: Marsaglia's xorshift with 32 bits, Box and Muller.
function noise(seed, count) {
  let state = Math.imul(seed + 1, 0x9e3779b1); // 0, which would stay 0, comes from no seed below 2^32 - 1
  const uniform = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return ((state >>> 0) + 0.5) / 4294967296;
  };
  const normal = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  return Float64Array.from({ length: count }, normal);
}

// Grey levels of x_t = sqrt(ab) x_0 + sqrt(1 - ab) noise, x_0 and x_t in [-1, 1]: DDPM (Ho et al. 2020), Eq. 4.
function noisy(levels, drawn, ab) {
  return Uint8ClampedArray.from(levels, (level, i) => {
    const x = Math.sqrt(ab) * (level / 127.5 - 1) + Math.sqrt(1 - ab) * drawn[i];
    return (x + 1) * 127.5; // the array itself rounds, and cuts off what is beyond black and white
  });
}

function photo(given, t) {
  const levels = Uint8Array.from(atob(given.photograph), (letter) => letter.charCodeAt(0));
  const drawn = noise(0, levels.length);
  const canvas = element("canvas", { class: "ddpm-pixels", width: given.size, height: given.size, role: "img" });
  const caption = element("figcaption");
  const draw = (s, t) => {
    const context = canvas.getContext("2d");
    const image = context.createImageData(given.size, given.size);
    noisy(levels, drawn, s.alphaBar[t]).forEach((level, i) => image.data.set([level, level, level, 255], 4 * i));
    context.putImageData(image, 0, 0);
    const { image: kept, noise: added } = numbers(s, t, given.mean_square);
    const words = `photograph at t = ${t}: image times ${fixed(kept, 3)} plus noise times ${fixed(added, 3)}`;
    canvas.setAttribute("aria-label", words);
    caption.textContent = `photograph at t = ${t}`;
  };
  return { element: element("figure", { class: "ddpm-photo" }, caption, canvas), draw };
}

// ---------------------------------------------------------------- curves

// A panel's coordinates, in units of its own: the plane that the curves are in, and what is around it.
const WIDTH = 300, HEIGHT = 220;
const PLANE = { left: 36, top: 24, width: 254, height: 158 };
const PLANE_BOTTOM = PLANE.top + PLANE.height;

function drawn(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  set(made, attributes);
  made.append(...children);
  return made;
}

function set(shape, attributes) {
  for (const [name, value] of Object.entries(attributes)) shape.setAttribute(name, value);
}

function horizontal(share) {
  return PLANE.left + share * PLANE.width;
}

// Heights from low to high as coordinates.
function vertical(low, high) {
  return (height) => PLANE.top + ((high - height) / (high - low)) * PLANE.height;
}

// The title, a line and a number for each tick, and what lies across.
function axes(title, ticks, y) {
  const text = (x, y, anchor, words, named = "") => drawn("text", { class: named, x, y, "text-anchor": anchor }, words);
  const middle = horizontal(0.5);
  const across = { class: "ddpm-grid", x1: horizontal(0), x2: horizontal(1) };
  return [
    ...ticks.map((tick) => drawn("line", { ...across, y1: y(tick), y2: y(tick) })),
    ...ticks.map((tick) => text(PLANE.left - 6, y(tick) + 4, "end", String(tick).replace("-", "\u2212"))),
    ...[0, 0.25, 0.5, 0.75, 1].map((share) => text(horizontal(share), PLANE_BOTTOM + 16, "middle", String(share))),
    drawn("rect", { class: "ddpm-frame", x: PLANE.left, y: PLANE.top, width: PLANE.width, height: PLANE.height }),
    text(middle, HEIGHT - 4, "middle", "t / T (share of the chain)"),
    text(middle, 14, "middle", title, "ddpm-title"),
  ];
}

// The line through value(s, t), t = 0..T, without what is infinite: at t = 0, and at T where nothing is left.
function line(s, value, y) {
  const heights = Array.from(s.alphaBar, (_, t) => [t, value(s, t)]).filter(([, height]) => Number.isFinite(height));
  return `M${heights.map(([t, height]) => `${horizontal(t / s.T).toFixed(2)},${y(height).toFixed(2)}`).join("L")}`;
}

// Axes over t / T, a dashed curve for DDPM, a solid one for the schedule, and a dot at t. value(s, t) is the height.
function panel(title, low, high, ticks, value) {
  const y = vertical(low, high);
  const ddpm = drawn("path", { class: "ddpm-before", d: line(schedule("linear", 1000, 1e-4, 0.02), value, y) });
  const curve = drawn("path", { class: "ddpm-curve" });
  const stem = drawn("line", { class: "ddpm-stem", y2: PLANE_BOTTOM });
  const dot = drawn("circle", { class: "ddpm-dot", r: 5 });
  const { left, top, width, height } = PLANE;
  // An inner picture over the same coordinates: what leaves the plane is cut off at its edge.
  const plane = { x: left, y: top, width, height, viewBox: `${left} ${top} ${width} ${height}` };
  const all = [...axes(title, ticks, y), drawn("svg", plane, ddpm, curve, stem), dot];
  const svg = drawn("svg", { class: "ddpm-panel", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" }, ...all);
  const draw = (s, t) => {
    const [here, end] = [value(s, t), value(s, s.T)];
    const across = horizontal(t / s.T), down = y(Math.min(high, Math.max(low, here)));
    set(curve, { d: line(s, value, y) });
    set(stem, { x1: across, x2: across, y1: down });
    set(dot, { cx: across, cy: down });
    const words = `${general(here, 3)} at t = ${t}, ${general(end, 3)} at t = T = ${s.T}`;
    set(svg, { "aria-label": `${title} over t / T: ${words}` });
  };
  return { element: svg, draw };
}

// What each mark means, in marks of its own: colour is never the only difference.
function legend() {
  const sample = (mark) => drawn("svg", { width: 30, height: 12, viewBox: "0 0 30 12", "aria-hidden": "true" }, mark);
  const stroke = (name) => sample(drawn("path", { class: name, d: "M1,6L29,6" }));
  const entry = (mark, words) => element("span", {}, mark, ` ${words}`);
  const dot = sample(drawn("circle", { class: "ddpm-dot", cx: 15, cy: 6, r: 5 }));
  return element(
    "div",
    { class: "ddpm-legend" },
    entry(stroke("ddpm-curve"), "this schedule"),
    entry(dot, "at t"),
    entry(stroke("ddpm-before"), "DDPM: linear, T = 1000"),
  );
}

// ---------------------------------------------------------------- the widget

// A slider over given numbers.
function stops(label, value, options, onmove) {
  const say = (i) => {
    row.querySelector(".ddpm-value").textContent = general(options[i], 6);
    row.input.setAttribute("aria-valuetext", general(options[i], 6));
  };
  const row = slider(label, options.indexOf(value), 0, options.length - 1, 1, (i) => {
    say(i);
    onmove(options[i]);
  });
  say(options.indexOf(value));
  return row;
}

function render({ model, el }) {
  const given = model.get("given"), start = model.get("chosen");
  const readout = element("div", { class: "ddpm-readout", role: "status", "aria-live": "polite" });
  const curves = [
    panel("alpha_bar (signal\u2019s share)", 0, 1, [0, 0.25, 0.5, 0.75, 1], (s, t) => s.alphaBar[t]),
    panel("log10 of signal-to-noise ratio", -9, 5, [-8, -6, -4, -2, 0, 2, 4], (s, t) => Math.log10(snr(s, t))),
  ];
  const image = photo(given);
  const parts = [...curves, image];

  const draw = () => {
    const { family, T, beta_start, beta_end, t } = model.get("chosen");
    let lines;
    try {
      const s = schedule(family, T, beta_start, beta_end);
      parts.forEach((part) => part.draw(s, t));
      lines = describe(s, t, given.mean_square);
    } catch (error) {
      if (!(error instanceof ScheduleError)) throw error;
      lines = [`ScheduleError: ${error.message}`]; // the message is the lesson
    }
    const refused = lines.length === 1; // an old picture beside new settings would be a lie
    parts.forEach((part) => (part.element.style.visibility = refused ? "hidden" : "visible"));
    readout.replaceChildren(...lines.map((line) => element("div", {}, line)));
  };
  const follow = (changes) => {
    choose(model, changes);
    draw();
  };
  const families = chooser("family", start.family, given.families, (family) => {
    free(family);
    follow({ family });
  });
  const T = slider("T", start.T, 10, 2000, 10, (value) => {
    t.input.max = value; // the browser takes t along where it is now too large
    t.show(Number(t.input.value));
    follow({ T: value, t: Number(t.input.value) });
  });
  const ends = [
    stops("beta_start", start.beta_start, given.beta_starts, (beta_start) => follow({ beta_start })),
    stops("beta_end", start.beta_end, given.beta_ends, (beta_end) => follow({ beta_end })),
  ];
  const t = slider("t", start.t, 1, start.T, 1, (value) => follow({ t: value }));
  const free = (family) => ends.forEach((row) => (row.input.disabled = !(family in WITH_ENDS)));

  free(start.family);
  draw();
  const settings = element("div", { class: "ddpm-settings" }, families, T, ...ends, t, readout);
  el.replaceChildren(
    element(
      "div",
      { class: "ddpm-box ddpm-schedule-curves", role: "group", "aria-label": given.title },
      element("div", { class: "ddpm-side-by-side" }, settings, image.element),
      legend(),
      element("div", { class: "ddpm-side-by-side" }, ...curves.map((curve) => curve.element)),
    ),
  );
}

export default { render, schedule, numbers, describe, noise, noisy };
