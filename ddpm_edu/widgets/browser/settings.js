// What the explorers over a schedule have in common beside its mathematics.

// draw() changes ``parts`` and gives the lines of the readout; where no schedule can have such settings, the message is
// the lesson, and no old picture stands beside it.
function show(parts, readout, draw) {
  let lines, refused = false;
  try {
    lines = draw();
  } catch (error) {
    if (!(error instanceof ScheduleError)) throw error;
    [lines, refused] = [[`ScheduleError: ${error.message}`], true];
  }
  parts.forEach((part) => (part.element.style.visibility = refused ? "hidden" : "visible"));
  readout.replaceChildren(...lines.map((line) => element("div", {}, line)));
}

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
