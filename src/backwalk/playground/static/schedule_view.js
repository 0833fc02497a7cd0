// A schedule in three pictures: beta_t, alpha_bar_t and the signal-to-noise ratio, with alpha_bar_N as a number.
import { lineChart } from "./charts.js";
import { digits, el, number, refill } from "./dom.js";
import { prose } from "./formulas.js";

const CHARTS = [
  { name: "beta", label: "beta t, the noise that step t adds", yName: "βₜ", low: 0 },
  { name: "alpha_bar", label: "alpha bar t, the share of signal", yName: "ᾱₜ", low: 0 },
  { name: "log10_snr", label: "The signal-to-noise ratio, as a power of ten", yName: "log₁₀ SNR", low: null },
];

// Shows {t, beta, alpha_bar, log10_snr, alpha_bar_N, signal_N, name}.
export function showSchedule(root, { t, name, alpha_bar_N: left, signal_N: signal, ...values }) {
  refill(root,
    el("p", { class: "figure-line" }, prose("ᾱ_N = "), el("strong", { class: "alpha-bar" }, digits(left)), prose(`: x_N holds ${number(signal)} times the data. `), el("span", { class: "soft" }, name)),
    el("div", { class: "schedule" }, CHARTS.map(({ name: which, label, yName, low }) =>
      lineChart(`${label}, against the step t`, [{ name: "", class: "loss", points: t.map((step, i) => [step, values[which][i]]) }], "step t", yName, { height: 150, width: 170, low }))));
}
