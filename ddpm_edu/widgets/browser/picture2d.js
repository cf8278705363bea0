// What the playground shows on its canvases. Colours come from the CSS; points and samples differ in shape as well.

const SIDE = 420; // of the picture, in CSS pixels; where there is less room it shrinks
const ARROWS_A_SIDE = 17;
const WAYS = 12;

function coloursOf(box) {
  const style = getComputedStyle(box);
  const named = (name) => style.getPropertyValue(`--ddpm-${name}`).trim() || style.color;
  return { text: style.color, line: named("line"), points: named("points"), samples: named("samples") };
}

// A cleared drawing context in CSS pixels, as sharp as the screen is.
function cleared(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  canvas.style.width = `${width}px`;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return context;
}

function toPixel(coordinate) {
  return ((coordinate + EDGE) / (2 * EDGE)) * SIDE;
}

// The y axis points upwards, as in the course's figures.
function pixelOf(x, i) {
  return [toPixel(x[2 * i]), SIDE - toPixel(x[2 * i + 1])];
}

// Where a pointer is, in the plane.
function planeOf(canvas, event) {
  const frame = canvas.getBoundingClientRect();
  const x = ((event.clientX - frame.left) / frame.width) * 2 * EDGE - EDGE;
  const y = EDGE - ((event.clientY - frame.top) / frame.height) * 2 * EDGE;
  return [x, y].map((c) => Math.min(EDGE, Math.max(-EDGE, c)));
}

// The places of the arrows, the middles of a square's cells.
function cells() {
  const at = (i) => -EDGE + (2 * EDGE * (i + 0.5)) / ARROWS_A_SIDE;
  const sides = Array.from({ length: ARROWS_A_SIDE }, (_, i) => at(i));
  return Float64Array.from(sides.flatMap((y) => sides.flatMap((x) => [x, y])));
}

// shown: { points, samples, paths (the samples of each step so far), places, arrows (null for none) }.
function drawPicture(canvas, colours, shown) {
  const context = cleared(canvas, SIDE, SIDE);
  context.strokeStyle = colours.line;
  context.strokeRect(0.5, 0.5, SIDE - 1, SIDE - 1);
  if (shown.arrows) drawArrows(context, colours.text, shown.places, shown.arrows);
  drawPaths(context, colours.samples, shown.paths);
  drawCrosses(context, colours.points, shown.points);
  drawDots(context, colours.samples, shown.samples);
}

function longest(arrows) {
  let most = 0;
  for (let i = 0; i < arrows.length; i += 2) most = Math.max(most, Math.hypot(arrows[i], arrows[i + 1]));
  return most;
}

// In one scale: the longest arrow is as long as a cell is wide.
function drawArrows(context, colour, places, arrows) {
  const scale = SIDE / ARROWS_A_SIDE / (longest(arrows) || 1);
  context.strokeStyle = colour;
  context.globalAlpha = 0.45;
  context.beginPath();
  for (let i = 0; i < arrows.length / 2; i++) {
    const [x, y] = pixelOf(places, i);
    const [dx, dy] = [arrows[2 * i] * scale, -arrows[2 * i + 1] * scale];
    const [left, top] = [x - dx / 2, y - dy / 2];
    context.moveTo(left, top);
    context.lineTo(left + dx, top + dy);
    context.lineTo(left + 0.7 * dx - 0.18 * dy, top + 0.7 * dy + 0.18 * dx);
    context.moveTo(left + dx, top + dy);
    context.lineTo(left + 0.7 * dx + 0.18 * dy, top + 0.7 * dy - 0.18 * dx);
  }
  context.stroke();
  context.globalAlpha = 1;
}

// The ways of the first samples, from noise to where they are.
function drawPaths(context, colour, paths) {
  context.strokeStyle = colour;
  context.globalAlpha = 0.55;
  context.beginPath();
  for (let i = 0; i < WAYS && paths.length > 1; i++) {
    context.moveTo(...pixelOf(paths[0], i));
    for (const x of paths.slice(1)) context.lineTo(...pixelOf(x, i));
  }
  context.stroke();
  context.globalAlpha = 1;
}

function drawCrosses(context, colour, points) {
  context.strokeStyle = colour;
  context.lineWidth = 1.5;
  context.beginPath();
  for (let i = 0; i < points.length / 2; i++) {
    const [x, y] = pixelOf(points, i);
    context.moveTo(x - 3.5, y);
    context.lineTo(x + 3.5, y);
    context.moveTo(x, y - 3.5);
    context.lineTo(x, y + 3.5);
  }
  context.stroke();
  context.lineWidth = 1;
}

function drawDots(context, colour, samples) {
  context.fillStyle = colour;
  for (let i = 0; i < samples.length / 2; i++) {
    const [x, y] = pixelOf(samples, i);
    context.beginPath();
    context.arc(x, y, 2.2, 0, 2 * Math.PI);
    context.fill();
  }
}

// Losses from left (the first step) to right (now), from 0 at the bottom to 1; dashed: what the exact denoiser has.
function drawLosses(canvas, colours, losses, least) {
  const [width, height] = [200, 48];
  const context = cleared(canvas, width, height);
  const level = (loss) => height - 1 - Math.min(loss, 1.05) * (height - 4);
  context.strokeStyle = colours.line;
  context.setLineDash([4, 3]);
  context.beginPath();
  context.moveTo(0, level(least));
  context.lineTo(width, level(least));
  context.stroke();
  context.setLineDash([]);
  context.beginPath();
  context.moveTo(0.5, 0);
  context.lineTo(0.5, height - 0.5);
  context.lineTo(width, height - 0.5);
  context.stroke();
  context.strokeStyle = colours.samples;
  context.lineWidth = 1.5;
  context.beginPath();
  losses.forEach((loss, i) => context.lineTo((i / Math.max(losses.length - 1, 1)) * width, level(loss)));
  context.stroke();
}
