// What every widget of this folder needs. No imports, no network: this text is put before the widget's own.

// An element with attributes, listeners (functions under "onclick" and the like) and children.
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  // JupyterLab's command mode takes the arrow keys from whatever has the focus, unless the element itself forbids it.
  if (["input", "select", "button", "canvas", "summary"].includes(tag)) made.dataset.lmSuppressShortcuts = "true";
  return made;
}

// Labels are unique on a page that shows several widgets of a kind.
let numbered = 0;
function identity(stem) {
  numbered += 1;
  return `ddpm-${stem}-${numbered}-${Math.random().toString(36).slice(2, 8)}`;
}

// Text with `code` in backticks as elements: no HTML is ever taken from the model.
function prose(text) {
  return text.split("`").map((part, i) => (i % 2 ? element("code", {}, part) : part));
}

// A labelled slider over whole numbers. oninput(value) is told each move; the element that comes back has .input.
function slider(label, value, min, max, step, oninput) {
  const id = identity("slider");
  const output = element("span", { class: "ddpm-value", "aria-hidden": "true" }, String(value)); // the slider says it itself
  const input = element("input", { id, type: "range", min, max, step, value });
  input.value = value;
  input.addEventListener("input", () => {
    output.textContent = input.value;
    oninput(Number(input.value));
  });
  const row = element("div", { class: "ddpm-row" }, element("label", { for: id }, label), input, output);
  row.input = input;
  row.show = (now) => {
    input.value = now;
    output.textContent = String(now);
  };
  return row;
}

// A labelled list of choices, each a name. onchange(name).
function chooser(label, value, options, onchange) {
  const id = identity("list");
  const select = element("select", { id }, ...options.map((name) => element("option", { value: name }, name)));
  select.value = value;
  select.addEventListener("change", () => onchange(select.value));
  const row = element("div", { class: "ddpm-row" }, element("label", { for: id }, label), select);
  row.input = select;
  return row;
}

// Tell the model what the reader has chosen, so that Python knows it too.
function choose(model, changes) {
  model.set("chosen", { ...model.get("chosen"), ...changes });
  model.save_changes();
}
