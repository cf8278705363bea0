// The noise-schedule explorer without a kernel: curves over what schedules.js computes, and the picture of photograph.js.
// given: {title, families, beta_starts, beta_ends, mean_square, size, photograph}, the last as grey bytes in base64.
// chosen: {family, T, beta_start, beta_end, t}.

// ---------------------------------------------------------------- the photograph

function photo(given) {
  const levels = bytes(given.photograph), drawn = noise(0, levels.length);
  const canvas = pixels(given.size);
  const caption = element("figcaption");
  const draw = (s, t) => {
    paint(canvas, noisy(levels, drawn, s.alphaBar[t]));
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
    show(parts, readout, () => {
      const s = schedule(family, T, beta_start, beta_end);
      parts.forEach((part) => part.draw(s, t));
      return describe(s, t, given.mean_square);
    });
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
      { class: "ddpm-box ddpm-explorer ddpm-schedule-curves", role: "group", "aria-label": given.title },
      element("div", { class: "ddpm-side-by-side" }, settings, image.element),
      legend(),
      element("div", { class: "ddpm-side-by-side" }, ...curves.map((curve) => curve.element)),
    ),
  );
}

export default { render, schedule, numbers, describe, noise, noisy };
