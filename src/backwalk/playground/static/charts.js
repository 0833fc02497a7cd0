// Small charts in SVG. Each is an image with a name; the numbers stand in a table beside it.
import { number, svg } from "./dom.js";
import { niceTicks } from "./ticks.js";

const USUAL_WIDTH = 460;
const LEFT = 46;

// As few digits as tell the ticks apart.
function texts(ticks) {
  const of = (digits) => ticks.map((tick) => number(tick, digits));
  return of([3, 4, 5, 6, 7].find((digits) => new Set(of(digits)).size === ticks.length) ?? 8);
}

function frame(label, height, [x0, x1], [y0, y1], xName, yName, width = USUAL_WIDTH) {
  const right = width - 20, top = 20, bottom = height - 38;
  const x = (value) => LEFT + ((value - x0) / (x1 - x0 || 1)) * (right - LEFT);
  const y = (value) => bottom - ((value - y0) / (y1 - y0 || 1)) * (bottom - top);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img", "aria-label": label });
  const rows = niceTicks(y0, y1), rowTexts = texts(rows), columns = niceTicks(x0, x1, width / 60), columnTexts = texts(columns);
  rows.forEach((tick, i) => {
    root.append(svg("line", { x1: LEFT, x2: right, y1: y(tick), y2: y(tick), class: "grid" }),
      svg("text", { x: LEFT - 6, y: y(tick) + 4, class: "tick end" }, rowTexts[i]));
  });
  columns.forEach((tick, i) => root.append(svg("text", { x: x(tick), y: bottom + 16, class: "tick middle" }, columnTexts[i])));
  root.append(svg("text", { x: (LEFT + right) / 2, y: height - 4, class: "axis middle" }, xName),
    svg("text", { x: 4, y: 11, class: "axis" }, yName));
  return { root, x, y, bottom, top, right };
}

function extent(values) {
  const finite = values.filter(Number.isFinite);
  return finite.length ? [Math.min(...finite), Math.max(...finite)] : [0, 1];
}

// Lines: series is a list of {name, class, points: [[x, y]...]}.
export function lineChart(label, series, xName, yName, { height = 220, low = null, width = USUAL_WIDTH } = {}) {
  const all = series.flatMap((line) => line.points);
  const [x0, x1] = extent(all.map((point) => point[0]));
  const sorted = all.map((point) => point[1]).filter(Number.isFinite).sort((a, b) => a - b);
  const y0 = low ?? sorted[0] ?? 0, y1 = sorted[Math.floor((low === null ? 0.985 : 1) * (sorted.length - 1))] ?? 1, room = 0.06 * (y1 - y0 || 1);
  const { root, x, y, right } = frame(label, height, [x0, x1], [y0 - (low === null ? room : 0), y1 + room], xName, yName, width);
  const top = y(y1 + room);
  series.forEach((line, i) => {
    const points = line.points.filter((point) => Number.isFinite(point[1]));
    const path = points.map((point) => `${x(point[0]).toFixed(1)},${Math.max(top, y(point[1])).toFixed(1)}`).join(" ");
    root.append(svg("polyline", { points: path, class: `line ${line.class}` }),
      svg("text", { x: right, y: 12 + 15 * i, class: `name end ${line.class}` }, line.name));
  });
  return root;
}

// One bar for each of `terms`, {k, value}. The scale is that of all but the first and the last, which are cut beyond it.
export function barChart(label, terms, xName, yName, { height = 220, lit = null } = {}) {
  const inner = terms.slice(1, -1).map((term) => term.value), most = Math.max(...inner, 0), least = Math.min(...inner, 0), room = 0.08 * (most - least || 1);
  const first = terms[0].k, last = terms[terms.length - 1].k;
  const { root, x, y } = frame(label, height, [first - 0.5, last + 0.5], [least - room, most + room], xName, yName);
  const width = Math.max(0.8, (x(1) - x(0)) * 0.84);
  const shownLast = terms.filter((term) => term.k === lit);
  for (const { k, value } of [...terms.filter((term) => term.k !== lit), ...shownLast]) {
    const wide = k === lit ? Math.max(3, width) : width, end = y(Math.min(most + room, Math.max(least - room, value)));
    const bar = svg("rect", { x: x(k) - wide / 2, width: wide, y: Math.min(y(0), end), height: Math.max(0.5, Math.abs(end - y(0))),
      class: k === lit ? "bar lit" : "bar" });
    bar.append(svg("title", {}, `L_${k}: ${number(value)} nats`));
    root.append(bar);
  }
  return root;
}
