// What there is in the playground, without the page: points, a network in training, samples on their way. No DOM.
// A world is { ...given, ...chosen } of playground.js, and what follows from them.

const BATCH = 128;
const MOST_STEPS = 5000; // a press of Train: a page that nobody looks at should not train for ever
const NEAR = 0.05;
const EXACT = "exact (the points themselves)";
const ARROWS = { "flow (−v)": FIELDS.flow, score: FIELDS.score, none: null };

function newWorld(given, chosen) {
  const world = { ...given, ...chosen, s: cosine(given.T), places: cells(), training: false, playing: false };
  startAnew(world);
  return world;
}

function handDraws(world) {
  return world.density === world.handDrawn;
}

// Other points: nothing of what was learned and sampled belongs to them.
function startAnew(world) {
  world.training = world.playing = false;
  takePoints(world);
  measureLeast(world);
  resetNetwork(world);
  restartWalk(world);
}

function takePoints(world) {
  world.points = Float64Array.from((handDraws(world) ? world.drawn : world.densities[world.density]).flat());
}

// The loss of the exact denoiser: no network can have less on these points, but by chance.
function measureLeast(world) {
  const count = world.points.length ? 2000 : 0;
  const { x, t, eps } = examples(world.s, world.points, count, randomStream(world.seed, "least"));
  world.least = count ? meanSquare(exactDenoiser(world.s, world.points)(x, t).eps, eps) : 1;
}

function meanSquare(a, b) {
  return a.reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0) / a.length;
}

function resetNetwork(world) {
  world.network = newNetwork(randomStream(world.seed, "weights").uniform);
  world.adam = newAdam(world.network.parameters.length);
  world.chance = randomStream(world.seed, "training");
  world.loss = 1; // a network that says 0 everywhere has the noise's own variance
  world.losses = [1];
}

// The same noise as before, so that samplers and denoisers can be compared.
function restartWalk(world) {
  const stream = randomStream(world.seed, `noise ${world.noise}`);
  world.draw = stream.normals;
  world.walk = startWalk(world.s, world.sampler, world.steps, world.eta, stream.normals(2 * world.samples));
  world.paths = [world.walk.x];
  world.t = world.s.T;
  world.calls = 0;
}

function trainFor(world, milliseconds) {
  const end = performance.now() + milliseconds;
  do {
    const { x, t, eps } = examples(world.s, world.points, BATCH, world.chance);
    const { loss, gradient } = lossAndGradient(world.network, x, t, eps);
    adamStep(world.adam, world.network.parameters, gradient);
    world.loss += 0.02 * (loss - world.loss);
    if (world.adam.step % 10 === 0) world.losses.push(world.loss);
    world.training = world.adam.step % MOST_STEPS !== 0;
  } while (world.training && performance.now() < end);
}

function denoiserOf(world) {
  if (world.denoiser === EXACT) return exactDenoiser(world.s, world.points);
  return learnedDenoiser(world.s, (x, t) => forward(world.network, x, t).eps, EDGE);
}

function takeStep(world) {
  if (world.walk.t === 0) restartWalk(world);
  const denoise = denoiserOf(world);
  const counted = (x, t) => {
    world.calls += 1;
    return denoise(x, t);
  };
  world.walk = advance(world.walk, counted, world.draw);
  world.paths.push(world.walk.x);
  world.t = Math.max(world.walk.t, 1);
  if (world.walk.t === 0) world.playing = false;
}

function arrowsOf(world) {
  const field = ARROWS[world.arrows];
  if (!field || !world.points.length) return null;
  const t = times(world.places.length / 2, world.t);
  return field(world.s, world.places, t, denoiserOf(world)(world.places, t));
}

// What was reached, as numbers.
function results(world) {
  const found = distances(world.walk.x, world.points);
  const distance = found.reduce((sum, one) => sum + one, 0) / found.length;
  return { trained: world.adam.step, loss: world.loss, distance, near: found.filter((one) => one < NEAR).length };
}

// The same as two sentences.
function sentences(world, arrows) {
  if (!world.points.length) return ["No points yet: draw some in the picture."];
  const { trained, loss, distance, near } = results(world);
  const long = arrows ? `; longest arrow ${longest(arrows).toFixed(2)}` : "";
  return [
    `Training step ${trained}, loss ${loss.toFixed(3)} (exact denoiser: ${world.least.toFixed(3)}).`,
    `${world.samples} samples at t = ${world.walk.t} after ${world.calls} calls of the denoiser: ` +
      `mean distance to the nearest point ${distance.toFixed(3)}, ${near} of them within ${NEAR}${long}.`,
  ];
}
