// The bound explorer: bars of what gaussian.js computes over the schedules of schedules.js, drawn with svg.js.
// given: {title, families, variances, means, stds, T_max}. chosen: {family, T, variance, mean, std}.

const NOTHING = 1e-8; // bits: what is smaller is rounding
const BETA_ENDS = [1e-4, 0.02]; // DDPM's, for the families that have ends

// Terms at t = 2..T in groups that double in length, 2, 3-4, 5-8, ...: [{from, to, bits}]. Equal groups would hide that
// most of the bound is paid at small t.
function byDoubling(terms) {
  const T = terms.length - 1, groups = [];
  for (let from = 2; from <= T; from = 2 * (from - 1) + 1) {
    const to = Math.min(2 * (from - 1), T);
    groups.push({ from, to, bits: terms.slice(from, to + 1).reduce((sum, bits) => sum + bits, 0) });
  }
  return groups;
}

function span({ from, to }) {
  return from === to ? String(from) : `${from}-${to}`;
}

function small(bits) {
  if (bits >= 0.001) return fixed(bits, 4);
  return bits >= NOTHING ? scientific(bits, 0) : "nothing";
}

// The readout: the terms and their sum, then what is lost.
function sentences(n) {
  const sum = n.denoising.reduce((all, bits) => all + bits, 0);
  return [
    `L_T ${general(n.prior, 2)} + denoising ${fixed(sum, 3)} + L_0 ${fixed(n.reconstruction, 3)} = ` +
      `bound ${fixed(n.total, 4)} bits per dimension.`,
    `Entropy of the data ${fixed(n.entropy, 4)}; ` +
      `lost by the model ${small(n.by_model)}, by the bound ${small(n.by_bound)}.`,
  ];
}

// ---------------------------------------------------------------- bars

// A panel's coordinates, in units of its own: names at the left, bars from a plane's foot, numbers at the right.
const WIDTH = 340;
const BAR = { left: 100, width: 176, right: WIDTH - 4, top: 28, row: 19 };

function ticks(at, names, bottom) {
  return at.flatMap((x, i) => [
    drawn("line", { class: "ddpm-grid", x1: x, x2: x, y1: BAR.top, y2: bottom }),
    drawn("text", { x, y: bottom + 15, "text-anchor": "middle" }, names[i]),
  ]);
}

// Horizontal bars under a title. rows: a CSS class for each; across(value): from the left in shares of the plane, cut off
// at its edges; foot: where bars begin; marks: values that get a line and a name. draw([{name, value, words}]).
function bars(title, rows, across, foot, marks) {
  const x = (value) => BAR.left + BAR.width * Math.min(1, Math.max(0, across(value)));
  const bottom = BAR.top + BAR.row * rows.length;
  const made = rows.map((kind, i) => {
    const y = BAR.top + BAR.row * i;
    return {
      name: drawn("text", { x: BAR.left - 8, y: y + 14, "text-anchor": "end" }),
      bar: drawn("rect", { class: kind, y: y + 3, height: BAR.row - 6 }),
      words: drawn("text", { x: BAR.right, y: y + 14, "text-anchor": "end" }),
    };
  });
  const svg = drawn(
    "svg",
    { class: "ddpm-panel", viewBox: `0 0 ${WIDTH} ${bottom + 24}`, role: "img" },
    drawn("text", { class: "ddpm-title", x: WIDTH / 2, y: 14, "text-anchor": "middle" }, title),
    ...ticks(marks.map(([value]) => x(value)), marks.map(([, name]) => name), bottom),
    drawn("rect", { class: "ddpm-frame", x: BAR.left, y: BAR.top, width: BAR.width, height: bottom - BAR.top }),
    ...made.flatMap(({ name, bar, words }) => [name, bar, words]),
    drawn("line", { class: "ddpm-foot", x1: x(foot), x2: x(foot), y1: BAR.top, y2: bottom }),
  );
  const draw = (contents) => {
    contents.forEach(({ name, value, words }, i) => {
      const [from, to] = [x(foot), x(value)].sort((a, b) => a - b);
      made[i].name.textContent = name;
      made[i].words.textContent = words;
      set(made[i].bar, { x: from, width: to - from });
    });
    const said = contents.filter(({ words }) => words).map(({ name, words }) => `${name.replace("-", " to ")}: ${words}`);
    set(svg, { "aria-label": `${title}. ${said.join(", ")}` });
  };
  return { element: svg, draw };
}

// What each term costs. A chain shorter than the longest leaves the first places empty: no bar ever changes its place.
function terms(T) {
  const between = byDoubling(new Float64Array(T + 1)).length;
  const kinds = ["ddpm-first", ...Array(between).fill("ddpm-between"), "ddpm-last"];
  const marks = [-6, -4, -2, 0, 2].map((bits) => [bits, String(bits).replace("-", "\u2212")]);
  const panel = bars("what each term costs, bits per dimension", kinds, (bits) => (bits + 6) / 9, 0, marks);
  const row = (name, value) => ({ name, value, words: fixed(value, 3) });
  const draw = (n) => {
    const groups = byDoubling(n.denoising).reverse();
    const empty = Array(between - groups.length).fill({ name: "", value: 0, words: "" });
    const first = { ...row("L_T", n.prior), words: general(n.prior, 2) };
    const middle = groups.map((group) => row(`t = ${span(group)}`, group.bits));
    panel.draw([first, ...empty, ...middle, row("L_0", n.reconstruction)]);
  };
  return { element: panel.element, draw };
}

// The two losses, on a logarithmic scale from nothing to 10 bits.
function losses() {
  const across = (bits) => Math.log10(Math.max(bits, NOTHING) / NOTHING) / 9;
  const marks = [[1e-8, "1e-8"], [1e-6, "1e-6"], [1e-4, "1e-4"], [1e-2, "0.01"], [1, "1"]];
  const panel = bars("what is lost, bits per dimension", ["ddpm-lost", "ddpm-lost"], across, NOTHING, marks);
  const row = (name, value) => ({ name, value, words: small(value) });
  const draw = (n) => panel.draw([row("by the model", n.by_model), row("by the bound", n.by_bound)]);
  return { element: panel.element, draw };
}

// ---------------------------------------------------------------- the widget

function render({ model, el }) {
  const given = model.get("given"), start = model.get("chosen");
  const readout = element("div", { class: "ddpm-readout", role: "status", "aria-live": "polite" });
  const parts = [terms(given.T_max), losses()];
  const draw = () => {
    const { family, T, variance, mean, std } = model.get("chosen");
    show(parts, readout, () => {
      const numbers = boundInBits(schedule(family, T, ...BETA_ENDS), variance, mean, std);
      parts.forEach((part) => part.draw(numbers));
      return sentences(numbers);
    });
  };
  const follow = (changes) => {
    choose(model, changes);
    draw();
  };
  const settings = [
    chooser("family", start.family, given.families, (family) => follow({ family })),
    slider("T", start.T, 10, given.T_max, 10, (T) => follow({ T })),
    chooser("variance", start.variance, given.variances, (variance) => follow({ variance })),
    stops("mean", start.mean, given.means, (mean) => follow({ mean })),
    stops("std", start.std, given.stds, (std) => follow({ std })),
  ];
  draw();
  const [each, lost] = parts.map((part) => part.element);
  const left = element("div", { class: "ddpm-settings" }, ...settings, readout, lost);
  el.replaceChildren(
    element(
      "div",
      { class: "ddpm-box ddpm-explorer ddpm-bound", role: "group", "aria-label": given.title },
      element("div", { class: "ddpm-side-by-side" }, left, each),
    ),
  );
}

export default { render, schedule, boundInBits, byDoubling, sentences };
