// What is loaded: one model and its chain. Panels hear of each change.
import { byId, refill, say, withCode } from "./dom.js";
import { pause, redraw } from "./player.js";
import { Refused, START, addOwnModels, heldRows, theCard, theChain, theModels } from "./source.js";
import { Chain, Stage } from "./stage.js";
import { change, drawing, state } from "./state.js";

export const session = { card: null, chain: null, data: null, stages: [] };
const FEW = 64; // rows that are walked and shown before the others
const hearers = { model: [], picture: [], chain: [] };
let asking = null;

export function onModel(hear) {
  hearers.model.push(hear);
}

// Hears of each picture: of the first rows, and of all.
export function onPicture(hear) {
  hearers.picture.push(hear);
}

export function onChain(hear) {
  hearers.chain.push(hear);
}

export function startSession() {
  addOwnModels();
  session.stages = [new Stage("Points of the chain"), new Stage("Points of the second chain")];
}

// The page's models as choices: {value: its name in the state, title}.
export async function modelChoices() {
  return (await theModels()).map(({ model, title }) => ({ value: model === START ? "" : model, title }));
}

export const modelId = (name) => name || START;

// Opens a model by its name in the state ("" is the one that ships with the page).
export async function openModel(name) {
  const id = modelId(name);
  document.body.classList.add("waiting"); // until its chain is drawn
  session.card = { ...(await theCard(id)), id };
  change({ model: name });
  byId("model-name").textContent = session.card.title;
  session.chain = session.stages[0].chain = null; // nobody reads the other model's points meanwhile
  redraw();
  for (const hear of hearers.model) hear();
  await drawChain();
}

export async function fetchChain(name, body, signal) {
  return new Chain(await theChain(modelId(name), body, signal));
}

export async function drawChain() {
  if (!session.card) return; // it is drawn once the model is there
  if (asking) asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  document.body.classList.add("waiting");
  const slow = setTimeout(() => { if (!session.stages[0].chain && !session.stages[0].snapshot) session.stages[0].caption.textContent = "Drawing the chain."; }, 400);
  try {
    const body = drawing({ n: state.n });
    if (body.n > FEW && !heldRows(session.card.id)) show(await fetchChain(state.model, { ...body, n: FEW }, signal));
    session.chain = await fetchChain(state.model, body, signal);
    show(session.chain);
    for (const hear of hearers.chain) hear();
  } catch (error) {
    if (error.name === "AbortError") return;
    tell(error);
  } finally {
    clearTimeout(slow);
    if (!signal.aborted) document.body.classList.remove("waiting");
  }
}

function show(chain) {
  const [stage] = session.stages;
  if (state.tab !== "compare") stage.chain = chain; // its pictures are others
  if (state.tab !== "compare" && !stage.snapshot) stage.caption.textContent = usualCaption();
  for (const hear of hearers.picture) hear();
  redraw();
}

// Shows rows in the chain's place: {samples, limits, axes, ink}, with a function that draws under them.
export function showRows(snapshot, caption, background = null) {
  const [stage] = session.stages;
  pause();
  Object.assign(stage, { snapshot, background });
  stage.caption.textContent = caption;
  document.body.classList.add("still");
  redraw();
}

export function hideRows() {
  const [stage] = session.stages;
  stage.snapshot = stage.background = null;
  stage.caption.textContent = usualCaption();
  document.body.classList.remove("still");
  redraw();
}

// What stands under the picture where no panel says more.
export function usualCaption() {
  const isOwn = session.stages[0].chain?.header.forward_from === "model" && ["forward", "both"].includes(state.side);
  return isOwn ? "The forward chain starts from rows of the model, as its data are not here." : "";
}

// Shows an error where people look, and to screen readers. Mistakes of ours go to the console as well.
export function tell(error) {
  const box = byId("problem");
  refill(box.querySelector("p"), withCode(error.message));
  box.hidden = false;
  say(error.message);
  if (!(error instanceof Refused)) console.error(error);
}

export function untell() {
  byId("problem").hidden = true;
}

// Runs work that may be refused; the button is disabled meanwhile.
export async function attempt(button, work) {
  if (button) {
    untell();
    button.disabled = true;
  }
  try {
    return await work();
  } catch (error) {
    tell(error);
    return undefined;
  } finally {
    if (button) button.disabled = false;
  }
}

// The state of the chain that the slider stands at.
export function nowAt() {
  const { chain } = session, i = chain ? chain.index(state.p) : 0;
  return { i, t: chain ? chain.t[i] : 0 };
}
