// The same rows from Python and from the command line, and downloads.
import { answers, getBlob, withWorkspace } from "./api.js";
import { add, el, offer, refill, say, whenQuiet, withCode } from "./dom.js";
import { attempt, onChain, onModel, session } from "./session.js";
import { theCode } from "./source.js";
import { asked, drawing, link, state, writeFragment } from "./state.js";

const HINT = "The link holds all settings and seeds; a model that was trained on a file needs the file."
  + (answers ? "" : " The page as one file shows this model without a server: Watch, Particle with the paper's step, Field, Bound and Code.");
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
  parts.own.textContent = answer.own;
  parts.note.hidden = !answer.note && !answer.same_rows;
  const note = answer.note || (answer.same_rows ? "Both draw the very same rows as this page." : "");
  refill(parts.note, withCode(note));
}

const loadSoon = whenQuiet(100, load);

function savePicture() {
  session.stages[0].merged().toBlob((blob) => offer(blob, "backwalk.png"), "image/png");
}

// The page of this model as one file, which takes the server some seconds.
async function saveAsFile() {
  say("The file is being made.");
  parts.hint.textContent = "Making the file, which takes about half a minute.";
  try {
    offer(await getBlob(`/api/models/${session.card.id}/page`), "backwalk.html");
  } finally {
    parts.hint.textContent = HINT;
  }
}

export const codePanel = {
  name: "code",
  title: "Code",
  build(root) {
    const [python, first] = block("Python", "code-python"), [shell, second] = block("Command line", "code-shell");
    const own = el("code", { id: "code-own" });
    Object.assign(parts, { python, shell, own, note: el("p", { class: "notice", id: "code-note", hidden: true }) });
    parts.model = el("a", { class: "button", download: "model.safetensors", id: "download-model" }, "Model");
    parts.hint = el("p", { class: "hint" }, HINT);
    parts.page = el("button", { type: "button", id: "export", onclick: () => attempt(parts.page, saveAsFile) }, "This page as one file");
    add(root,
      el("p", { class: "lead" }, "What you see here, as a program: the same settings, the same seed, the same rows."),
      parts.note, first, second, el("details", { id: "own" }, el("summary", {}, "A schedule, a network, a solver of your own"), el("pre", { class: "code", tabindex: "0", role: "region", "aria-label": "A schedule, a network and a solver of your own" }, own),
        el("p", { class: "hint" }, "Saved as own.backwalk, with the class in my_code.py, the model opens by: backwalk web own.backwalk --network my_code:MyNetwork")),
      el("h2", {}, "Take with you"),
      el("p", { class: "row" }, el("button", { type: "button", onclick: savePicture }, "Picture"), !answers && parts.model,
        !answers && el("button", { type: "button", "data-tab": "rows" }, "Rows"), !answers && parts.page,
        el("button", { type: "button", id: "copy-link", onclick: () => { writeFragment(); copy(link(), "The link"); } }, "Copy the link")),
      parts.hint,
    );
    onModel(() => parts.model.setAttribute("href", withWorkspace(`/api/models/${session.card.id}/download`)));
    onChain(loadSoon);
  },
  show: load,
  hide() {},
  update() {},
};
