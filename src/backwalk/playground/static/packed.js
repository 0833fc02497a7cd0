// Arrays as text: base64 of their bytes, and the packed form of Python's arrays.
export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer;
}

// The packed form of Python's arrays: the length of a header, the header as JSON, and the arrays.
const VIEWS = { u2: Uint16Array, f4: Float32Array, f8: Float64Array };

export function unpacked(base64) {
  const buffer = bytesOf(base64), length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length))), start = Math.ceil((4 + length) / 8) * 8, result = { header };
  for (const { name, dtype, shape, offset } of header.arrays) {
    result[name] = new VIEWS[dtype](buffer, start + offset, shape.reduce((product, k) => product * k, 1));
    result[name].shape = shape;
  }
  return result;
}
