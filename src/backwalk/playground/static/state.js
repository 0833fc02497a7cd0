// The state of the page. All of it lies in the URL's fragment, so that a link shows the same picture.

const USUAL = {
  tab: "watch", side: "backward", p: 0.35, n: 2000, seed: 0, trails: true, row: 0, model: "",
  solver: "ancestral", evaluations: 0, variance: "beta_tilde", eta: 0, field: "score", tour: 0,
  pair: "", data: "", fit: "", fitSeed: 0,
};

export const state = { ...USUAL };
const listeners = [];

export function onChange(listen) {
  listeners.push(listen);
}

export function fragment() {
  const parts = new URLSearchParams();
  for (const [name, usual] of Object.entries(USUAL)) {
    if (state[name] === usual) continue;
    parts.set(name, name === "p" ? state.p.toFixed(4) : String(state[name]));
  }
  return parts.toString();
}

export function readFragment() {
  const parts = new URLSearchParams(location.hash.slice(1));
  const read = { ...USUAL };
  for (const [name, usual] of Object.entries(USUAL)) {
    if (!parts.has(name)) continue;
    const text = parts.get(name);
    if (typeof usual === "number") read[name] = Number.isFinite(Number(text)) ? Number(text) : usual;
    else read[name] = typeof usual === "boolean" ? text === "true" : text;
  }
  read.p = Math.min(1, Math.max(0, read.p));
  read.n = Math.min(10_000, Math.max(1, Math.round(read.n)));
  read.row = Math.max(0, Math.round(read.row));
  return read;
}

export const hasAddress = location.protocol !== "about:"; // a notebook's frame has none
let writing = null;

// The fragment follows the state soon; browsers limit how often it may change.
export function remember() {
  clearTimeout(writing);
  writing = setTimeout(writeFragment, 250);
}

export function writeFragment() {
  clearTimeout(writing);
  const text = fragment();
  if (hasAddress && text !== location.hash.slice(1)) history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}

// Sets some names, tells the listeners which, and writes the fragment.
export function change(values) {
  const changed = new Set(Object.keys(values).filter((name) => state[name] !== values[name]));
  if (!changed.size) return;
  Object.assign(state, values);
  for (const listen of listeners) listen(changed);
  if (changed.size > 1 || !changed.has("p")) remember(); // the player says when it rests
}

export function link() {
  return location.origin + location.pathname + (fragment() ? `#${fragment()}` : "");
}

// What a question needs to draw as the page does.
export function drawing(more = {}) {
  return asked({
    seed: state.seed,
    sampler: state.solver,
    n_evaluations: state.evaluations || null,
    eta: state.eta,
    reverse_variance: state.variance,
    ...more,
  });
}

// A question without what is left to the model.
export function asked(values) {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null && value !== undefined));
}
