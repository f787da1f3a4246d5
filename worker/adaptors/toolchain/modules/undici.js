// Replaces undici: the same functions, all of them over the host.
import { Readable } from "stream";
import { AbortController, AbortSignal, Blob, File, FormData, Headers, Request, Response, fetch } from "./fetch.js";
import { pairsOf, send } from "./host.js";

class Body extends Readable {
  #bytes;
  constructor(bytes) {
    super({ read() { this.push(bytes); this.push(null); } });
    this.#bytes = bytes;
    this.bodyUsed = false;
  }
  #used() {
    this.bodyUsed = true;
    return this.#bytes;
  }
  async text() {
    return this.#used().toString("utf8");
  }
  async json() {
    return JSON.parse(await this.text());
  }
  async arrayBuffer() {
    return Uint8Array.from(this.#used()).buffer;
  }
  async bytes() {
    return Uint8Array.from(this.#used());
  }
  async blob() {
    return new Blob([this.#used()]);
  }
  async dump() {
    this.#used();
  }
}

// Names in lower case; several of one name are a list, as undici has it.
function listed(pairs) {
  const headers = {};
  for (const [name, value] of pairs) {
    const key = name.toLowerCase();
    headers[key] = key in headers ? [].concat(headers[key], value) : value;
  }
  return headers;
}

function urlOf({ origin, path = "/", query }) {
  const url = new URL(path, origin);
  for (const [name, value] of Object.entries(query ?? {}))
    for (const one of [].concat(value)) url.searchParams.append(name, one ?? "");
  return String(url);
}

class Dispatcher {
  constructor(origin, options = {}) {
    const given = typeof origin === "object" && !(origin instanceof URL) ? origin : options;
    this.origin = origin === given ? undefined : origin;
    this.redirects = given.maxRedirections ?? 0;
  }
  compose(...interceptors) {
    const composed = Object.create(this);
    for (const one of interceptors.flat()) if (one?.redirects !== undefined) composed.redirects = one.redirects;
    return composed;
  }
  async request(options, callback) {
    const response = this.perform(options);
    if (!callback) return response;
    response.then((response) => callback(null, response), callback);
  }
  async perform({ origin = this.origin, path, query, method = "GET", headers, body, headersTimeout, signal, maxRedirections }) {
    signal?.throwIfAborted?.();
    const reply = await send({
      method,
      url: urlOf({ origin, path, query }),
      headers: pairsOf(headers),
      body,
      timeout: headersTimeout,
      redirects: maxRedirections ?? this.redirects ?? 0,
    });
    return {
      statusCode: reply.status,
      statusText: reply.reason ?? "",
      headers: listed(reply.headers),
      trailers: {},
      opaque: null,
      context: {},
      body: new Body(reply.bytes),
    };
  }
  async close() {}
  async destroy() {}
  on() {
    return this;
  }
}

export { AbortController, AbortSignal, Blob, Dispatcher, File, FormData, Headers, Request, Response, fetch };
export class Agent extends Dispatcher {}
export class Client extends Dispatcher {}
export class Pool extends Dispatcher {}
export class BalancedPool extends Dispatcher {}
export class ProxyAgent extends Dispatcher {}
export class EnvHttpProxyAgent extends Dispatcher {}
export class RetryAgent extends Dispatcher {}

function noMocks() {
  throw new Error("undici's MockAgent is not available here: stub requests in a case (worker test)");
}
export class MockAgent extends Dispatcher {
  constructor() {
    super();
    noMocks();
  }
}
export const MockClient = MockAgent;
export const MockPool = MockAgent;

const plain = () => ({});
export const interceptors = {
  /** @param {{ maxRedirections?: number }} [options] */
  redirect: ({ maxRedirections } = {}) => ({ redirects: maxRedirections ?? 0 }),
  retry: plain,
  decompress: plain,
  dump: plain,
  dns: plain,
  cache: plain,
  responseError: plain,
};

let global = new Agent();
export const getGlobalDispatcher = () => global;
export const setGlobalDispatcher = (dispatcher) => {
  global = dispatcher;
};

export async function request(url, options = {}) {
  const { origin, pathname, search } = new URL(String(url));
  return (options.dispatcher ?? global).request({ ...options, origin, path: pathname + search });
}

class UndiciError extends Error {}
export const errors = { UndiciError };
export default {
  Agent, BalancedPool, Client, Dispatcher, EnvHttpProxyAgent, File, FormData, Headers, MockAgent, MockClient, MockPool, Pool,
  ProxyAgent, Request, Response, RetryAgent, errors, fetch, getGlobalDispatcher, interceptors, request, setGlobalDispatcher,
};
