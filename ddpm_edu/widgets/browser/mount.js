// Brings the widgets of a page without a kernel to life: every element .ddpm-live names its widget and holds its model.
// The reading site puts this behind all widgets, which stand in ddpmWidgets by name. A plain script, no module: pages
// opened from a folder may not load modules.

function fakeModel(state) {
  const listeners = {};
  return {
    get: (key) => state[key],
    set: (key, value) => {
      state[key] = value;
      (listeners[`change:${key}`] ?? []).forEach((tell) => tell());
    },
    on: (event, tell) => (listeners[event] ??= []).push(tell),
    off: () => undefined,
    save_changes: () => undefined,
  };
}

function mount(place) {
  const el = document.createElement("div");
  ddpmWidgets[place.dataset.widget].render({ model: fakeModel(JSON.parse(place.dataset.model)), el });
  place.replaceChildren(el);
  place.dataset.alive = "true";
}

document.querySelectorAll(".ddpm-live").forEach(mount);
