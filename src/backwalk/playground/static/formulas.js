// The symbols of the theory and their formulas, as native MathML.
import { digits, el, fixed, math } from "./dom.js";

// The one list of symbols that picture and formulas share: ink in the picture, words in the table.
export const SYMBOLS = {
  x_t: { ink: "--s-xt", plain: "x_t", words: "the noisy point" },
  eps_theta: { ink: "--s-eps", plain: "ε_θ", words: "the noise that the network sees in it" },
  x_0_hat: { ink: "--s-x0", plain: "x̂_0", words: "the clean point that it expects" },
  mu_theta: { ink: "--s-mu", plain: "μ_θ", words: "the mean of the next point" },
  sigma_t: { ink: "--s-mu", plain: "σ_t", words: "the spread around that mean" },
  z: { ink: "--s-z", plain: "z", words: "fresh noise, standard normal" },
  x_next: { ink: "--s-next", plain: "x_{t−1}", words: "the next point" },
};

const mi = (text) => math("mi", {}, text);
const mn = (text) => math("mn", {}, text);
const mo = (text) => math("mo", {}, text);
const row = (...parts) => math("mrow", {}, ...parts);
const frac = (a, b) => math("mfrac", {}, a, b);
const root = (...parts) => math("msqrt", {}, ...parts);
const sub = (a, b) => math("msub", {}, a, b);
const sup = (a, b) => math("msup", {}, a, b);
const over = (a, mark) => math("mover", { accent: "true" }, a, mo(mark));
const brackets = (...parts) => row(math("mo", { stretchy: "false" }, "("), ...parts, math("mo", { stretchy: "false" }, ")"));
const around = (...parts) => math("mrow", { class: "around" }, ...parts); // brackets as high as what they hold, in any font
const minus1 = () => row(mi("t"), mo("−"), mn("1"));
const alphaBar = (index = mi("t")) => sub(math("mrow", { class: "bar" }, mi("α")), index); // a bar that is the same in every font
const signal = () => root(alphaBar());
const noise = () => root(mn("1"), mo("−"), alphaBar());

const SHAPES = {
  x_t: () => sub(mi("x"), mi("t")),
  x_0: () => sub(mi("x"), mn("0")),
  eps_theta: () => sub(mi("ε"), mi("θ")),
  x_0_hat: () => sub(over(mi("x"), "^"), mn("0")),
  mu_theta: () => sub(mi("μ"), mi("θ")),
  sigma_t: () => sub(mi("σ"), mi("t")),
  z: () => mi("z"),
  x_next: () => sub(mi("x"), minus1()),
};

// A symbol that lights up together with its mark in the picture.
function linked(name, shape = SHAPES[name]()) {
  return math("mrow", { class: `symbol symbol-${name}`, "data-symbol": name }, shape);
}

function vector(values, name) {
  const column = math("mtable", { class: "vector" }, values.map((value) => math("mtr", {}, math("mtd", {}, mn(digits(value))))));
  return name ? linked(name, column) : column;
}

function scalar(value, name) {
  return name ? linked(name, mn(digits(value))) : mn(digits(value));
}

function shown(label, ...parts) {
  return math("math", { display: "block", "aria-label": label }, row(...parts));
}

// A long formula in pieces, which go on the next line where there is no room.
function wrapping(label, ...pieces) {
  return el("div", { class: "pieces", role: "math", "aria-label": label }, pieces.map((parts) => math("math", { displaystyle: "true" }, row(...parts))));
}

export const forwardStep = () => shown("q of x t given x t minus 1 is normal, with mean root of 1 minus beta t times x t minus 1, variance beta t",
  mi("q"), brackets(SHAPES.x_t(), mo("∣"), SHAPES.x_next()), mo("="), mi("N"),
  brackets(root(mn("1"), mo("−"), sub(mi("β"), mi("t"))), SHAPES.x_next(), mo(","), sub(mi("β"), mi("t")), mi("I")));

export const forwardJump = () => shown("x t is root of alpha bar t times x 0 plus root of 1 minus alpha bar t times epsilon",
  SHAPES.x_t(), mo("="), signal(), SHAPES.x_0(), mo("+"), noise(), mi("ε"));

export const simpleLoss = () => shown("L simple is the mean of the squared distance of epsilon and epsilon theta of x t and t",
  sub(mi("L"), math("mtext", {}, "simple")), mo("="), mi("E"),
  sup(row(mo("‖"), mi("ε"), mo("−"), linked("eps_theta"), brackets(SHAPES.x_t(), mo(","), mi("t")), mo("‖")), mn("2")));

export const estimateRule = () => shown("x 0 hat is x t minus root of 1 minus alpha bar t times epsilon theta, over root of alpha bar t",
  linked("x_0_hat"), mo("="), frac(row(linked("x_t"), mo("−"), noise(), linked("eps_theta")), signal()));

export const meanRule = () => shown("mu theta is 1 over root alpha t, times x t minus beta t over root of 1 minus alpha bar t times epsilon theta",
  linked("mu_theta"), mo("="), frac(mn("1"), root(sub(mi("α"), mi("t")))),
  around(linked("x_t"), mo("−"), frac(sub(mi("β"), mi("t")), noise()), linked("eps_theta")));

export const stepRule = (step) => shown("the next point is mu theta plus sigma t times z",
  linked("x_next", step && nextPoint(step)), mo("="), linked("mu_theta"), mo("+"), linked("sigma_t"), linked("z"));

export const boundRule = () => shown("minus log p of x 0 is at most L: the prior term L N, plus the terms of the steps, plus the reconstruction L 0",
  mo("−"), mi("log"), sub(mi("p"), mi("θ")), brackets(SHAPES.x_0()), mo("≤"), mi("L"), mo("="), sub(mi("L"), mi("N")), mo("+"),
  math("munder", {}, mo("∑"), row(mi("t"), mo(">"), mn("1"))), sub(mi("L"), minus1()), mo("+"), sub(mi("L"), mn("0")));

export const varianceRule = () => shown("sigma squared is eta squared times beta tilde t",
  sup(mi("σ"), mn("2")), mo("="), sup(mi("η"), mn("2")), sub(over(mi("β"), "˜"), mi("t")));

// sigma^2 of a step: {rule, numbers, hint}, or null where another formula has it.
export function varianceOf(step, solver, eta, kind) {
  const { beta, beta_tilde: least, denoising_error: error, sigma_t: sigma, x_0_weight: weight } = step;
  const square = () => sup(linked("sigma_t"), mn("2")), betaTilde = () => sub(over(mi("β"), "˜"), mi("t"));
  const value = () => [mo("="), mn(digits(sigma ** 2)), mo(","), linked("sigma_t"), mo("="), scalar(sigma, "sigma_t")];
  const tildeRule = () => [betaTilde(), mo("="), frac(row(mn("1"), mo("−"), alphaBar(minus1())), row(mn("1"), mo("−"), alphaBar())), sub(mi("β"), mi("t")), mo("="), mn(digits(least))];
  if (solver === "ddim") {
    return { rules: [varianceRule(), shown("beta tilde in numbers", ...tildeRule())], numbers: shown("the same in numbers", square(), mo("="), sup(mn(digits(eta)), mn("2")), mo("·"), mn(digits(least)), ...value()) };
  }
  if (kind === "beta") return { rules: [shown("sigma squared is beta t", square(), mo("="), sub(mi("β"), mi("t")))], numbers: shown("the same in numbers", square(), ...value()), hint: "The paper's larger choice: right for data that are standard normal." };
  if (kind === "beta_tilde") return { rules: [shown("sigma squared is beta tilde t", square(), mo("="), ...tildeRule())], numbers: shown("the same in numbers", square(), ...value()), hint: "The paper's smaller choice: right for data that are a single point." };
  return {
    rules: [shown("sigma squared is beta tilde t plus c t squared times m t", square(), mo("="), betaTilde(), mo("+"), math("msubsup", {}, mi("c"), mi("t"), mn("2")), sub(mi("m"), mi("t"))), shown("beta tilde in numbers", ...tildeRule())],
    numbers: shown("the same in numbers", square(), mo("="), mn(digits(least)), mo("+"), sup(mn(digits(weight)), mn("2")), mo("·"), mn(digits(error)), ...value()),
    hint: `Fitted, between β̃_t and about β_t = ${digits(beta)}: c_t is the weight of x̂_0 in μ_θ, and m_t the mean square error of x̂_0 a coordinate, measured on held-out rows.`,
  };
}

// DDIM's own formula: towards the estimate, and away from it along the noise that the network sees.
export const ddimRule = (step) => shown("the next point by D D I M",
  linked("x_next", nextPoint(step)), mo("="), root(alphaBar(minus1())), linked("x_0_hat"), mo("+"),
  root(mn("1"), mo("−"), alphaBar(minus1()), mo("−"), sup(linked("sigma_t"), mn("2"))), linked("eps_theta"), mo("+"), linked("sigma_t"), linked("z"));

export function ddimNumbers(step) {
  const fresh = step.noise ? [[mo("+"), scalar(step.sigma_t, "sigma_t"), vector(step.noise, "z")]] : [];
  const along = Math.sqrt(Math.max(0, 1 - step.a_next ** 2 - step.sigma_t ** 2));
  return wrapping("the same in numbers", [vector(step.x_next, "x_next"), mo("="), scalar(step.a_next), vector(step.x_0_hat, "x_0_hat")], [mo("+"), scalar(along), vector(step.eps_theta, "eps_theta")], ...fresh);
}

export const lastLevel = (value) => shown(`alpha bar N is ${fixed(value, 4)}`,
  alphaBar(mi("N")), mo("="), mn(fixed(value, 4)));

// The same formulas with a step's numbers in them.
export function estimateNumbers(step) {
  return shown("the same in numbers", vector(step.x_0_hat, "x_0_hat"), mo("="),
    frac(row(vector(step.x_t, "x_t"), mo("−"), scalar(step.b), vector(step.eps_theta, "eps_theta")),
      scalar(step.a)));
}

export function meanNumbers(step) {
  return wrapping("the same in numbers", [vector(step.mu_theta, "mu_theta"), mo("=")],
    [frac(mn("1"), scalar(Math.sqrt(step.alpha))), around(vector(step.x_t, "x_t"), mo("−"), frac(scalar(step.beta), scalar(step.b)), vector(step.eps_theta, "eps_theta"))]);
}

export function stepNumbers(step) {
  const fresh = step.noise ? [mo("+"), scalar(step.sigma_t, "sigma_t"), vector(step.noise, "z")] : [];
  return shown("the same in numbers", vector(step.x_next, "x_next"), mo("="), vector(step.mu_theta, "mu_theta"), ...fresh);
}

function nextPoint(step) {
  return sub(mi("x"), mn(String(step.t_next)));
}

export function inlineSymbol(name, step = null) {
  return math("math", {}, name === "x_next" && step ? nextPoint(step) : SHAPES[name]());
}

export function formula(title, ...lines) {
  return scrollable(el("div", { class: "formula", role: "group", "aria-label": title }, el("h2", { class: "small" }, title), lines));
}

// Keys scroll a box whose formulas are too wide for it.
export function scrollable(box) {
  new ResizeObserver(() => {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }).observe(box);
  return box;
}

const TOKENS = {
  "x_{t−1}": SHAPES.x_next, "x_t": SHAPES.x_t, "x_0": SHAPES.x_0, "x_N": () => sub(mi("x"), mi("N")), "x̂_0": SHAPES.x_0_hat,
  "μ_θ": SHAPES.mu_theta, "σ_t": SHAPES.sigma_t, "ε_θ": SHAPES.eps_theta, "β_t": () => sub(mi("β"), mi("t")),
  "p_θ": () => sub(mi("p"), mi("θ")), "x_1": () => sub(mi("x"), mn("1")), "m_t": () => sub(mi("m"), mi("t")), "c_t": () => sub(mi("c"), mi("t")), "α_t": () => sub(mi("α"), mi("t")),
  "β̃_t": () => sub(over(mi("β"), "˜"), mi("t")), "ᾱ_N": () => alphaBar(mi("N")), "√ᾱ_t": signal, "√(1 − ᾱ_t)": noise,
  "ᾱ_t": () => alphaBar(), "L_simple": () => sub(mi("L"), math("mtext", {}, "simple")), "β_N": () => sub(mi("β"), mi("N")),
  "√(1 − β_t)": () => root(mn("1"), mo("−"), sub(mi("β"), mi("t"))), "L_N": () => sub(mi("L"), mi("N")), "L_0": () => sub(mi("L"), mn("0")),
};
const TOKEN = new RegExp(`(${Object.keys(TOKENS).map((key) => key.replace(/[{}()√]/g, "\\$&")).join("|")})([.,:;)]*)`);

// A sentence, with the symbols in it set as formulas, each on one line with the punctuation that follows.
export function prose(text) {
  const pieces = text.split(TOKEN), nodes = [];
  for (let i = 0; i < pieces.length; i += 3) {
    const [words, token, after] = pieces.slice(i, i + 3);
    nodes.push(words);
    if (token) nodes.push(el("span", { class: "symbol" }, math("math", {}, TOKENS[token]()), after));
  }
  return nodes;
}
