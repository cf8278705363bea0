// The noise-schedule explorer without a kernel: a photograph and curves over what schedules.js computes.
// given: {title, families, beta_starts, beta_ends, mean_square, size, photograph}, the last as grey bytes in base64.
// chosen: {family, T, beta_start, beta_end, t}.

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
