// The same model in Python, and the address of this state.
import { add, el, refill, say, whenQuiet, withCode } from "./dom.js";
import { attempt, onChain, session } from "./session.js";
import { theCode } from "./source.js";
import { asked, drawing, state } from "./state.js";

const parts = {};

export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without permission for the clipboard: an old way that browsers still have.
    const area = el("textarea", { class: "hidden", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say(`${what} is copied.`);
}

async function load() {
  if (state.tab !== "code" || !session.card) return;
  const { seed, sampler, n_evaluations: evaluations, eta, reverse_variance: variance } = drawing();
  const answer = await attempt(null, () => theCode(session.card.id, asked({ n: state.n, seed, sampler, n_evaluations: evaluations, eta, reverse_variance: variance })));
  if (!answer) return;
  parts.python.textContent = answer.python;
  refill(parts.note, withCode(answer.note || ""));
  parts.note.hidden = !answer.note;
}

const loadSoon = whenQuiet(100, load);

export const codePanel = {
  name: "code",
  title: "Code",
  build(root) {
    Object.assign(parts, { python: el("code", { id: "code-python" }), note: el("p", { class: "notice", id: "code-note", hidden: true }) });
    add(root,
      el("p", { class: "lead" }, "What you see here, as a program."), el("h2", {}, "Python"),
      el("pre", { class: "code", tabindex: "0", role: "region", "aria-label": "Python" }, parts.python),
      el("p", {}, el("button", { type: "button", onclick: () => copy(parts.python.textContent, "Python") }, "Copy Python")), parts.note,
      el("p", { class: "hint" }, "“Copy link” above holds the settings and all seeds. A model that was trained here is trained again from it; rows of a file are not in it."),
    );
    onChain(loadSoon);
  },
  show: load,
  hide() {},
};
