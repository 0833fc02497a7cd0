// Elements, text and numbers. All text from data is set as text, never as markup.

const MATH = "http://www.w3.org/1998/Math/MathML";
const SVG = "http://www.w3.org/2000/svg";

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(3)) if (child !== null && child !== undefined && child !== false) node.append(child);
  return node;
}

// Adds children, but for those that are false or missing.
export function add(root, ...children) {
  return filled(root, {}, children);
}

// Puts children in the place of those that are there.
export function refill(root, ...children) {
  root.replaceChildren();
  return filled(root, {}, children);
}

export function el(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

// A sentence, whose code stands between backticks.
export function withCode(text) {
  return text.split("`").map((piece, i) => (i % 2 ? el("code", {}, piece) : piece));
}

export function svg(tag, attributes, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

export function math(tag, attributes, ...children) {
  return filled(document.createElementNS(MATH, tag), attributes, children);
}

export function byId(id) {
  return document.getElementById(id);
}

// A number in plain text: `digits` significant digits, with a true minus sign.
export function number(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  let text;
  if (size !== 0 && (size < 1e-4 || size >= 1e7)) {
    const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
    text = `${mantissa} × 10${[...String(Number(exponent))].map((c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]).join("")}`;
  } else if (size >= 1000) text = value.toLocaleString("en", { maximumFractionDigits: 0 });
  else text = String(Number(value.toPrecision(digits)));
  return text.replaceAll("-", "−");
}

// A number with all of its significant digits, so that sums can be checked by hand.
export function digits(value, count = 4) {
  const size = Math.abs(value);
  if (value === 0 || !Number.isFinite(value) || size < 1e-5 || size >= 1e6) return number(value, count);
  return value.toPrecision(Math.max(count, Math.floor(Math.log10(size)) + 1)).replace("-", "−");
}

// A number with a fixed count of decimals, so that columns of numbers stand still while they change.
export function fixed(value, decimals = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return number(value);
  const text = value.toFixed(decimals).replace("-", "−");
  return Number(value.toFixed(decimals)) === 0 ? text.replace("−", "") : text;
}

export function count(value) {
  return Number(value).toLocaleString("en");
}

export function withError(value, error) {
  return error ? `${digits(value)} ± ${digits(error, 2)}` : digits(value);
}

export function option(value, text, chosen = false) {
  const node = el("option", { value }, text);
  node.selected = chosen;
  return node;
}

// A label above a control. `control` gets an id and the label points to it.
let lastId = 0;
export function field(text, control, note = null) {
  if (!control.id) control.id = `control-${(lastId += 1)}`;
  const noteId = `${control.id}-note`;
  if (note) control.setAttribute("aria-describedby", noteId);
  return el("div", { class: "field" }, el("label", { for: control.id }, text), control,
    note && el("p", { class: "hint", id: noteId }, note));
}

export function tableOf(caption, head, rows, attributes = {}) {
  return el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": caption },
    el("table", attributes, el("caption", { class: "hidden" }, caption),
      el("thead", {}, el("tr", {}, head.map((text) => el("th", { scope: "col" }, text)))),
      el("tbody", {}, rows.map(([first, ...rest]) =>
        el("tr", {}, el("th", { scope: "row" }, first), rest.map((text) => el("td", {}, text)))))));
}

export function say(text) {
  byId("status").textContent = text;
}

export function reducedMotion() {
  return window.matchMedia("(prefers-reduced-motion: reduce)").matches;
}

// Calls `act` once things are quiet for `wait` milliseconds.
export function whenQuiet(wait, act) {
  let timer = null;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...values), wait);
  };
}
