// Random numbers that repeat: a stream for each seed and purpose. The generator is sfc32 (Doty-Humphrey's small fast
// counter), seeded by FNV-1a of the text "seed/purpose"; normal draws are those of Box and Muller.

export function stream(seed, purpose = "") {
  let h = 2166136261;
  for (const letter of `${seed}/${purpose}`) h = Math.imul(h ^ letter.codePointAt(0), 16777619);
  let a = h | 0, b = (h ^ 0x9e3779b9) | 0, c = Math.imul(h, 0x85ebca6b), d = 1;
  const bits = () => {
    const sum = (a + b + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return sum >>> 0;
  };
  for (let i = 0; i < 15; i += 1) bits();
  const uniform = () => (bits() + 0.5) / 4294967296;
  return {
    uniform,
    below: (n) => Math.floor(uniform() * n),
    normals(n) {
      const draws = new Float64Array(n);
      for (let i = 0; i < n; i += 2) {
        const r = Math.sqrt(-2 * Math.log(uniform())), angle = 2 * Math.PI * uniform();
        draws[i] = r * Math.cos(angle);
        if (i + 1 < n) draws[i + 1] = r * Math.sin(angle);
      }
      return draws;
    },
  };
}
