// The rows to learn: densities that are known, points drawn by hand, and a table's two columns.
//
// A known density is a mixture: many centres of equal weight, and normal noise around each. So rows can be drawn for
// ever, and the best of all networks is known. A table is a finite set of rows, and nothing is known beyond them.
import { stream } from "./maths/random.js";

export const MOST_ROWS = 10_000;
const N_CENTRES = 400; // of a curve: their distance is far below its noise

const curve = (n, at) => Float64Array.from({ length: 2 * n }, (_, i) => at((Math.floor(i / 2) + 0.5) / n)[i % 2]);
const joined = (...parts) => Float64Array.from(parts.flatMap((part) => Array.from(part)));
const ring = (radius) => curve(N_CENTRES / 2, (w) => [radius * Math.cos(2 * Math.PI * w), radius * Math.sin(2 * Math.PI * w)]);
const arm = (sign) => curve(N_CENTRES, (w) => { const r = 3 * Math.PI * Math.sqrt(w); return [(-sign * Math.cos(r) * r) / 3, (sign * Math.sin(r) * r) / 3]; });

// The formulas are those of `backwalk.datasets`.
export const DENSITIES = {
  two_moons: { label: "Two moons", noise: 0.05, description: "two half circles with noise",
    centres: () => joined(curve(N_CENTRES / 2, (w) => [Math.cos(Math.PI * w), Math.sin(Math.PI * w)]), curve(N_CENTRES / 2, (w) => [1 - Math.cos(Math.PI * w), 0.5 - Math.sin(Math.PI * w)])) },
  circles: { label: "Circles", noise: 0.05, description: "two full circles with noise", centres: () => joined(ring(1), ring(0.5)) },
  spirals: { label: "Spirals", noise: 0.1, description: "two arms", centres: () => joined(arm(1), arm(-1)) },
  mixture: { label: "Mixture", noise: 0.2, description: "eight Gaussians on a ring", centres: () => curve(8, (w) => [2 * Math.cos(2 * Math.PI * w), 2 * Math.sin(2 * Math.PI * w)]) },
};
const DRAWN_NOISE = 0.06; // around points that were drawn by hand, on a board from -2 to 2

function drawn(centres, noise, n, random) {
  const points = random.normals(2 * n);
  for (let i = 0; i < n; i += 1) {
    const j = random.below(centres.length / 2);
    points[2 * i] = centres[2 * j] + noise * points[2 * i];
    points[2 * i + 1] = centres[2 * j + 1] + noise * points[2 * i + 1];
  }
  return points;
}

// Mean and standard deviation of both coordinates.
export function momentsOf(points) {
  const n = points.length / 2, mean = [0, 0], scale = [0, 0];
  for (let i = 0; i < points.length; i += 1) mean[i % 2] += points[i] / n;
  for (let i = 0; i < points.length; i += 1) scale[i % 2] += (points[i] - mean[i % 2]) ** 2 / n;
  return { mean, scale: scale.map(Math.sqrt) };
}

// Rows with what is known of them: {title, recipe, names, points, n, mixture: {centres, noise} or null}.
function rows(title, recipe, names, points, mixture = null) {
  const { scale } = momentsOf(points), flat = scale.indexOf(0), wide = scale.findIndex((each) => !Number.isFinite(each));
  if (flat >= 0) throw new Error(`${names[flat]} should vary, but all of its ${points.length / 2} values are equal: choose another column.`);
  if (wide >= 0) throw new Error(`${names[wide]} should have a finite standard deviation, but its numbers are too large to be squared: divide them first.`);
  return { title, recipe, names, points, n: points.length / 2, mixture };
}

export function densityRows(name, n, seed) {
  const { label, noise, centres: make } = DENSITIES[name], centres = make();
  return rows(label, { kind: "density", name, n, seed }, ["x", "y"], drawn(centres, noise, n, stream(seed, `rows/${name}`)), { centres, noise });
}

export function drawnRows(points, n, seed) {
  if (points.length < 2) throw new Error("A drawing should have at least two points: draw some more.");
  const centres = Float64Array.from(points.flat());
  return rows("A drawing", { kind: "points", points, n, seed }, ["x", "y"], drawn(centres, DRAWN_NOISE, n, stream(seed, "rows/drawing")), { centres, noise: DRAWN_NOISE });
}

export function tableRows(file, names, points) {
  return rows(file, { kind: "table", file, names }, names, points);
}

// New rows of a known density, or null.
export function newRows(data, n, random) {
  return data.mixture && drawn(data.mixture.centres, data.mixture.noise, n, random);
}

// The cells of a text table by RFC 4180; the separator is the one that the first line has most of.
export function parseTable(text) {
  const first = text.slice(0, text.search(/[\r\n]|$/)), separator = [",", ";", "\t"].reduce((best, sign) => (first.split(sign).length > first.split(best).length ? sign : best));
  const lines = [[]];
  let cell = "", quoted = false;
  const end = () => { lines.at(-1).push(cell); cell = ""; };
  for (let i = 0; i < text.length; i += 1) {
    const sign = text[i];
    if (quoted && sign === '"' && text[i + 1] === '"') { cell += sign; i += 1; }
    else if (sign === '"' && (quoted || cell === "")) quoted = !quoted;
    else if (!quoted && sign === separator) end();
    else if (!quoted && (sign === "\n" || sign === "\r")) {
      if (sign === "\r" && text[i + 1] === "\n") i += 1;
      end();
      lines.push([]);
    } else cell += sign;
  }
  if (quoted) throw new Error("A quoted cell of the file has no end: close its quote.");
  end();
  return { separator, lines: lines.filter((line) => line.length > 1 || line[0].trim() !== "") };
}

const isNumber = (cell) => cell.trim() !== "" && Number.isFinite(Number(cell));

// A file's columns of numbers: {file, columns: [{name, values}], n}; rows with an empty cell are left out later.
export function readTable(file, text) {
  const { separator, lines } = parseTable(text.replace(/^\uFEFF/, ""));
  if (lines.length < 3) throw new Error(`${file} should have a line of names and at least two rows, but has ${lines.length} line${lines.length === 1 ? "" : "s"}: choose another file.`);
  const decimals = (cell) => (separator === ";" ? cell.replace(",", ".") : cell), hasNames = !lines[0].every((cell) => isNumber(decimals(cell)));
  const given = lines[0].map((name, j) => (hasNames && name.trim()) || `column ${j + 1}`);
  const names = given.map((name, j) => (given.indexOf(name) < j ? `${name} (column ${j + 1})` : name)); // each its own
  const body = lines.slice(hasNames ? 1 : 0).map((line) => line.map(decimals));
  const columns = names.map((name, j) => ({ name, values: body.map((line) => (isNumber(line[j] ?? "") ? Number(line[j]) : NaN)) }));
  // A column of texts has hardly a number; gaps in a column of numbers are few.
  const numbers = columns.filter(({ values }) => values.filter(Number.isFinite).length >= 0.5 * values.length);
  if (numbers.length < 2) throw new Error(`${file} should have two columns of numbers, but has ${numbers.length}: choose a file with more.`);
  return { file, columns: numbers, n: body.length };
}

// The rows of two columns that have both numbers; the first 10,000 of them.
export function chooseColumns({ file, columns, n }, first, second) {
  const [x, y] = [first, second].map((name) => columns.find((column) => column.name === name));
  if (!x || !y) throw new Error(`${x ? second : first} is no column of ${file}, which was opened last: choose the file again.`);
  if (first === second) throw new Error(`Two different columns should be chosen, but got ${first} twice: choose another.`);
  const whole = x.values.map((value, i) => [value, y.values[i]]).filter((pair) => pair.every(Number.isFinite)), taken = whole.slice(0, MOST_ROWS);
  if (taken.length < 20) throw new Error(`${first} and ${second} should have 20 rows with both numbers, but have ${taken.length}: choose other columns.`);
  const notes = [];
  if (whole.length < n) notes.push(`Rows with a gap are left out: ${n - whole.length}.`);
  if (taken.length < whole.length) notes.push(`The first ${MOST_ROWS.toLocaleString("en")} of ${whole.length.toLocaleString("en")} rows are taken.`);
  return { ...tableRows(file, [first, second], Float64Array.from(taken.flat())), notes };
}
