// A self-quiz: native radio buttons, so that keyboard and screen reader work as everywhere; an explanation for every
// option. chosen.answers: {question number: letter}.

function question(model, number, asked, count) {
  const name = identity("question");
  const verdict = element("div", { class: "ddpm-verdict", role: "status", "aria-live": "polite" });
  const show = (letter) => {
    const right = letter === asked.right;
    const word = element("strong", {}, right ? "✓ Right. " : "✗ No. ");
    verdict.replaceChildren(word, ...prose(asked.options[letter].explanation));
  };
  const options = Object.entries(asked.options).map(([letter, option]) => {
    const input = element("input", { type: "radio", name, value: letter, id: `${name}-${letter}` });
    input.addEventListener("change", () => {
      show(letter);
      choose(model, { answers: { ...model.get("chosen").answers, [number]: letter } });
      count();
    });
    if (model.get("chosen").answers?.[number] === letter) input.checked = true;
    const label = element("label", { for: `${name}-${letter}` }, `${letter}) `, ...prose(option.text));
    return element("div", { class: "ddpm-option" }, input, label);
  });
  const before = model.get("chosen").answers?.[number];
  if (before) show(before);
  return element("fieldset", {}, element("legend", {}, `${number}. `, ...prose(asked.text)), ...options, verdict);
}

function render({ model, el }) {
  const { title, questions } = model.get("given");
  const score = element("p", { class: "ddpm-readout", role: "status", "aria-live": "polite" });
  const count = () => {
    const answers = model.get("chosen").answers ?? {};
    const right = questions.filter((asked, i) => answers[i + 1] === asked.right).length;
    score.textContent = `${right} of ${questions.length} right, ${questions.length - Object.keys(answers).length} not answered yet`;
  };
  const asked = questions.map((one, i) => question(model, i + 1, one, count));
  count();
  el.replaceChildren(element("div", { class: "ddpm-box ddpm-quiz", role: "group", "aria-label": title }, ...asked, score));
}

export default { render };
