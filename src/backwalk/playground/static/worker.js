// The page's mathematics, beside the page: it answers questions, and trains between them.
import * as data from "./data.js";
import * as judge from "./judge.js";
import { Model, PRESETS, Standardised, scheduleOfSettings } from "./models.js";
import * as pictures from "./pictures.js";
import { Trainer } from "./trainer.js";
import { codeOf } from "./code.js";
import { scheduleOf } from "./maths/schedule.js";
import { bytesOf } from "./packed.js";

const models = new Map();
const records = new Map(); // of the page's own models, which are made when they are first asked for
let trainer = null;
let running = false;
let left = 0; // steps until training rests; Infinity until it is paused
let table = null; // the file that was opened last
let rows = null; // the rows to train on
const SLICE = 25; // milliseconds of training between two looks at the questions
const BETWEEN_PICTURES = 400, PICTURES_SHARE = 0.2; // milliseconds, at least, and the most of the time that pictures take
const MOST_SHOWN = 5000; // rows to train on in their picture
const N_SHOWN = 700, STEPS_SHOWN = 20; // rows and steps of the picture that sharpens
const ARROWS = 20;

function modelOf(id) {
  if (!models.has(id) && records.has(id)) models.set(id, ownModel(records.get(id)));
  const model = models.get(id);
  if (!model) throw new Error("The link's model is not in this page: train it again, or open the page anew.");
  return model;
}

// A model of the page's own: its rows by a recipe, its settings by a preset, and trained weights.
function ownModel({ id, title, preset, density, n, seed, weights, steps }) {
  const model = new Model(id, title, data.densityRows(density, n, seed), { ...PRESETS[preset], seed: 0 });
  model.network.unpack(new Float32Array(bytesOf(weights)));
  model.steps = steps;
  return model;
}

// The rows to train on, and their picture.
function describe() {
  const { title, n, notes = [] } = rows, shown = new Standardised(rows), z = shown.z.subarray(0, 2 * MOST_SHOWN), samples = new Uint16Array(z.length);
  pictures.placesOf(z, shown.limits, samples, 0);
  return { title, n, notes, samples, limits: shown.limits, axes: shown.axes() };
}

const answers = {
  add(record) {
    records.set(record.id, record);
    return true;
  },
  card: ({ model }) => modelOf(model).card(),
  models: () => [...new Map([...records, ...models]).values()].map(({ id, title }) => ({ model: id, title })),
  chain: ({ model, ...body }) => pictures.chainOf(modelOf(model), body),
  particle: ({ model, ...body }) => pictures.particleOf(modelOf(model), body),
  field: ({ model, ...body }) => pictures.fieldOf(modelOf(model), body),
  bound: ({ model, ...body }) => judge.boundOf(modelOf(model), body),
  logP: ({ model, ...body }) => judge.logPOf(modelOf(model), body),
  quality: ({ model, ...body }) => judge.qualityOf(modelOf(model), body),
  schedule({ model, settings, logSnr }) {
    const schedule = logSnr ? scheduleOf([Infinity, ...logSnr]) : settings ? scheduleOfSettings(settings) : modelOf(model).schedule, { n } = schedule;
    const t = [...new Set(Array.from({ length: Math.min(n, 300) }, (_, i, k = Math.min(n, 300)) => Math.round(1 + (i * (n - 1)) / Math.max(k - 1, 1))))];
    const of = (array) => t.map((step) => array[step]), left_ = schedule.alphaBar[n];
    return { name: `${n.toLocaleString("en")} steps.`, t, beta: of(schedule.beta), alpha_bar: of(schedule.alphaBar), log10_snr: of(schedule.logSnr).map((value) => value / Math.LN10), alpha_bar_N: left_, signal_N: Math.sqrt(left_) };
  },
  code: ({ model, draw }) => codeOf(modelOf(model), draw),

  // The rows to train on.
  rows({ kind, name, points, n, seed }) {
    rows = kind === "density" ? data.densityRows(name, n, seed) : data.drawnRows(points, n, seed);
    return describe();
  },
  file({ name, text }) {
    table = data.readTable(name, text);
    return { file: name, n: table.n, columns: table.columns.map((column) => column.name) };
  },
  columns({ first, second }) {
    if (!table) throw new Error("A file should be opened first: choose one.");
    rows = data.chooseColumns(table, first, second);
    return describe();
  },

  // Training: a new model of these rows and settings, which then trains; pause, go on, one step, and the same weights again.
  train({ id, title, settings }) {
    const model = new Model(id, title, rows, settings);
    models.set(id, model);
    trainer = new Trainer(model);
    run(Infinity);
    return model.card();
  },
  pause() {
    running = false;
    if (trainer) tell();
    return true;
  },
  goOn() {
    run(Infinity);
    return true;
  },
  oneStep() {
    run(1);
    return true;
  },
  reset() {
    running = false;
    trainer.restart();
    trainer.settle();
    tell(true);
    return true;
  },
};

function run(steps) {
  if (!trainer) throw new Error("Nothing is trained yet: press Train.");
  left = steps;
  if (running) return;
  running = true;
  started = performance.now() - spent;
  slice();
}

let started = 0, spent = 0, nextPicture = 0;

function slice() {
  const end = performance.now() + SLICE, mine = trainer;
  try {
    while (running && left > 0 && performance.now() < end) {
      mine.step();
      left -= 1;
      if (mine.isTimeToMeasure) mine.measure();
    }
  } catch (error) {
    running = false;
    postMessage({ event: "failed", message: error.message });
    return;
  }
  spent = performance.now() - started;
  if (left <= 0) running = false;
  const now = performance.now();
  if (!running || now > nextPicture) {
    tell();
    const took = performance.now() - now;
    nextPicture = performance.now() + Math.max(BETWEEN_PICTURES, took / PICTURES_SHARE - took);
  }
  if (running) setTimeout(slice, 0);
}

// How training stands, and rows that the network draws now.
function tell(isReset = false) {
  const { model, loss, heldOut } = trainer;
  if (isReset) spent = 0;
  trainer.settle();
  const drawn = judge.drawRows(model, N_SHOWN, 0, { sampler: "ddim", n_evaluations: STEPS_SHOWN });
  const places = new Uint16Array(drawn.length);
  pictures.placesOf(drawn, model.limits, places, 0);
  const { schedule } = model, near = schedule.logSnr.reduce((best, value, t) => (t && Math.abs(value) < Math.abs(schedule.logSnr[best]) ? t : best), 1);
  const { points } = pictures.gridOf(model, ARROWS), estimate = model.denoiser.at(points, schedule.logSnr[near]);
  postMessage({
    event: running ? "progress" : isReset ? "reset" : "rests", model: model.id, step: model.steps, seconds: spent / 1000, loss: thinned(loss), held: heldOut.slice(),
    samples: places, limits: model.limits, axes: model.axes(), way: Float32Array.from(estimate, (value, i) => value - points[i]), arrows: ARROWS,
  });
}

// At most 300 points of the loss, each the mean of its neighbours.
function thinned(loss) {
  const k = Math.ceil(loss.length / 300);
  return Array.from({ length: Math.floor(loss.length / k) || 0 }, (_, i) => {
    const part = loss.slice(i * k, (i + 1) * k);
    return [part.at(-1)[0], part.reduce((sum, each) => sum + each[1], 0) / part.length];
  });
}

onmessage = ({ data: { turn, ask, body } }) => {
  try {
    postMessage({ turn, answer: answers[ask](body) });
  } catch (error) {
    postMessage({ turn, problem: error.message, isOurs: error instanceof TypeError || error instanceof ReferenceError });
  }
};
