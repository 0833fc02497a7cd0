// Arrays as text: base64 of their bytes.
export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer;
}

const VIEWS = { u2: Uint16Array, f4: Float32Array };

// An array of Python's, with its shape.
export function unpacked({ dtype, shape, base64 }) {
  return Object.assign(new VIEWS[dtype](bytesOf(base64)), { shape });
}
