// fetch and its classes, over the host. Only the parts that adaptors use, as specified.
import { pairsOf, send } from "./host.js";

export class Event {
  constructor(type) {
    this.type = type;
  }
}

export class EventTarget {
  #listeners = new Map();
  addEventListener(type, listener) {
    this.#listeners.set(type, [...(this.#listeners.get(type) ?? []), listener]);
  }
  removeEventListener(type, listener) {
    this.#listeners.set(type, (this.#listeners.get(type) ?? []).filter((one) => one !== listener));
  }
  dispatchEvent(event) {
    for (const listener of this.#listeners.get(event.type) ?? []) (listener.handleEvent ?? listener).call(this, event);
    this[`on${event.type}`]?.(event);
    return true;
  }
}

const abortError = () => Object.assign(new Error("This operation was aborted"), { name: "AbortError", code: "ABORT_ERR" });

export class AbortSignal extends EventTarget {
  aborted = false;
  reason = undefined;
  onabort = null;
  throwIfAborted() {
    if (this.aborted) throw this.reason;
  }
  static timeout(milliseconds) {
    const controller = new AbortController();
    setTimeout(() => controller.abort(Object.assign(new Error("The operation was aborted due to timeout"), { name: "TimeoutError" })), milliseconds);
    return controller.signal;
  }
  static abort(reason) {
    const controller = new AbortController();
    controller.abort(reason);
    return controller.signal;
  }
}

export class AbortController {
  signal = new AbortSignal();
  /** @param {Error} [reason] */
  abort(reason = abortError()) {
    if (this.signal.aborted) return;
    this.signal.aborted = true;
    this.signal.reason = reason;
    this.signal.dispatchEvent(new Event("abort"));
  }
}

export class Blob {
  #bytes;
  constructor(parts = [], { type = "" } = {}) {
    this.#bytes = Buffer.concat(parts.map((part) => (part instanceof Blob ? part.#bytes : typeof part === "string" ? Buffer.from(part) : Buffer.from(part.buffer ?? part))));
    this.type = type;
  }
  get size() {
    return this.#bytes.length;
  }
  async arrayBuffer() {
    return Uint8Array.from(this.#bytes).buffer;
  }
  async text() {
    return this.#bytes.toString("utf8");
  }
  get __bytes() {
    return this.#bytes;
  }
}

export class File extends Blob {
  constructor(parts, name, options) {
    super(parts, options);
    this.name = name;
  }
}

export class FormData {
  #entries = [];
  append(name, value, filename) {
    this.#entries.push([String(name), value instanceof Blob ? value : String(value), filename ?? value?.name]);
  }
  set(name, value, filename) {
    this.delete(name);
    this.append(name, value, filename);
  }
  delete(name) {
    this.#entries = this.#entries.filter(([one]) => one !== name);
  }
  get(name) {
    return this.#entries.find(([one]) => one === name)?.[1] ?? null;
  }
  getAll(name) {
    return this.#entries.filter(([one]) => one === name).map(([, value]) => value);
  }
  has(name) {
    return this.#entries.some(([one]) => one === name);
  }
  *[Symbol.iterator]() {
    for (const [name, value] of this.#entries) yield [name, value];
  }
  entries() {
    return this[Symbol.iterator]();
  }
  __multipart() {
    const boundary = `----worker-${Math.random().toString(16).slice(2)}${Math.random().toString(16).slice(2)}`;
    const quoted = (text) => String(text).replace(/\r?\n|\r/g, "%0D%0A").replace(/"/g, "%22");
    const chunks = this.#entries.flatMap(([name, value, filename]) => [
      Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; name="${quoted(name)}"`),
      value instanceof Blob
        ? Buffer.from(`; filename="${quoted(filename ?? "blob")}"\r\nContent-Type: ${value.type || "application/octet-stream"}\r\n\r\n`)
        : Buffer.from("\r\n\r\n"),
      value instanceof Blob ? value.__bytes : Buffer.from(value),
      Buffer.from("\r\n"),
    ]);
    const bytes = Buffer.concat([...chunks, Buffer.from(`--${boundary}--\r\n`)]);
    return { base64: bytes.toString("base64"), type: `multipart/form-data; boundary=${boundary}` };
  }
}

export class Headers {
  #values = new Map();
  constructor(init) {
    for (const [name, value] of pairsOf(init)) this.append(name, value);
  }
  append(name, value) {
    const key = String(name).toLowerCase();
    this.#values.set(key, this.#values.has(key) ? `${this.#values.get(key)}, ${value}` : String(value));
  }
  set(name, value) {
    this.#values.set(String(name).toLowerCase(), String(value));
  }
  get(name) {
    return this.#values.get(String(name).toLowerCase()) ?? null;
  }
  has(name) {
    return this.#values.has(String(name).toLowerCase());
  }
  delete(name) {
    this.#values.delete(String(name).toLowerCase());
  }
  forEach(callback) {
    for (const [name, value] of this) callback(value, name, this);
  }
  *[Symbol.iterator]() {
    yield* [...this.#values].sort(([a], [b]) => (a < b ? -1 : 1));
  }
  entries() {
    return this[Symbol.iterator]();
  }
  *keys() {
    for (const [name] of this) yield name;
  }
  *values() {
    for (const [, value] of this) yield value;
  }
}

export class Request {
  constructor(input, init = {}) {
    const from = input instanceof Request ? input : {};
    this.url = String(from.url ?? input);
    this.method = (init.method ?? from.method ?? "GET").toUpperCase();
    this.headers = new Headers(init.headers ?? from.headers);
    this.body = init.body ?? from.body;
    this.signal = init.signal ?? from.signal;
    this.redirect = init.redirect ?? from.redirect ?? "follow";
  }
}

export class Response {
  #bytes;
  /** @type {Headers} */
  headers;
  /** @type {boolean} */
  ok;
  /**
   * @param {any} [body]
   * @param {{ status?: number, statusText?: string, headers?: any, url?: string }} [init]
   */
  constructor(body, { status = 200, statusText = "", headers, url = "" } = {}) {
    this.#bytes = body === undefined || body === null ? Buffer.alloc(0) : Buffer.from(body);
    Object.assign(this, { status, statusText, url, headers: new Headers(headers), ok: status >= 200 && status < 300, bodyUsed: false, redirected: false, type: "default" });
  }
  get body() {
    const bytes = this.#bytes;
    return { async *[Symbol.asyncIterator]() { yield bytes; } };
  }
  async text() {
    return this.#bytes.toString("utf8");
  }
  async json() {
    return JSON.parse(await this.text());
  }
  async arrayBuffer() {
    return Uint8Array.from(this.#bytes).buffer;
  }
  async blob() {
    return new Blob([this.#bytes], { type: this.headers.get("content-type") ?? "" });
  }
  clone() {
    return new Response(this.#bytes, /** @type {any} */ (this));
  }
}

export async function fetch(input, init) {
  const request = new Request(input, init);
  request.signal?.throwIfAborted();
  const redirects = request.redirect === "follow" ? 20 : 0;
  const reply = await send({ method: request.method, url: request.url, headers: [...request.headers], body: request.body, redirects });
  request.signal?.throwIfAborted();
  return new Response(reply.bytes, { status: reply.status, statusText: reply.reason, headers: reply.headers, url: reply.url });
}
