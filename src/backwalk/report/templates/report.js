(() => {
  "use strict";
  const frames = JSON.parse(document.getElementById("frames").textContent);
  const level = document.getElementById("level");
  const play = document.getElementById("play");
  const unpack = (text) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    return Array.from({ length: bytes.length / 2 }, (_, i) => view.getUint16(2 * i, true) / 65535);
  };
  const sides = [["forward", "--blue"], ["backward", "--red"]].map(([name, color]) => ({
    canvas: document.getElementById(name), points: unpack(frames[name]), color,
  }));

  function draw() {
    const k = Number(level.value), style = getComputedStyle(document.documentElement);
    for (const { canvas, points, color } of sides) {
      const ratio = window.devicePixelRatio || 1, size = Math.round(canvas.clientWidth * ratio);
      if (canvas.width !== size) canvas.width = canvas.height = size;
      const pen = canvas.getContext("2d"), radius = Math.max(1.1, canvas.clientWidth / 260) * ratio;
      pen.clearRect(0, 0, size, size);
      pen.fillStyle = style.getPropertyValue(color);
      pen.globalAlpha = 0.6;
      for (let i = 2 * frames.n * k; i < 2 * frames.n * (k + 1); i += 2) {
        pen.beginPath();
        pen.arc(points[i] * size, (1 - points[i + 1]) * size, radius, 0, 7);
        pen.fill();
      }
    }
    const snr = frames.log_snr[k] === null ? "∞" : frames.log_snr[k].toFixed(2).replace("-", "−");
    const text = `t = ${frames.t[k]} · ${(100 * frames.alpha_bar[k]).toFixed(1)} % signal · log-SNR ${snr}`;
    document.getElementById("reading").textContent = text;
    level.setAttribute("aria-valuetext", text);
  }

  let timer = null;
  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play backward";
  }
  play.addEventListener("click", () => {
    if (timer !== null) return stop();
    if (Number(level.value) === 0) level.value = level.max;
    play.textContent = "Stop";
    timer = setInterval(() => {
      level.value = Number(level.value) - 1;
      draw();
      if (Number(level.value) === 0) stop();
    }, 140);
  });
  level.addEventListener("input", () => { stop(); draw(); });
  window.addEventListener("resize", draw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  document.body.classList.add("scripted");
  document.getElementById("chain").hidden = false;
  draw();
})();
