// The theme's side bar folds with an arrow that has no name: a screen reader would say "button", and no more.
document.querySelectorAll("nav summary, .bd-sidebar summary").forEach((summary) => {
  if (!summary.textContent.trim()) summary.setAttribute("aria-label", "Show or hide the pages below");
});

// Sphinx sets the parameters of a long signature as a list of definitions without terms: it is none.
document.querySelectorAll("dt.sig dl, dt.sig dd").forEach((part) => part.setAttribute("role", "presentation"));

// What a cell has printed, and what a box of text says, wraps; a table made of spaces does not: two lines with a gap.
document.querySelectorAll(".cell_output pre, .highlight-text pre, .highlight-none pre").forEach((box) => {
  const withGaps = box.textContent.split("\n").filter((line) => /\S {2,}\S/.test(line));
  if (withGaps.length < 2) box.classList.add("ddpm-wraps");
});

// A figure gets a box that may scroll: on a phone it keeps a size at which it can be read.
document.querySelectorAll(".cell_output > img").forEach((image) => {
  const box = document.createElement("div");
  box.className = "ddpm-figure";
  image.replaceWith(box);
  box.append(image);
});

// Boxes that scroll fade at the right edge as long as there is more, and can be scrolled by keyboard.
const mark = (box) => {
  box.classList.toggle("ddpm-more", box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
  if (box.scrollWidth > box.clientWidth + 2) box.tabIndex = 0;
};
const sizes = new ResizeObserver((entries) => entries.forEach((entry) => mark(entry.target)));
document.querySelectorAll("article pre, article table, article div.math, .ddpm-figure, .ddpm-still").forEach((box) => {
  sizes.observe(box);
  box.addEventListener("scroll", () => mark(box), { passive: true });
});
