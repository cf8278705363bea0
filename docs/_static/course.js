// The theme's side bar folds with an arrow that has no name: a screen reader would say "button", and no more.
document.querySelectorAll("nav summary, .bd-sidebar summary").forEach((summary) => {
  if (!summary.textContent.trim()) summary.setAttribute("aria-label", "Show or hide the pages below");
});
