// A photograph that dissolves into noise under one slider, over the cosine schedule of schedules.js.
// given: {title, T, size, width, photograph}, the last as red, green and blue bytes in base64. chosen: {t}.

// How much of the photograph and of the noise there is at t.
function recipe(s, t) {
  const ab = s.alphaBar[t];
  return `${fixed(Math.sqrt(ab), 3)} times the photograph + ${fixed(Math.sqrt(1 - ab), 3)} times noise`;
}

function render({ model, el }) {
  const { title, T, size, width, photograph } = model.get("given");
  const s = schedule("cosine", T);
  const levels = bytes(photograph), drawn = noise(0, levels.length); // one noise: only how much of it changes
  const canvas = pixels(size);
  canvas.style.width = `${width}px`;
  const readout = element("div", { class: "ddpm-readout", role: "status", "aria-live": "polite" });

  const draw = () => {
    const { t } = model.get("chosen");
    paint(canvas, noisy(levels, drawn, s.alphaBar[t]));
    canvas.setAttribute("aria-label", `${title} at t = ${t}: ${recipe(s, t)}`);
    readout.replaceChildren(`t = ${t}: `, element("b", {}, recipe(s, t)));
  };
  const row = slider("t", model.get("chosen").t, 0, T, 1, (t) => {
    choose(model, { t });
    draw();
  });
  draw();
  el.replaceChildren(
    element("div", { class: "ddpm-box ddpm-dissolve", role: "group", "aria-label": title }, row, readout, canvas),
  );
}

export default { render, schedule, recipe, noise };
