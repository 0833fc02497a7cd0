// The slider's position, playing, and the times of frames.
import { byId, reducedMotion } from "./dom.js";
import { change, remember, state } from "./state.js";

const SECONDS = 7; // from end to end
const SLOWER = 5;
const REST = 1500; // milliseconds at the end, before it plays again
const ROUNDS = 4; // that the page plays when it opens

export const player = { playing: false, slow: false, draw: () => {}, states: () => 2 };
const frames = [];
const drawn = [];
let last = null;
let resting = 0;
let wanted = false;
let rounds = Infinity; // left to play

// Mean and 95th percentile of the last 240 frames, in milliseconds, and the time that drawing itself took.
export function frameTimes() {
  const sorted = [...frames].sort((a, b) => a - b), mean = (values) => values.reduce((sum, v) => sum + v, 0) / (values.length || 1);
  return {
    n: frames.length, mean_ms: mean(frames), p95_ms: sorted[Math.floor(0.95 * (sorted.length - 1))] ?? 0,
    draw_ms: mean(drawn), frames_per_second: frames.length ? 1000 / mean(frames) : 0,
  };
}

export function resetFrameTimes() {
  frames.length = drawn.length = 0;
}

function record(values, value) {
  values.push(value);
  if (values.length > 240) values.shift();
}

function drawNow() {
  const start = performance.now();
  player.draw();
  record(drawn, performance.now() - start);
}

// Draws once before the next frame, however often it is asked for.
export function redraw() {
  if (wanted || player.playing) return;
  wanted = true;
  requestAnimationFrame(() => {
    wanted = false;
    drawNow();
  });
}

export function showPosition() {
  const slider = byId("level"), n = player.states();
  slider.max = String(n - 1);
  slider.value = String(Math.round(state.p * (n - 1)));
}

export function moveTo(p) {
  change({ p: Math.min(1, Math.max(0, p)) });
  showPosition();
  remember();
  redraw();
}

export function singleStep(way) {
  pause();
  const n = player.states();
  moveTo(Math.round(Math.min(n - 1, Math.max(0, state.p * (n - 1) + way))) / (n - 1));
}

function tick(now) {
  if (!player.playing) return undefined;
  if (last !== null) record(frames, now - last);
  const seconds = last === null ? 0 : Math.min(0.1, (now - last) / 1000);
  last = now;
  if (resting > now) {
    drawNow();
  } else {
    const way = state.side === "forward" ? 1 : -1;
    if (resting) {
      resting = 0;
      rounds -= 1;
      if (rounds <= 0) return pause();
      change({ p: way > 0 ? 0 : 1 });
    }
    const p = state.p + (way * seconds) / (SECONDS * (player.slow ? SLOWER : 1));
    change({ p: Math.min(1, Math.max(0, p)) });
    if (p <= 0 || p >= 1) resting = now + REST;
    showPosition();
    drawNow();
  }
  return requestAnimationFrame(tick);
}

export function play(most = Infinity) {
  if (player.playing) return;
  rounds = most;
  player.playing = true;
  last = null;
  resting = 0;
  const atEnd = state.side === "forward" ? state.p >= 1 : state.p <= 0;
  if (atEnd) change({ p: state.side === "forward" ? 0 : 1 });
  labelPlay();
  requestAnimationFrame(tick);
}

export function pause() {
  if (!player.playing) return;
  player.playing = false;
  labelPlay();
  remember();
  redraw();
}

function labelPlay() {
  byId("play").textContent = player.playing ? "Pause" : "Play";
  byId("play").setAttribute("aria-pressed", String(player.playing));
  document.body.classList.toggle("playing", player.playing);
}

export function startPlayer(moving) {
  const slider = byId("level");
  slider.addEventListener("input", () => {
    pause();
    moveTo(Number(slider.value) / (player.states() - 1));
  });
  byId("play").addEventListener("click", () => (player.playing ? pause() : play()));
  byId("step-data").addEventListener("click", () => singleStep(-1));
  byId("step-noise").addEventListener("click", () => singleStep(1));
  byId("slow").addEventListener("click", () => {
    player.slow = !player.slow;
    byId("slow").setAttribute("aria-pressed", String(player.slow));
  });
  document.addEventListener("visibilitychange", () => { last = null; });
  if (moving && !reducedMotion()) play(ROUNDS);
  else redraw();
}

window.backwalkFrames = frameTimes;
window.backwalkResetFrames = resetFrameTimes;
