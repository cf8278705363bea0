// The theme's side bar folds with an arrow that has no name: a screen reader would say "button", and no more.
document.querySelectorAll("nav summary, .bd-sidebar summary").forEach((summary) => {
  if (!summary.textContent.trim()) summary.setAttribute("aria-label", "Show or hide the pages below");
});

// Sphinx sets the parameters of a long signature as a list of definitions without terms: it is none.
document.querySelectorAll("dt.sig dl, dt.sig dd").forEach((part) => part.setAttribute("role", "presentation"));

// What a cell has printed, and what a box of text says, wraps; a table made of spaces, or code, does not: two lines or
// more, of which one has a gap in it or two are indented.
document.querySelectorAll(".cell_output pre, .highlight-text pre, .highlight-none pre").forEach((box) => {
  const lines = box.textContent.split("\n").filter((line) => line.trim());
  const gaps = lines.filter((line) => /\S {2,}\S/.test(line)), indented = lines.filter((line) => /^ {2}/.test(line));
  const aligned = lines.length > 1 && (gaps.length > 0 || indented.length > 1);
  if (!aligned) box.classList.add("ddpm-wraps");
});

// A figure gets a box that may scroll: on a phone a wide one keeps a size at which it can be read.
const WIDE = 600;
document.querySelectorAll(".cell_output > img, .ddpm-still img").forEach((image) => {
  const box = document.createElement("div");
  box.className = "ddpm-figure";
  image.replaceWith(box);
  box.append(image);
  const measure = () => image.classList.toggle("ddpm-wide", image.naturalWidth > WIDE);
  if (image.complete) measure();
  else image.addEventListener("load", measure);
});

// Boxes that scroll fade at the right edge as long as there is more, and can be scrolled by keyboard.
const mark = (box) => {
  box.classList.toggle("ddpm-more", box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
  if (box.scrollWidth > box.clientWidth + 2) box.tabIndex = 0;
};
const BOXES = "pre, table, .ddpm-figure, .MathJax_Display";
const boxOf = (part) => (part.matches(BOXES) ? part : part.parentElement);
const sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => mark(boxOf(target))));
const follow = (selector) =>
  document.querySelectorAll(selector).forEach((box) => {
    sizes.observe(box);
    [...box.children].forEach((child) => sizes.observe(child)); // a picture that loads makes its box no wider
    box.addEventListener("scroll", () => mark(box), { passive: true });
  });
follow("article pre, article table, .ddpm-figure");
addEventListener("load", () => window.MathJax?.Hub?.Queue(() => follow(".MathJax_Display")));
