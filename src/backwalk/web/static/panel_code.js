// The same rows from Python and from the command line, and downloads.
import { answers, withWorkspace } from "./api.js";
import { add, el, offer, say, whenQuiet } from "./dom.js";
import { attempt, onChain, onModel, session } from "./session.js";
import { theCode } from "./source.js";
import { asked, drawing, link, state, writeFragment } from "./state.js";

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

function block(title, id) {
  const code = el("code", { id }), button = el("button", { type: "button", onclick: () => copy(code.textContent, title) }, `Copy ${title}`);
  return [code, el("div", {}, el("h2", {}, title), el("pre", { class: "code", tabindex: "0", role: "region", "aria-label": title }, code), el("p", {}, button))];
}

async function load() {
  if (state.tab !== "code" || !session.card) return;
  const { card } = session;
  const { seed, sampler, n_evaluations: evaluations, eta, reverse_variance: variance } = drawing();
  const body = { model: card.id, draw: asked({ n: state.n, seed, sampler, n_evaluations: evaluations, eta, reverse_variance: variance }) };
  const answer = await attempt(null, () => theCode(body));
  if (!answer) return;
  parts.python.textContent = answer.python;
  parts.shell.textContent = answer.shell;
  parts.note.hidden = !answer.note && !answer.same_rows;
  parts.note.textContent = answer.note || (answer.same_rows ? "Both draw the very same rows as this page." : "");
}

const loadSoon = whenQuiet(100, load);

function savePicture() {
  session.stages[0].merged().toBlob((blob) => offer(blob, "backwalk.png"), "image/png");
}

export const codePanel = {
  name: "code",
  title: "Code",
  build(root) {
    const [python, first] = block("Python", "code-python"), [shell, second] = block("Command line", "code-shell");
    Object.assign(parts, { python, shell, note: el("p", { class: "notice", id: "code-note", hidden: true }) });
    parts.model = el("a", { class: "button", download: "model.safetensors", id: "download-model" }, "Model");
    add(root,
      el("p", { class: "lead" }, "What you see here, as a program: the same settings, the same seed, the same rows."),
      parts.note, first, second, el("h2", {}, "Take with you"),
      el("p", { class: "row" }, el("button", { type: "button", onclick: savePicture }, "Picture"), !answers && parts.model,
        !answers && el("button", { type: "button", "data-tab": "rows" }, "Rows"),
        el("button", { type: "button", id: "copy-link", onclick: () => { writeFragment(); copy(link(), "The link"); } }, "Copy the link")),
      el("p", { class: "hint" }, "The link holds all settings and seeds; a model that was trained on a file needs the file."),
    );
    onModel(() => parts.model.setAttribute("href", withWorkspace(`/api/models/${session.card.id}/download`)));
    onChain(loadSoon);
  },
  show: load,
  hide() {},
  update() {},
};
