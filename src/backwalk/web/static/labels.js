// Names of the library in words for people. Names without an entry are shown as they are.

const LABELS = {
  log_snr: "even in the log-SNR", linear: "linear β", cosine: "cosine",
  residual: "residual blocks", textbook: "the notebook's tanh layers",
  ancestral: "ancestral (the paper's)", ddim: "DDIM", "dpm++2m": "DPM-Solver++ (2M)", multistep: "multistep", "multistep-sde": "multistep SDE",
  distilled: "distilled student", optimal: "fitted to held-out rows", beta: "σ² = β", beta_tilde: "σ² = β̃",
  number: "number", integer: "whole number", levels: "levels", atoms: "number with spikes", constant: "constant",
};

export function labelOf(item) {
  const name = typeof item === "string" ? item : item.name;
  return (typeof item === "string" ? null : item.label) || LABELS[name] || name.replaceAll("_", " ");
}

export function nameOf(item) {
  return typeof item === "string" ? item : item.name;
}
