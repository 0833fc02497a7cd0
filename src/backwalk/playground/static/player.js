// The slider's position, and playing.
import { byId, reducedMotion } from "./dom.js";
import { change, remember, state } from "./state.js";

const SECONDS = 7; // from end to end
const SLOWER = 5;
const REST = 1500; // milliseconds at the end, before it plays again
const ROUNDS = 4; // that the page plays when it opens

export const player = { playing: false, slow: false, draw: () => {}, states: () => 2 };
let last = null;
let resting = 0;
let wanted = false;
let rounds = Infinity; // left to play

// Draws once before the next frame, however often it is asked for.
export function redraw() {
  if (wanted || player.playing) return;
  wanted = true;
  requestAnimationFrame(() => {
    wanted = false;
    player.draw();
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
  const seconds = last === null ? 0 : Math.min(0.1, (now - last) / 1000);
  last = now;
  if (resting > now) {
    player.draw();
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
    player.draw();
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

export function startPlayer() {
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
}

// Plays a few rounds when the page opens, but for people who ask for less motion.
export function playFirst() {
  change({ p: reducedMotion() ? 0.35 : 1 });
  if (reducedMotion()) redraw();
  else play(ROUNDS);
}
