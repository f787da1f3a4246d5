// Built-in `collections` adaptor: makes the requests of @openfn/language-collections 0.8.0 and treats the
// replies as it does. The host answers them, from a local store or from the real service.
//
// host: { console, util: that of common, call(kind, text), unset() }
(function (host) {
  "use strict";

  const { console } = host;
  const { expandReferences, throwError } = host.util;
  const BATCH_SIZE = 1000;
  const QUERY_NAMES = { createdBefore: "created_before", createdAfter: "created_after" };

  // --- requests -------------------------------------------------------------------------------------

  // As path.posix.join: a key can hold slashes and dots.
  function joined(base, path) {
    const parts = [];
    for (const part of `${base}/${path}`.split("/")) {
      if (part === "..") parts.pop();
      else if (part && part !== ".") parts.push(part);
    }
    return `/${parts.join("/")}`;
  }

  function urlOf(endpoint, path, query) {
    const { origin, pathname } = new URL(endpoint);
    const url = new URL(joined(pathname, path), origin);
    for (const [name, value] of Object.entries(query ?? {})) url.searchParams.append(QUERY_NAMES[name] ?? name, value);
    return String(url);
  }

  /** @type {(state: any, path: string, options?: {method?: string, query?: any, body?: string}) => Promise<any>} */
  async function request(state, path, { method = "GET", query, body } = {}) {
    const { collections_endpoint: endpoint, collections_token: token } = state.configuration ?? {};
    if (!endpoint) host.unset();
    if (!token)
      throwError("INVALID_AUTH", {
        description: "No access key provided for collection request",
        fix: 'Ensure the "collections_token" value is set on state.configuration',
        path,
      });
    const headers = [["Authorization", `Bearer ${token}`]];
    if (body !== undefined) headers.push(["content-type", "application/json"]);
    const text = JSON.stringify({ method, url: urlOf(endpoint, path, query), headers, text: body });
    const reply = JSON.parse(await host.call("http", text));
    if (reply.error) throw Object.assign(new Error(reply.error.message), { name: reply.error.name, code: reply.error.code });
    if (reply.status >= 400) refuse(reply, path, endpoint);
    return reply;
  }

  const bodyOf = (reply) => reply.text ?? Buffer.from(reply.base64 ?? "", "base64").toString();

  function refuse(reply, path, endpoint) {
    if (reply.status === 404) {
      const [collection] = path.split("/");
      console.error(`Error! Collection ${collection} does not exist`);
      throw Object.assign(new Error("COLLECTION_NOT_FOUND"), {
        code: "COLLECTION_NOT_FOUND",
        description: `The collection "${collection}" does not exist`,
        collection,
        endpoint,
        fix: "Make sure the collection name is correct, and has been created by a system administrator",
      });
    }
    throw Object.assign(new Error(bodyOf(reply)), {
      code: reply.status,
      description: "The server returned an error, see attached message",
    });
  }

  // --- operations -------------------------------------------------------------------------------------

  const expandQuery = (query) => (typeof query === "string" ? { key: query } : query);
  const hasPattern = (key, rest) => key.match(/\*/) || Object.keys(rest).length;

  const get = (name, query = {}) => async (state) => {
    const [collection, expanded] = expandReferences(state, name, query);
    const wanted = expandQuery(expanded);
    const { key = "*", limit, pageSize, ...rest } = wanted;
    console.log(`Collections: Downloading data from "${name}"...`);
    state.data = hasPattern(key, rest)
      ? await getAll(name, wanted, state)
      : await getOne(name, key, await request(state, `${collection}/${key}`));
    return state;
  };

  async function getAll(name, query, state) {
    const data = [];
    const scoped = { ...state, data: {} };
    await each(name, query, (_state, value, key) => void data.push({ value, key }))(scoped);
    console.log(`Collections: Fetched total of ${data.length} values from "${name}"`);
    return Object.assign(data, { cursor: scoped.data.cursor });
  }

  async function getOne(name, key, reply) {
    if (reply.status === 204) {
      console.warn(`Collections: Key "${key}" not found in "${name}"`);
      return {};
    }
    try {
      return JSON.parse(JSON.parse(bodyOf(reply)).value);
    } catch (error) {
      console.error("Unexpected error parsing response data!");
      throw error;
    }
  }

  function pairsOf(keyGen, values, state) {
    // One key for a list stores the list; a function is called for each of its values.
    if (typeof keyGen === "string" && Array.isArray(values)) return [{ key: keyGen, value: JSON.stringify(values) }];
    const makeKey = typeof keyGen === "string" ? () => keyGen : keyGen;
    return [].concat(values).map((value, index) => {
      const key = makeKey(value, state, index);
      if (typeof key !== "string")
        throw Object.assign(new Error("KEYGEN_ERROR"), {
          description: "The key generator function returned a non-string value which is not a valid key",
          fix: "The second argument to set() is a key or key-generator function. If you pass a function, make sure the function returns a string (a key). Note that this function is NOT a state reference and does not support lazy state ($)",
        });
      return { key, value: JSON.stringify(value) };
    });
  }

  function set(...args) {
    const [name, keyGen, values] = args;
    return async (state) => {
      if (args.length < 3)
        throw Object.assign(new Error("ILLEGAL_ARGUMENTS"), {
          description: "Insufficient arguments passed to set()",
          fix: "Make sure to pass three arguments to: set(name, key/keygen, values)",
          args: { name, keyGen, values },
        });
      const [collection, expanded] = expandReferences(state, name, values);
      const pairs = pairsOf(keyGen, expanded, state);
      for (let at = 0; at < pairs.length; at += BATCH_SIZE)
        await upload(name, collection, pairs.slice(at, at + BATCH_SIZE), state);
      return state;
    };
  }

  async function upload(name, collection, items, state) {
    console.log(`Collections: uploading batch of ${items.length} values to "${name}"...`);
    const reply = await request(state, collection, { method: "POST", body: JSON.stringify({ items }) });
    const { upserted, error } = JSON.parse(bodyOf(reply));
    console.log(`Collections: set ${upserted} values in "${name}"`);
    if (error) console.log("Collections: errors reported on set:", error);
  }

  const remove = (name, query = {}) => async (state) => {
    const [collection, expanded] = expandReferences(state, name, query);
    const wanted = expandQuery(expanded);
    const { key, ...rest } = wanted;
    const isQuery = hasPattern(key, rest);
    const path = isQuery ? collection : `${collection}/${key}`;
    const reply = await request(state, path, { method: "DELETE", query: isQuery ? wanted : undefined });
    console.log(`Collections: Removed ${JSON.parse(bodyOf(reply)).deleted} values in "${name}"`);
    return state;
  };

  const each = (name, query = {}, /** @type {Function} */ callback = () => {}) => async (state) => {
    const [collection, expanded] = expandReferences(state, name, query);
    const { key = "*", pageSize = 1000, limit = Infinity, ...rest } = expandQuery(expanded);
    let { cursor } = rest;
    let count = 0;
    do {
      const page = { ...rest, key, limit: limit < Infinity ? Math.min(pageSize, limit - count) : pageSize };
      if (cursor) page.cursor = cursor;
      const reply = JSON.parse(bodyOf(await request(state, collection, { query: page })));
      for (const item of reply.items) await callback(state, JSON.parse(item.value), item.key);
      cursor = reply.cursor;
      count += reply.items.length;
      console.log(`Collections: fetched chunk of ${reply.items.length} values from "${name}"`);
    } while (cursor && count < limit);
    state.data = { cursor };
    return state;
  };

  return { collections: { get, set, remove, each } };
})
