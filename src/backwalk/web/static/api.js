// Requests to the server, or, in a page that was exported as one file, to the answers inside it.
import { byId } from "./dom.js";

export const answers = byId("answers") ? JSON.parse(byId("answers").textContent) : null;

export class Refused extends Error {
  constructor(status, message, fieldName) {
    super(message);
    this.status = status;
    this.field = fieldName;
  }
}

function ownWorkspace() {
  const key = "backwalk-workspace";
  let id = sessionStorage.getItem(key);
  if (!id) {
    id = Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
    sessionStorage.setItem(key, id);
  }
  return id;
}

export const workspace = answers ? "" : ownWorkspace();

async function respond(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { ...options.headers, "X-Backwalk-Workspace": workspace } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The server does not answer. Is `backwalk web` still running?", null);
  }
  if (response.ok) return response;
  let problem = { message: `The server answered ${response.status}.`, field: null };
  try {
    problem = (await response.json()).error;
  } catch {
    // The answer was no JSON: the general sentence stays.
  }
  throw new Refused(response.status, problem.message, problem.field);
}

function posted(body, signal) {
  return { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal };
}

export async function getJson(path) {
  return (await respond(path)).json();
}

export async function postJson(path, body = {}, signal = undefined) {
  return (await respond(path, posted(body, signal))).json();
}

export async function postPacked(path, body, signal = undefined) {
  return unpacked(await (await respond(path, posted(body, signal))).arrayBuffer());
}

export async function getBlob(path) {
  return (await respond(path)).blob();
}

export async function postBlob(path, body) {
  return (await respond(path, posted(body))).blob();
}

export async function postFile(file) {
  const path = `/api/data/file?name=${encodeURIComponent(file.name)}`;
  const options = { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: file };
  return (await respond(path, options)).json();
}

export function withWorkspace(path) {
  return `${path}${path.includes("?") ? "&" : "?"}workspace=${encodeURIComponent(workspace)}`;
}

const VIEWS = { u2: Uint16Array, f4: Float32Array, f8: Float64Array };

// {header, and each array by its name}, from the packed form: length, header as JSON, arrays.
export function unpacked(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const start = Math.ceil((4 + length) / 8) * 8;
  const result = { header };
  for (const { name, dtype, shape, offset } of header.arrays) {
    const size = shape.reduce((product, k) => product * k, 1);
    result[name] = new VIEWS[dtype](buffer, start + offset, size);
    result[name].shape = shape;
  }
  return result;
}

export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer;
}

export function u2Of(base64) {
  return new Uint16Array(bytesOf(base64));
}
