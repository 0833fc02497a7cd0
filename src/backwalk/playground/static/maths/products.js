// Matrix products, where training spends its time: C += A B in single precision, by four rows and eight columns at once.
//
// JavaScript multiplies one number at a time; WebAssembly's SIMD multiplies four, and is about five times as fast. The
// one function that is needed is written here as the bytes of a module, instruction by instruction.

const PAGE = 65536;
const I32 = 0x7f, F32X4 = 0x7b;

const unsigned = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...unsigned(n >>> 7)]);
const signed = (n) => (n >= -64 && n < 64 ? [n & 127] : [(n & 127) | 128, ...signed(n >> 7)]);
const sized = (bytes) => [...unsigned(bytes.length), ...bytes];
const section = (id, items) => [id, ...sized([...unsigned(items.length), ...items.flat()])];
const text = (word) => sized([...new TextEncoder().encode(word)]);

const get = (local) => [0x20, local], set = (local) => [0x21, local], constant = (n) => [0x41, ...signed(n)];
const add = [0x6a], subtract = [0x6b], multiply = [0x6c], shift = (bits) => [...constant(bits), 0x74];
const load = (offset) => [0xfd, 0x00, 2, ...unsigned(offset)], store = (offset) => [0xfd, 0x0b, 2, ...unsigned(offset)];
const splat = [0xfd, 0x09, 2, 0], times = [0xfd, ...unsigned(0xe6)], plus = [0xfd, ...unsigned(0xe4)];
// A loop that runs `body` while `counter` decreases by `step` to 0; it runs at least once.
const loop = (counter, step, body) => [0x03, 0x40, ...body, ...get(counter), ...constant(step), ...subtract, 0x22, counter, 0x0d, 0, 0x0b];

// (c, a, b, n, k, m): places in bytes of C, (n, m), A, (n, k), and B, (k, m), row by row; n divides by 4 and m by 8.
function moduleBytes() {
  const [c, a, b, n, k, m, columns, p, at, from, row, wide, corner] = Array.from({ length: 13 }, (_, i) => i);
  const sums = [0, 1, 2, 3].map((i) => [13 + 2 * i, 14 + 2 * i]), left = 21, right = 22, one = 23;
  const next = (local, step) => [...get(local), ...step, ...add, ...set(local)];
  const inner = [ // sums += A[4 rows, p] B[p, 8 columns]
    ...get(from), ...load(0), ...set(left), ...get(from), ...load(16), ...set(right),
    ...sums.flatMap(([x, y], i) => [
      ...get(at), ...(i ? [...get(row), ...constant(i), ...multiply, ...add] : []), ...splat, ...set(one),
      ...get(x), ...get(one), ...get(left), ...times, ...plus, ...set(x),
      ...get(y), ...get(one), ...get(right), ...times, ...plus, ...set(y),
    ]),
    ...next(at, constant(4)), ...next(from, get(wide)),
  ];
  const place = (i) => [...get(corner), ...(i ? [...get(wide), ...constant(i), ...multiply, ...add] : [])];
  const tile = [ // one of 8 columns
    ...sums.flatMap(([x, y], i) => [...place(i), ...load(0), ...set(x), ...place(i), ...load(16), ...set(y)]),
    ...get(a), ...set(at), ...get(b), ...get(corner), ...get(c), ...subtract, ...add, ...set(from),
    ...get(k), ...set(p), ...loop(p, 1, inner),
    ...sums.flatMap(([x, y], i) => [...place(i), ...get(x), ...store(0), ...place(i), ...get(y), ...store(16)]),
    ...next(corner, constant(32)),
  ];
  const body = [
    ...get(k), ...shift(2), ...set(row), ...get(m), ...shift(2), ...set(wide),
    ...loop(n, 4, [
      ...get(c), ...set(corner), ...get(m), ...set(columns), ...loop(columns, 8, tile),
      ...next(a, [...get(row), ...shift(2)]), ...next(c, [...get(wide), ...shift(2)]),
    ]),
  ];
  const locals = [...unsigned(2), ...unsigned(7), I32, ...unsigned(11), F32X4];
  return new Uint8Array([
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, [[0x60, ...sized([I32, I32, I32, I32, I32, I32]), 0]]),
    ...section(2, [[...text("m"), ...text("memory"), 2, 0, 1]]),
    ...section(3, [[0]]),
    ...section(7, [[...text("product"), 0, 0]]),
    ...section(10, [sized([...locals, ...body, 0x0b])]),
  ]);
}

// Single-precision matrices in one memory. `matrix(n, m)` takes (n, m) numbers, all 0, and never gives them back.
export class Matrices {
  constructor(megabytes) {
    this.memory = new WebAssembly.Memory({ initial: (megabytes * 1048576) / PAGE });
    this.numbers = new Float32Array(this.memory.buffer);
    this.used = 0;
    this.run = new WebAssembly.Instance(new WebAssembly.Module(moduleBytes()), { m: { memory: this.memory } }).exports.product;
  }

  matrix(n, m) {
    const start = this.used;
    this.used += Math.ceil((n * m) / 8) * 8;
    if (this.used > this.numbers.length) throw new RangeError(`matrices should take at most ${this.numbers.length} numbers: take fewer rows or a narrower network.`);
    return this.numbers.subarray(start, start + n * m);
  }

  // C += A B for C (n, m), A (n, k), B (k, m); n divides by 4 and m by 8.
  addProduct(c, a, b, n, k, m) {
    this.run(c.byteOffset, a.byteOffset, b.byteOffset, n, k, m);
  }
}

// Writes the transpose of a (n, m) into b (m, n).
export function transpose(a, b, n, m) {
  for (let i = 0; i < n; i += 1) for (let j = 0; j < m; j += 1) b[j * n + i] = a[i * m + j];
  return b;
}
