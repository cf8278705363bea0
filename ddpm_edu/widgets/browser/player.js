// Frames to play, stop, and walk through by hand. given: {title, frames (data URIs or texts of <img> src), labels, width}.
// chosen.frame: which one is shown. It never plays by itself: a page that moves unasked cannot be read.

const MILLISECONDS = 120;

function render({ model, el }) {
  const { title, frames, labels, width } = model.get("given");
  const last = frames.length - 1;
  const image = element("img", { class: "ddpm-pixels", width, alt: "" });
  const words = element("div", { class: "ddpm-readout", role: "status", "aria-live": "polite" });
  let timer = null;

  const show = (i) => {
    image.src = frames[i];
    image.alt = `${title}: ${labels[i]}`;
    words.textContent = labels[i];
    row.show(i + 1);
    choose(model, { frame: i });
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    button.textContent = "▶ Play";
    words.setAttribute("aria-live", "polite");
  };
  const step = () => {
    const next = model.get("chosen").frame + 1;
    if (next > last) stop();
    else show(next);
  };
  const play = () => {
    if (timer) return stop();
    if (model.get("chosen").frame >= last) show(0);
    words.setAttribute("aria-live", "off"); // a screen reader would be kept talking
    timer = setInterval(step, MILLISECONDS);
    button.textContent = "❚❚ Stop";
  };
  const button = element("button", { type: "button", onclick: play }, "▶ Play");
  const row = slider("frame", 1, 1, frames.length, 1, (value) => {
    stop();
    show(value - 1);
  });
  row.prepend(button);
  const box = element("div", { class: "ddpm-box ddpm-player", role: "group", "aria-label": title }, row, words, image);
  el.replaceChildren(box);
  show(model.get("chosen").frame);
  return () => clearInterval(timer);
}

export default { render };
