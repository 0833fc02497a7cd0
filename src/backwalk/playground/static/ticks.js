// Round numbers between two ends, about as many as asked for.
export function niceTicks(low, high, about = 4) {
  const span = high - low || 1, raw = span / about, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((k) => k * power).find((size) => size >= raw * (1 - 1e-9));
  const ticks = [];
  for (let value = Math.ceil(low / step) * step; value <= high + 1e-9 * span; value += step) ticks.push(Number(value.toPrecision(12)) + 0); // no -0
  return ticks;
}
