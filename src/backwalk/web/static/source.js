// Where the numbers come from: the server, or the answers inside an exported page.
import { answers, bytesOf, getJson, postJson, postPacked, unpacked } from "./api.js";

const kept = new Map(); // recent answers, so that going back and forth asks nothing twice
const MOST_KEPT = 40;

async function once(key, ask) {
  if (kept.has(key)) return kept.get(key);
  const answer = await ask();
  kept.set(key, answer);
  if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value);
  return answer;
}

function nearestTo(t, list) {
  return list.reduce((best, item) => (Math.abs(item.t - t) < Math.abs(best.t - t) ? item : best));
}

export async function theCatalogue() {
  return answers ? answers.catalogue : getJson("/api/catalogue");
}

export async function theCard(model) {
  return answers ? answers.model : getJson(`/api/models/${model}`);
}

export async function theModels() {
  return answers ? [{ model: answers.catalogue.start.model, title: answers.model.title }] : getJson("/api/models");
}

export async function theChain(model, body, signal) {
  if (answers) return unpacked(bytesOf(answers.chain));
  return postPacked(`/api/models/${model}/chain`, body, signal);
}

// The rows whose arithmetic an exported page holds, or null where any row can be asked for.
export const exportedRows = answers ? Object.keys(answers.particles).map(Number) : null;

export async function theParticle(model, body) {
  if (answers) return answers.particles[String(body.row)];
  const path = `/api/models/${model}/particle`;
  return once(path + JSON.stringify(body), () => postJson(path, body));
}

export async function theField(model, body) {
  const path = `/api/models/${model}/field`;
  if (!answers) return once(path + JSON.stringify(body), () => postPacked(path, body));
  const same = answers.fields.filter((item) => item.what === body.what);
  return same.length ? unpacked(bytesOf(nearestTo(body.t, same).packed)) : null;
}

export async function theDensity(model, body) {
  const path = `/api/models/${model}/density`;
  if (answers) return answers.density ? unpacked(bytesOf(answers.density)) : null;
  return once(path + JSON.stringify(body), () => postPacked(path, body));
}

export async function theBound(model, body) {
  const path = `/api/models/${model}/bound`;
  return answers ? answers.bound : once(path + JSON.stringify(body), () => postJson(path, body));
}

// The model's own schedule, or another one.
export async function theSchedule(model, body) {
  const path = `/api/models/${model}/schedule`;
  return answers ? answers.schedule : once(path + JSON.stringify(body), () => postJson(path, body));
}

// -log p by the ODE, beside the entropy where it is known.
export async function theLogP(model, body, signal) {
  const path = `/api/models/${model}/log-p`;
  return once(path + JSON.stringify(body), () => postJson(path, body, signal));
}

// C2ST and sliced distance of a sampler's rows, beside those of other real rows.
export async function theQuality(model, body, signal) {
  const path = `/api/models/${model}/quality`;
  return once(path + JSON.stringify(body), () => postJson(path, body, signal));
}

export async function theCode(body) {
  return answers ? answers.code : postJson("/api/code", body);
}
