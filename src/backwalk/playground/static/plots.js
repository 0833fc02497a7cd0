// Fields and maps on small square canvases, and under the points of the picture.
import { el } from "./dom.js";
import { color, rgb } from "./paint.js";

// A square canvas that repaints itself when it, or the scheme of colors, changes.
export class Plot {
  constructor(label) {
    this.canvas = el("canvas", { role: "img", "aria-label": label });
    this.caption = el("figcaption", {}, label);
    this.root = el("figure", { class: "plot" }, this.canvas, this.caption);
    this.paint = null;
    new ResizeObserver(() => this.repaint()).observe(this.canvas);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.repaint());
  }

  show(paint) {
    this.paint = paint;
    this.repaint();
  }

  repaint() {
    const size = this.canvas.clientWidth, ratio = Math.min(2, window.devicePixelRatio || 1);
    if (!size) return;
    this.canvas.width = this.canvas.height = Math.round(size * ratio);
    const pen = this.canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (this.paint) this.paint(pen, size);
  }
}

function lengths(grid) {
  return Float32Array.from({ length: grid.length / 2 }, (_, i) => Math.hypot(grid[2 * i], grid[2 * i + 1]));
}

// The length that becomes a whole cell: most arrows are shorter, and longer ones are cut.
export function usualLength(grid) {
  const sorted = lengths(grid).filter(Number.isFinite).sort();
  return sorted[Math.floor(0.8 * (sorted.length - 1))] || 1;
}

// Arrows of a (k, k, 2) grid, row 0 at the bottom, on a square of `size` pixels.
export function arrows(pen, size, grid, k, { scale, ink, opacity = 1 }) {
  const cell = size / k, gap = size / (k - 1);
  pen.strokeStyle = pen.fillStyle = color(ink);
  pen.globalAlpha = opacity;
  pen.lineWidth = size > 300 ? 1.3 : 1;
  for (let j = 0; j < k; j += 1) {
    for (let i = 0; i < k; i += 1) {
      const u = grid[2 * (j * k + i)], v = grid[2 * (j * k + i) + 1], length = Math.hypot(u, v);
      if (!(length > 0)) continue;
      const reach = 0.95 * cell * Math.min(1, length / scale) ** 0.6, x = i * gap, y = size - j * gap; // short arrows stay visible
      const dx = (u / length) * reach, dy = (-v / length) * reach, head = Math.min(4, 0.35 * reach + 1);
      const angle = Math.atan2(dy, dx), tipX = x + dx / 2, tipY = y + dy / 2;
      pen.beginPath();
      pen.moveTo(x - dx / 2, y - dy / 2);
      pen.lineTo(tipX, tipY);
      pen.moveTo(tipX - head * Math.cos(angle - 0.5), tipY - head * Math.sin(angle - 0.5));
      pen.lineTo(tipX, tipY);
      pen.lineTo(tipX - head * Math.cos(angle + 0.5), tipY - head * Math.sin(angle + 0.5));
      pen.stroke();
    }
  }
  pen.globalAlpha = 1;
}

function mixed(from, to, share) {
  return `rgb(${from.map((value, i) => Math.round(value + share * (to[i] - value))).join(" ")})`;
}

// A map of values from 0, the panel's color, to 1, orange. NaN stays blank.
export function heat(pen, size, values, k) {
  const zero = rgb(color("--panel")), one = rgb(color("--backward")), cell = size / (k - 1);
  for (let j = 0; j < k; j += 1) {
    for (let i = 0; i < k; i += 1) {
      const value = values[j * k + i];
      if (!Number.isFinite(value)) continue;
      pen.fillStyle = mixed(zero, one, Math.min(1, value));
      pen.fillRect((i - 0.5) * cell, size - (j + 0.5) * cell, cell + 0.5, cell + 0.5);
    }
  }
}
