// One picture of a chain: what lies under the points, the points, and trails and marks over them.
import { el, number } from "./dom.js";
import { Raster, color } from "./paint.js";
import { niceTicks } from "./ticks.js";

const N_TRAILS = 12;
const TAIL = 0.3; // of the chain, that a trail shows
const INKS = { forward: "--forward", backward: "--backward", estimate: "--s-x0" };
const LARGEST = 1100; // pixels of the points' canvas; beyond it the eye gains nothing

// The cloud that rows are followed in.
function cloudOf(side) {
  return side === "both" ? "backward" : side;
}

// The states of a chain and the places between them. Position 0 is data, 1 is noise.
export class Chain {
  constructor({ header, t, log_snr: logSnr, alpha_bar: alphaBar, forward, backward, x_0_hat: estimate }) {
    Object.assign(this, { header, t, alphaBar, forward, backward, estimate });
    this.logSnr = Array.from(logSnr, (value) => (Math.abs(value) > 1e8 ? Math.sign(value) * Infinity : value));
    [this.k, this.n] = backward.shape;
  }

  index(p) {
    return Math.round(p * (this.k - 1));
  }

  // The place of a row among those that are shown, or -1; and the row at a place.
  placeOf(row) {
    return this.header.rows ? this.header.rows.indexOf(row) : row;
  }

  rowOf(place) {
    return this.header.rows ? this.header.rows[Math.min(place, this.n - 1)] : place;
  }

  // Small tables have fewer real rows than rows are drawn.
  size(name) {
    return this[name].shape[1];
  }

  // The states around a position, as views of one cloud, and the share of the way from the first to the second.
  around(name, p) {
    const place = p * (this.k - 1), i = Math.min(Math.floor(place), Math.max(0, this.k - 2)), size = 2 * this.size(name);
    const next = Math.min(i + 1, this.k - 1), cloud = this[name];
    return [cloud.subarray(i * size, (i + 1) * size), cloud.subarray(next * size, (next + 1) * size), place - i];
  }

  // A row's place in a state, in encoded units.
  at(name, i, row) {
    const [x0, x1, y0, y1] = this.header.limits, place = 2 * (i * this.size(name) + row), cloud = this[name];
    return [x0 + (cloud[place] / 65535) * (x1 - x0), y0 + (cloud[place + 1] / 65535) * (y1 - y0)];
  }

  between(name, p, row) {
    const place = p * (this.k - 1), i = Math.min(Math.floor(place), Math.max(0, this.k - 2)), w = place - i;
    const a = this.at(name, i, row), b = this.at(name, Math.min(i + 1, this.k - 1), row);
    return [a[0] + w * (b[0] - a[0]), a[1] + w * (b[1] - a[1])];
  }
}

export class Stage {
  constructor(label) {
    this.under = el("canvas", { "aria-hidden": "true" });
    this.points = el("canvas", { "aria-hidden": "true" });
    this.over = el("canvas", { "aria-hidden": "true" });
    this.view = el("div", { class: "view", role: "img", "aria-label": label }, this.under, this.points, this.over);
    this.caption = el("figcaption", {});
    this.root = el("figure", { class: "stage" }, this.view, this.caption);
    this.raster = new Raster(this.points);
    this.chain = null;
    this.underLook = [];
    this.snapshot = null; // {samples, limits, axes, ink}: rows in the chain's place
    this.background = null; // a function (pen, place, size) that draws under the points
    this.marks = [];
    this.lit = null;
    this.faded = false;
    this.isStandardised = false; // whether ticks are in encoded units
  }

  get limits() {
    return this.snapshot?.limits || this.chain?.header.limits || [-3, 3, -3, 3];
  }

  measure() {
    const size = this.view.clientWidth, ratio = Math.min(window.devicePixelRatio || 1, LARGEST / Math.max(1, size));
    this.ratio = ratio;
    this.size = size;
    const pixels = Math.max(1, Math.round(size * ratio));
    this.raster.resize(pixels, pixels);
    for (const canvas of [this.under, this.over]) {
      if (canvas.width !== pixels) canvas.width = canvas.height = pixels;
    }
  }

  // Encoded units to pixels of the page.
  place([x, y]) {
    const [x0, x1, y0, y1] = this.limits;
    return [((x - x0) / (x1 - x0)) * this.size, (1 - (y - y0) / (y1 - y0)) * this.size];
  }

  draw(p, side, { trails = false, row = null } = {}) {
    this.measure();
    this.drawUnder();
    this.drawPoints(p, side);
    this.drawOver(p, side, trails, row);
  }

  pen(canvas) {
    const pen = canvas.getContext("2d");
    pen.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    pen.clearRect(0, 0, this.size, this.size);
    return pen;
  }

  // Names and ticks, in the data's units or as the chain computes.
  axes() {
    const axes = (this.snapshot ?? this.chain?.header)?.axes, [x0, x1, y0, y1] = this.limits;
    if (!axes || !this.isStandardised) return axes;
    return axes.map(({ name }, k) => ({ name: `${name}, standardised`, ticks: niceTicks(...(k ? [y0, y1] : [x0, x1]), 6).map((at) => ({ at, label: number(at) })) }));
  }

  // What lies under the points, drawn again where it differs from the last time.
  drawUnder() {
    const look = [this.size, this.ratio, this.snapshot, this.chain, this.background, this.isStandardised, color("--grid")];
    if (look.every((each, i) => each === this.underLook[i])) return;
    this.underLook = look;
    const pen = this.pen(this.under), axes = this.axes(), { size } = this;
    const across = axes ? axes[0].ticks.map(({ at, label }) => [this.place([at, 0])[0], label]).filter(([at]) => at > 18 && at < size - 18) : [];
    const up = axes ? axes[1].ticks.map(({ at, label }) => [this.place([0, at])[1], label]).filter(([at]) => at > 34 && at < size - 24) : [];
    pen.strokeStyle = color("--grid");
    pen.lineWidth = 1;
    for (const [at] of across) this.line(pen, at, 0, at, size);
    for (const [at] of up) this.line(pen, 0, at, size, at);
    if (this.background) this.background(pen, (point) => this.place(point), size);
    if (!axes) return;
    const family = getComputedStyle(document.body).fontFamily, short = (name) => (name.length > 28 ? `${name.slice(0, 27)}…` : name);
    pen.font = `11px ${family}`;
    for (const [at, text] of across) this.write(pen, text.replace("-", "−"), at, size - 6, "center");
    for (const [at, text] of up) this.write(pen, text.replace("-", "−"), 6, at - 4, "left");
    pen.font = `600 11px ${family}`;
    this.write(pen, short(axes[1].name), 6, 14, "left");
    this.write(pen, short(axes[0].name), size - 8, size - 20, "right");
  }

  // Text that can be read over arrows.
  write(pen, text, x, y, align, ink = "--soft") {
    pen.textAlign = align;
    pen.lineWidth = 4;
    pen.strokeStyle = color("--panel");
    pen.strokeText(text, x, y);
    pen.fillStyle = color(ink);
    pen.fillText(text, x, y);
  }

  line(pen, x0, y0, x1, y1) {
    pen.beginPath();
    pen.moveTo(x0, y0);
    pen.lineTo(x1, y1);
    pen.stroke();
  }

  drawPoints(p, side) {
    const n = this.snapshot ? this.snapshot.samples.length / 2 : this.chain?.n || 0;
    if (!n) return this.raster.clear();
    const size = Math.max(1, this.size / 520), radius = (n > 6000 ? 0.8 : n > 1500 ? 1.25 : 1.8) * size * this.ratio;
    const strength = (n > 6000 ? 0.34 : n > 1500 ? 0.5 : 0.66) * (this.faded ? 0.5 : 1);
    if (this.snapshot) {
      this.raster.add(0, this.snapshot.samples, this.snapshot.samples, 0, n, radius);
      this.raster.show([color(this.snapshot.ink)], strength);
    } else if (side === "both") {
      this.raster.add(0, ...this.chain.around("forward", p), this.chain.size("forward"), radius);
      this.raster.add(1, ...this.chain.around("backward", p), n, radius);
      this.raster.show([color(INKS.forward), color(INKS.backward)], strength);
    } else {
      this.raster.add(0, ...this.chain.around(side, p), this.chain.size(side), radius);
      this.raster.show([color(INKS[side])], strength);
    }
    return undefined;
  }

  drawOver(p, side, trails, row) {
    const pen = this.pen(this.over);
    if (!this.chain || this.snapshot) return;
    const name = cloudOf(side);
    if (trails) {
      pen.lineWidth = 1.4;
      pen.lineJoin = "round";
      const others = row === null ? Math.min(N_TRAILS, this.chain.size(name)) : 0;
      for (let r = 0; r < others; r += 1) this.trail(pen, name, p, r, "--trail-ink");
    }
    const at = row === null ? -1 : this.chain.placeOf(row);
    if (at >= 0 && at < this.chain.size(name)) {
      pen.lineWidth = 1.8;
      if (trails) this.trail(pen, name, p, at, "--ink");
      if (!this.marks.length) this.ring(pen, this.place(this.chain.between(name, p, at)), color("--ink"), 6);
    }
    this.drawMarks(pen);
  }

  // A step is often too short to see: then a round window shows its marks enlarged.
  drawMarks(pen) {
    const [x0, x1] = this.limits, near = this.marks.filter((mark) => mark.isNear), current = this.marks.find((mark) => mark.symbol === "x_t");
    const reach = 1.35 * Math.max(0, ...near.map(({ at, radius = 0 }) => Math.hypot(at[0] - current.at[0], at[1] - current.at[1]) + radius));
    const lens = 0.18 * this.size, enlarged = near.length && reach > 0 && (reach / (x1 - x0)) * this.size < 0.42 * lens;
    const outside = [], inside = [];
    for (const mark of this.marks) if (!enlarged || !mark.isNear || mark.symbol === "x_t") outside.push(this.mark(pen, mark, (at) => this.place(at), 1));
    if (!enlarged) {
      this.drawLabels(pen, outside, (box) => box.left > 2 && box.right < this.size - 2 && box.top > 2 && box.bottom < this.size - 2);
      return;
    }
    // The lens covers no name and no tick of an axis.
    const [x, y] = this.place(current.at), center = [x > this.size / 2 ? lens + 40 : this.size - lens - 14, lens + 24], zoom = lens / reach;
    const place = (at) => [center[0] + (at[0] - current.at[0]) * zoom, center[1] - (at[1] - current.at[1]) * zoom];
    const small = (reach / (x1 - x0)) * this.size, angle = Math.atan2(center[1] - y, center[0] - x);
    pen.strokeStyle = color("--trail");
    pen.lineWidth = 1;
    pen.beginPath();
    pen.arc(x, y, Math.max(small, 7), 0, 7);
    pen.stroke();
    this.line(pen, x + Math.cos(angle) * Math.max(small, 7), y + Math.sin(angle) * Math.max(small, 7), center[0] - Math.cos(angle) * lens, center[1] - Math.sin(angle) * lens);
    pen.save();
    pen.fillStyle = color("--page");
    pen.beginPath();
    pen.arc(...center, lens, 0, 7);
    pen.fill();
    pen.stroke();
    pen.clip();
    for (const mark of this.marks) if (mark.isNear || mark.symbol === "eps_theta") inside.push(this.mark(pen, mark, place, zoom));
    pen.restore();
    const away = (left, top) => Math.hypot(left - center[0], top - center[1]);
    const corners = ({ left, right, top, bottom }) => [away(left, top), away(right, top), away(left, bottom), away(right, bottom)];
    this.drawLabels(pen, inside.filter(({ symbol }) => symbol !== "eps_theta"), (box) => Math.max(...corners(box)) < lens - 3);
    this.drawLabels(pen, outside, (box) => box.left > 2 && box.right < this.size - 2 && box.top > 2 && box.bottom < this.size - 2 && Math.min(...corners(box)) > lens + 3);
  }

  // Writes the labels of marks where they cover no mark and no other label, as near to the asked side as can be.
  drawLabels(pen, labels, isInside) {
    const taken = labels.filter(({ isDot }) => isDot).map(({ spot: [x, y] }) => ({ left: x - 7, right: x + 7, top: y - 7, bottom: y + 7 }));
    const overlap = (a, b) => Math.max(0, Math.min(a.right, b.right) - Math.max(a.left, b.left)) * Math.max(0, Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top));
    for (const { text, ink, anchor: [x, y], towards: [dx, dy], isLit, isDim } of labels) {
      pen.font = `italic ${isLit ? "600 " : ""}15px "STIX Two Math", "Cambria Math", "Latin Modern Math", Georgia, "DejaVu Serif", serif`;
      const half = pen.measureText(text).width / 2, asked = Math.atan2(dy, dx);
      let best = null, least = Infinity;
      for (const reach of [8, 18, 28]) {
        for (const turn of [0, 0.6, -0.6, 1.2, -1.2, 1.9, -1.9, 2.5, -2.5, Math.PI]) {
          const u = Math.cos(asked + turn), v = Math.sin(asked + turn), middle = [x + u * (reach + half), y + v * (reach + 7)];
          const box = { left: middle[0] - half, right: middle[0] + half, top: middle[1] - 8, bottom: middle[1] + 8 };
          const cost = taken.reduce((sum, other) => sum + overlap(box, other), 0) + (isInside(box) ? 0 : 1e4) + Math.abs(turn) + reach / 10;
          if (cost < least) [best, least] = [box, cost];
        }
      }
      taken.push(best);
      pen.globalAlpha = isDim ? 0.3 : 1;
      this.write(pen, text, best.left + half, best.bottom - 4, "center", ink);
    }
    pen.globalAlpha = 1;
  }

  // The last part of the way that a row has come, which fades.
  trail(pen, name, p, row, ink) {
    const last = this.chain.k - 1, now = p * last, way = name === "forward" ? -1 : 1;
    const reach = Math.max(2, TAIL * last), places = [];
    for (let i = way > 0 ? Math.ceil(now) : Math.floor(now); i >= 0 && i <= last && Math.abs(i - now) <= reach; i += way) places.push(i);
    pen.strokeStyle = pen.fillStyle = color(ink);
    let from = this.place(this.chain.between(name, p, row));
    const [x, y] = from;
    for (const i of places) {
      const to = this.place(this.chain.at(name, i, row));
      pen.globalAlpha = 0.8 * Math.max(0, 1 - Math.abs(i - now) / reach) ** 1.5;
      this.line(pen, ...from, ...to);
      from = to;
    }
    pen.globalAlpha = 1;
    pen.beginPath();
    pen.arc(x, y, 3, 0, 7);
    pen.fill();
  }

  ring(pen, [x, y], ink, radius) {
    pen.strokeStyle = ink;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(x, y, radius, 0, 7);
    pen.stroke();
  }

  // Draws a mark, and returns what its label needs. A mark is {symbol, text, at, shape: "point" | "arrow" | "circle", ink, from?, radius?, label: [dx, dy], isNear}; `place` maps to pixels.
  mark(pen, { symbol, text, at, shape, ink, from, radius, label }, place, zoom) {
    const lit = this.lit === symbol, dim = this.lit !== null && !lit;
    pen.globalAlpha = dim ? 0.3 : 1;
    pen.strokeStyle = pen.fillStyle = color(ink);
    const [x, y] = place(at);
    pen.lineWidth = lit ? 3 : 2;
    if (shape === "arrow") {
      const [u, v] = place(from), angle = Math.atan2(y - v, x - u), head = lit ? 10 : 8;
      this.line(pen, u, v, x, y);
      if (Math.hypot(x - u, y - v) > 4) {
        pen.beginPath();
        pen.moveTo(x, y);
        pen.lineTo(x - head * Math.cos(angle - 0.45), y - head * Math.sin(angle - 0.45));
        pen.lineTo(x - head * Math.cos(angle + 0.45), y - head * Math.sin(angle + 0.45));
        pen.fill();
      }
    } else if (shape === "circle") {
      const [x0, x1, y0, y1] = this.limits;
      pen.setLineDash([4, 4]);
      pen.beginPath();
      if (zoom === 1) pen.ellipse(x, y, (radius / (x1 - x0)) * this.size, (radius / (y1 - y0)) * this.size, 0, 0, 7);
      else pen.arc(x, y, radius * zoom, 0, 7);
      pen.stroke();
      pen.setLineDash([]);
    } else {
      pen.beginPath();
      pen.arc(x, y, lit ? 7 : 5, 0, 7);
      pen.fill();
      pen.strokeStyle = color("--page");
      pen.lineWidth = 1.5;
      pen.stroke();
    }
    pen.globalAlpha = 1;
    const anchor = shape === "arrow" ? [(x + place(from)[0]) / 2, (y + place(from)[1]) / 2] : [x, y];
    if (shape === "circle") { // its label stands on the ring, away from the marks inside
      const reach = 0.7 * (zoom === 1 ? (radius / (this.limits[1] - this.limits[0])) * this.size : radius * zoom);
      anchor[0] += reach;
      anchor[1] += reach;
    }
    return { symbol, text, ink, anchor, towards: label, spot: [x, y], isDot: shape === "point", isLit: lit, isDim: dim };
  }

  // Which cells of a (k, k) grid have rows of a cloud in or beside them.
  occupied(name, p, k) {
    const [now] = this.chain.around(name, this.chain.index(p) / (this.chain.k - 1)), found = new Uint8Array(k * k), to = (value) => Math.round((value / 65535) * (k - 1));
    for (let i = 0; i < now.length; i += 2) {
      const x = to(now[i]), y = to(now[i + 1]);
      for (let v = Math.max(0, y - 1); v <= Math.min(k - 1, y + 1); v += 1) for (let u = Math.max(0, x - 1); u <= Math.min(k - 1, x + 1); u += 1) found[v * k + u] = 1;
    }
    return found;
  }

  // The row whose point is nearest to a place on the screen.
  nearest(p, side, left, top) {
    const [now, next, w] = this.chain.around(cloudOf(side), p);
    const x = (left / this.size) * 65535, y = (1 - top / this.size) * 65535;
    let best = 0, least = Infinity;
    for (let i = 0; i < now.length; i += 2) {
      const dx = now[i] + w * (next[i] - now[i]) - x, dy = now[i + 1] + w * (next[i + 1] - now[i + 1]) - y;
      const distance = dx * dx + dy * dy;
      if (distance < least) [best, least] = [i / 2, distance];
    }
    return this.chain.rowOf(best);
  }
}
