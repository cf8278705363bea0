// The plane to play in: a density, a network that learns it while one looks on, samples that flow from noise to it.
// given: { title, T, seed, samples (how many), densities: {name: [[x, y], ..]}, handDrawn (the name for a drawing) }.
// chosen: the controls' values, and drawn: [[x, y], ..]; when something stops, also what was reached (see results).

const TRAINING_MS = 10; // of work a frame: the page answers all the same
const REDRAW_MS = 200; // while training; samples that move are drawn at each step
const PLAY_MS = 2500; // from noise to data, if the steps are not slower than that
const MOST_POINTS = 400;

function button(text, onclick) {
  return element("button", { type: "button", onclick }, text);
}

function row(...parts) {
  return element("div", { class: "ddpm-row" }, ...parts);
}

function group(title, ...children) {
  return element("fieldset", {}, element("legend", {}, title), ...children);
}

// All controls. act: what each of them does; set(name, value, then): a choice, and what follows from it.
function controls(world, act, set) {
  const walkAnew = () => restartWalk(world);
  const made = {
    density: chooser("density", world.density, [...Object.keys(world.densities), world.handDrawn], (name) =>
      set("density", name, () => startAnew(world))
    ),
    clear: button("Clear the drawing", act.clear),
    train: button("▶ Train", act.train),
    reset: button("Reset", act.reset),
    denoiser: chooser("denoiser", world.denoiser, ["learned", EXACT], (name) => set("denoiser", name, walkAnew)),
    sampler: chooser("sampler", world.sampler, Object.keys(SAMPLERS), (name) => set("sampler", name, walkAnew)),
    steps: slider("steps", world.steps, 1, world.T, 1, (value) => set("steps", value, walkAnew)),
    eta: slider("eta (ddim)", world.eta, 0, 1, 0.1, (value) => set("eta", value, walkAnew)),
    play: button("▶ Play", act.play),
    step: button("Step", act.step),
    noise: button("Other noise", () => set("noise", world.noise + 1, walkAnew)),
    arrows: chooser("arrows", world.arrows, Object.keys(ARROWS), (name) => set("arrows", name)),
    t: slider("arrows at t", world.t, 1, world.T, 1, act.lookAt),
    losses: element("canvas", { "aria-hidden": "true" }),
  };
  made.byHand = row("Draw with a mouse, a pen or a finger.", made.clear);
  const data = group("Points", made.density, made.byHand);
  const curve = element("div", {}, "Loss, from the first step to now; dashed: the exact denoiser's.");
  const network = group("Network", row(made.train, made.reset), made.losses, curve);
  const buttons = row(made.play, made.step, made.noise);
  const how = [made.denoiser, made.sampler, made.steps, made.eta];
  const sampling = group("Samples", ...how, buttons, made.arrows, made.t);
  return { ...made, panel: element("div", {}, data, network, sampling) };
}

function legend() {
  const mark = (name, shape) => element("span", { class: `ddpm-${name}`, "aria-hidden": "true" }, shape);
  const ways = ` samples, with the ways of ${WAYS} of them`;
  return element("div", {}, mark("points", "+"), " points ", mark("samples", "●"), ways);
}

// What the controls and buttons say of the world.
function showState(world, made, canvas) {
  const drawing = handDraws(world);
  made.train.textContent = world.training ? "❚❚ Pause training" : "▶ Train";
  made.play.textContent = world.playing ? "❚❚ Stop" : "▶ Play";
  for (const one of [made.train, made.play, made.step]) one.disabled = !world.points.length;
  made.byHand.hidden = !drawing;
  made.eta.input.disabled = world.sampler !== "ddim";
  made.t.show(world.t);
  canvas.style.touchAction = drawing ? "none" : "auto"; // a finger draws, or scrolls the page
  canvas.style.cursor = drawing ? "crosshair" : "default";
}

// The pointer drops points on its way. changed() after each, done() when it is lifted.
function letDraw(canvas, world, changed, done) {
  let last = null;
  const drop = (event) => {
    const place = planeOf(canvas, event);
    const close = last && Math.hypot(place[0] - last[0], place[1] - last[1]) < 0.1;
    if (close || world.drawn.length >= MOST_POINTS) return;
    last = place;
    world.drawn = [...world.drawn, place];
    takePoints(world);
    changed();
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (!handDraws(world) || event.button > 0) return;
    canvas.setPointerCapture(event.pointerId);
    drop(event);
  });
  canvas.addEventListener("pointermove", (event) => last && drop(event));
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => {
      if (!last) return;
      last = null;
      measureLeast(world);
      changed();
      done();
    });
  }
}

// One loop for what moves: it asks for frames only while something does. tick(now) is called in each.
function loop(tick) {
  let frame = 0;
  const wake = () => {
    frame ||= requestAnimationFrame((now) => {
      frame = 0;
      if (tick(now)) wake();
    });
  };
  return { wake, stop: () => cancelAnimationFrame(frame) };
}

function render({ model, el }) {
  const world = newWorld(model.get("given"), model.get("chosen"));
  const canvas = element("canvas", { role: "img" });
  const words = element("div", { class: "ddpm-readout", role: "status", "aria-live": "polite" });
  let drawnAt = -Infinity, steppedAt = -Infinity, stale = true;

  const draw = (now) => {
    const arrows = arrowsOf(world);
    const said = sentences(world, arrows);
    const running = world.training || world.playing;
    words.setAttribute("aria-live", running ? "off" : "polite"); // a screen reader would be kept talking
    words.replaceChildren(...said.map((sentence) => element("div", {}, sentence)));
    const shown = `${world.title}: ${world.points.length / 2} points, ${world.density}.`;
    canvas.setAttribute("aria-label", [shown, ...said].join(" "));
    const colours = coloursOf(box);
    drawPicture(canvas, colours, { ...world, samples: world.walk.x, arrows });
    drawLosses(made.losses, colours, world.losses, world.least);
    showState(world, made, canvas);
    [drawnAt, stale] = [now, false];
  };
  const doing = () => `${world.training} ${world.playing}`;
  const tick = (now) => {
    const before = doing();
    if (world.training) trainFor(world, TRAINING_MS);
    if (world.playing && now - steppedAt >= PLAY_MS / world.steps) {
      takeStep(world);
      [steppedAt, stale] = [now, true];
    }
    const ended = before !== doing();
    if (stale || ended || now - drawnAt > REDRAW_MS) draw(now);
    if (ended) report();
    return world.training || world.playing;
  };
  const { wake, stop } = loop(tick);
  const refresh = () => {
    stale = true;
    wake();
  };
  const report = () => {
    if (world.points.length) choose(model, results(world));
  };
  const set = (name, value, then = () => undefined) => {
    world[name] = value;
    then();
    choose(model, { [name]: value });
    refresh();
  };
  const act = {
    clear: () => set("drawn", [], () => startAnew(world)),
    train: () => toggle("training"),
    reset: () => {
      world.training = false;
      resetNetwork(world);
      report();
      refresh();
    },
    play: () => toggle("playing"),
    step: () => {
      world.playing = false;
      takeStep(world);
      report();
      refresh();
    },
    lookAt: (t) => {
      world.t = t;
      refresh();
    },
  };
  const toggle = (name) => {
    world[name] = !world[name];
    if (!world[name]) report();
    refresh();
  };
  const made = controls(world, act, set);
  letDraw(canvas, world, refresh, () => choose(model, { drawn: world.drawn }));
  const box = element(
    "div",
    { class: "ddpm-box ddpm-playground", role: "group", "aria-label": world.title },
    element("div", {}, canvas, legend(), words),
    made.panel
  );
  el.replaceChildren(box);
  const theme = new MutationObserver(refresh); // light or dark: the colours are read anew
  for (const place of [document.documentElement, document.body]) theme.observe(place, { attributes: true });
  refresh();
  return () => {
    stop();
    theme.disconnect();
  };
}

export default {
  render, randomStream, cosine, uniformTimes, logSnrTimes, exactDenoiser, learnedDenoiser, FIELDS, SAMPLERS, startWalk,
  advance, distances, EDGE, emptyNetwork, newNetwork, forward, lossAndGradient, newAdam, adamStep, examples,
};
