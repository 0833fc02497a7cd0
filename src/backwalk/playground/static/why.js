// Why a choice is as it is: a few sentences, and the place in the course that derives it.
import { el } from "./dom.js";
import { prose } from "./formulas.js";

const WHY = {
  sigma: {
    of: "the variance σ²", section: "3.3", title: "Ten steps instead of a hundred",
    words: ["How much noise a step back should add depends on how well x_0 is known. If it were known exactly, the variance of x_{t−1} would be β̃_t. For standard normal data it is β_t. "
      + "The library's fitted choice lies between: β̃_t plus what the network leaves open about x_0. In a chain of many steps all three nearly agree. In a short one the choice decides the rows and the bound."],
  },
  eta: {
    of: "η", section: "3.2", title: "A walk without noise",
    words: ["Whatever η is, x_t has the same distribution at each t if the network is exact: so one network serves all. η = 1 is the ancestral step. With η = 0 paths are smooth, and few steps are enough. "
      + "Fresh noise forgets errors of earlier steps, so in many steps some of it may help."],
  },
  schedule: {
    of: "the schedule", section: "1.4", title: "Schedules",
    words: ["A chain should end in noise alone, ᾱ_N near 0, because sampling starts from pure noise. And it should spend its steps where something is decided: "
      + "at an SNR of 100 the noise is a tenth of the signal, and below 0.01 nothing can be told. A line to β_N = 0.02 is right for N = 1,000 steps, and ends too early for 100."],
  },
  loss: {
    of: "the loss", section: "2.4", title: "What to minimise",
    words: ["Each step's term of the bound compares two normal densities with one variance. So it is a weight times the squared distance of the true and the predicted mean, or, which is the same, of the true noise ε and ε_θ. "
      + "L_simple leaves the weights out. The best network is the same, as each term has its own t; a limited network then spends more on noisy points. "
      + "F, which the better network predicts, is what the best linear answer leaves open, at every noise level of one size."],
  },
};

// `name` is one of WHY.
export function why(name) {
  const { of, section, title, words } = WHY[name], place = `lesson ${section} of the course, ${title}`;
  return el("details", { class: "why" }, el("summary", { "aria-label": `Why: ${of}` }, "Why?"),
    words.map((text) => el("p", {}, prose(text))),
    el("p", {}, "Derived in ", place, "."));
}
