// A board to draw a density on, by pointer or by keys.
import { el, say } from "./dom.js";
import { color } from "./paint.js";

export const MOST_POINTS = 600; // so many still fit into a link
const REACH = 2; // the board is [-2, 2] x [-2, 2]

export class Board {
  constructor() {
    this.points = [];
    this.at = [0, 0];
    this.canvas = el("canvas", { id: "board", tabindex: "0", role: "application",
      "aria-label": "Drawing board. Arrow keys move the pen, space draws, backspace takes points away." });
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      this.down = true;
      this.spray(event);
    });
    this.canvas.addEventListener("pointermove", (event) => this.down && this.spray(event));
    for (const name of ["pointerup", "pointercancel"]) this.canvas.addEventListener(name, () => { this.down = false; });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  spray(event) {
    const box = this.canvas.getBoundingClientRect();
    this.put([((event.clientX - box.left) / box.width * 2 - 1) * REACH, (1 - (event.clientY - box.top) / box.height * 2) * REACH]);
  }

  put([x, y]) {
    if (this.points.length >= MOST_POINTS) return;
    const keep = (value) => Math.round(Math.min(REACH, Math.max(-REACH, value)) * 100) / 100;
    this.points.push([keep(x), keep(y)]);
    this.draw();
    this.canvas.dispatchEvent(new Event("drawn"));
  }

  key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if (moves[event.key]) {
      this.at = this.at.map((value, i) => Math.min(REACH, Math.max(-REACH, value + 0.1 * moves[event.key][i])));
      this.shown = true;
      this.draw();
    } else if (event.key === " ") this.put(this.at);
    else if (event.key === "Backspace") {
      this.points.pop();
      this.draw();
      this.canvas.dispatchEvent(new Event("drawn"));
    } else return;
    event.preventDefault();
    say(`Pen at ${this.at.map((v) => v.toFixed(1)).join(", ")}; ${this.points.length} points.`);
  }

  clear() {
    this.points = [];
    this.draw();
    this.canvas.dispatchEvent(new Event("drawn"));
  }

  draw() {
    const size = this.canvas.clientWidth, ratio = Math.min(2, window.devicePixelRatio || 1);
    if (!size) return;
    this.canvas.width = this.canvas.height = Math.round(size * ratio);
    const pen = this.canvas.getContext("2d"), place = ([x, y]) => [((x / REACH + 1) / 2) * size, ((1 - y / REACH) / 2) * size];
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.fillStyle = color("--forward");
    for (const point of this.points) {
      pen.beginPath();
      pen.arc(...place(point), 3, 0, 7);
      pen.fill();
    }
    if (!this.points.length) {
      pen.fillStyle = color("--soft");
      pen.font = `14px ${getComputedStyle(document.body).fontFamily}`;
      pen.textAlign = "center";
      pen.fillText("Draw a shape here", size / 2, size / 2);
    }
    if (this.shown) {
      const [x, y] = place(this.at);
      pen.strokeStyle = color("--ink");
      pen.strokeRect(x - 6, y - 6, 12, 12);
    }
  }

  // As text for a link, and back: two numbers of 0..400 a point.
  get text() {
    return this.points.flat().map((value) => Math.round((value + REACH) * 100).toString(36).padStart(2, "0")).join("");
  }

  set text(text) {
    const values = (text.match(/../g) || []).map((pair) => parseInt(pair, 36) / 100 - REACH).filter(Number.isFinite);
    this.points = [];
    for (let i = 0; i + 1 < values.length && this.points.length < MOST_POINTS; i += 2) this.points.push([values[i], values[i + 1]]);
    this.draw();
  }
}
