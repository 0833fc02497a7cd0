// Where the numbers come from: a worker beside the page, or, for a model from Python, the answers that the page holds.
import { byId } from "./dom.js";
import { unpacked } from "./packed.js";

const held = (id) => (byId(id) ? JSON.parse(byId(id).textContent) : null);

// {card, chain, particles, fields, bound, code} of a model from Python, or null.
export const stored = held("stored");
const PYTHON = "python";
const isStored = (model) => model === PYTHON;

export class Refused extends Error {}

const worker = new Worker(window.backwalkWorker);
const waiting = new Map();
const listeners = [];
let turns = 0;

worker.onmessage = ({ data }) => {
  if (data.event) {
    for (const listen of listeners) listen(data);
    return;
  }
  const { resolve, reject } = waiting.get(data.turn);
  waiting.delete(data.turn);
  if (data.problem === undefined) resolve(data.answer);
  else reject(data.isOurs ? new Error(data.problem) : new Refused(data.problem));
};
worker.onerror = (event) => {
  for (const { reject } of waiting.values()) reject(new Error(`The page's mathematics stopped: ${event.message || "open the page again."}`));
  waiting.clear();
};

// Asks the worker; `signal` gives the answer up.
export function ask(what, body = {}, signal = undefined) {
  turns += 1;
  const turn = turns;
  return new Promise((resolve, reject) => {
    waiting.set(turn, { resolve, reject });
    signal?.addEventListener("abort", () => reject(new DOMException("given up", "AbortError")));
    worker.postMessage({ turn, ask: what, body });
  });
}

// Hears of training: {event: "progress" | "rests" | "reset" | "failed", ...}.
export function onTraining(listen) {
  listeners.push(listen);
}

const kept = new Map(); // recent answers, so that going back and forth asks nothing twice
const MOST_KEPT = 40;

// Answers about a model that trains change; `version` counts its steps.
async function once(what, body, signal) {
  const key = `${what} ${JSON.stringify(body)} ${versions.get(body.model) ?? 0}`;
  if (kept.has(key)) return kept.get(key);
  const answer = await ask(what, body, signal);
  kept.set(key, answer);
  if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value);
  return answer;
}

const versions = new Map();

export function noteVersion(model, version) {
  versions.set(model, version);
}

// The page's own models, whose weights it holds; the first is shown when the page opens.
export function addOwnModels() {
  for (const model of held("models")) ask("add", model);
}

// The model that is shown when the page opens; a link leaves its name out.
export const START = stored ? PYTHON : "better";

export async function theCard(model) {
  return isStored(model) ? { ...stored.card, model: PYTHON } : ask("card", { model });
}

export async function theModels() {
  const own = await ask("models");
  return stored ? [{ model: PYTHON, title: stored.card.title }, ...own] : own;
}

export async function theChain(model, body, signal) {
  const chain = isStored(model) ? { ...stored.chain } : await ask("chain", { model, ...body }, signal);
  for (const name of ["forward", "backward", "x_0_hat"]) chain[name] = isStored(model) ? unpacked(chain[name]) : Object.assign(chain[name].data, { shape: chain[name].shape });
  return chain;
}

// The rows whose arithmetic is there, or null where any row can be asked for.
export function heldRows(model) {
  return isStored(model) ? Object.keys(stored.particles).map(Number) : null;
}

export async function theParticle(model, body) {
  return isStored(model) ? stored.particles[String(body.row)] : once("particle", { model, ...body });
}

export async function theField(model, body) {
  if (!isStored(model)) return once("field", { model, ...body });
  const same = stored.fields.filter(({ header }) => header.what === body.what);
  const field = same.reduce((best, item) => (Math.abs(item.t - body.t) < Math.abs(best.t - body.t) ? item : best));
  return { ...field, learned: unpacked(field.learned) };
}

export async function theBound(model, body) {
  return isStored(model) ? stored.bound : once("bound", { model, ...body });
}

// A model's schedule, or that of some settings.
export async function theSchedule(model, settings = null) {
  return ask("schedule", isStored(model) ? { logSnr: stored.card.schedule.log_snr } : { model, settings });
}

export async function theLogP(model, body, signal) {
  return isStored(model) ? { ladder: stored.bound?.ladder ?? [], rows: stored.bound?.rows } : once("logP", { model, ...body }, signal);
}

export async function theQuality(model, body, signal) {
  if (isStored(model)) throw new Refused("Distances of a model from Python are in its report: model.report().");
  return once("quality", { model, ...body }, signal);
}

export async function theCode(model, draw) {
  return isStored(model) ? stored.code : ask("code", { model, draw });
}
