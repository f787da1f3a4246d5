// Built-in `common` adaptor: behaves as @openfn/language-common 3.3.4, function by function, or refuses
// by name. Where the real one is installed, it is used instead.
//
// host: { lodash, dateFns, jsonpath(path, json), console, absent(name) }
(function (host) {
  "use strict";

  const { lodash, dateFns, console } = host;

  // Checked here, as the engine would name the job's call instead of what common calls in it.
  function check(holds, message) {
    if (!holds) throw new TypeError(message);
  }

  // The published one's own words, with its names of parameters.
  function callable(value, name) {
    check(typeof value === "function", `${name} is not a function`);
    return value;
  }

  // --- references: a value, or a function from the state to a value -----------------------------

  const isStream = (value) => Boolean(value.pipeTo || value.pipe);
  const isKept = (value) =>
    value === null || Buffer.isBuffer(value) || value.constructor?.name === "RegExp" || isStream(value);

  function expand(state, value) {
    if (typeof value === "function") return expand(state, value(state));
    if (Array.isArray(value)) return value.map((item) => expand(state, item));
    if (typeof value !== "object" || isKept(value)) return value;
    return Object.fromEntries(Object.keys(value).map((key) => [key, expand(state, value[key])]));
  }

  const expandReferences = (state, ...values) => values.map((value) => expand(state, value));

  // --- reading a state -----------------------------------------------------------------------------

  function select(path, json) {
    check(path || path === "", 'You must supply a "path" property when providing an object argument to JSONPath.evaluate().');
    check(typeof path === "string" || Array.isArray(path), "expr.replaceAll is not a function");
    return host.jsonpath(path, json);
  }

  const source = (path) => (state) => select(path, state);
  const sourceValue = (path) => (state) => select(path, state)[0];
  const jsonValue = (json, path) => select(path, json)[0];
  function withoutRoot(path) {
    check(typeof path === "string", "path2.match is not a function");
    return path.match(/^[$.]*(.+)/)[1];
  }
  const dataPath = (path) => `$.data.${withoutRoot(path)}`;
  const dataValue = (path) => sourceValue(dataPath(path));
  const referencePath = (path) => `$.references${withoutRoot(path)}`;
  const lastReferenceValue = (path) => sourceValue(referencePath(`[0].${path}`));
  const index = () => (state) => state.index;

  const field = (key, value) => [key, value];
  const fields = (...pairs) => lodash.fromPairs(pairs);
  const merge = (path, values) => (state) => {
    const items = source(path)(state);
    const added = expand(state, values);
    return items.map((item) => ({ ...item, ...added }));
  };
  const join = (target, from, key) => (state) =>
    source(target)(state).map((item) => ({ [key]: sourceValue(from)(state), ...item }));

  // --- operations -------------------------------------------------------------------------------------

  const fn = (operate) => (state) => callable(operate, "func")(state);
  const alterState = (operate) => fn(operate);
  const fnIf = (condition, operation) => (state) =>
    expand(state, condition) ? callable(operation, "operation")(state) : state;

  const execute = (...operations) => (state) =>
    operations.reduce((previous, operation) => previous.then(operation), Promise.resolve(state));

  // Synchronous as long as the operations are: jobs call the result and read it at once.
  const after = (state, operate) => (state.then ? state.then(operate) : operate(state));

  const combine = (...operations) => (state) =>
    operations.reduce((previous, operation) => after(previous, (value) => callable(operation, "operation")({ ...value })), state);

  function asData(data, state) {
    if (typeof data === "string") return source(data)(state);
    if (typeof data === "function") return data(state);
    return typeof data === "object" ? data : undefined;
  }

  const checkItems = (items) => check(items, "dataSource argument for each operation is invalid.");

  function overItems(items, operation, state) {
    const values = asData(items, state);
    check(typeof (values.reduce ?? null) === "function", "asData(...).reduce is not a function");
    return values.reduce(
      (previous, data, at) => after(previous, (value) => callable(operation, "operation")({ ...value, data, index: at })),
      state,
    );
  }

  function each(items, operation) {
    checkItems(items);
    return (state) => overItems(items, operation, state);
  }

  const beta = {
    each(items, operation) {
      checkItems(items);
      return (state) => after(overItems(items, operation, state), (value) => ({ ...value, data: state.data }));
    },
  };

  const map = (path, convert) => async (state) => {
    const values = typeof path === "string" ? source(path)(state) : path;
    check(typeof values?.[Symbol.iterator] === "function", "values is not iterable");
    const data = [];
    let at = 0;
    for (const item of values) data.push(await callable(convert, "callback")(item, at++, state));
    return { ...state, data };
  };

  const as = (key, operation) => async (state) => {
    const name = expand(state, key);
    const before = state.data;
    const result = await callable(operation, "operation")(state);
    check(result != null, `Cannot destructure property 'data' of 'result' as it is ${result}.`);
    const { data, ...rest } = result;
    state[name] = data;
    state.data = before;
    return { ...state, ...rest };
  };

  const log = (...values) => (state) => {
    console.log(...expand(state, values));
    return state;
  };

  const debug = (...values) => (state) => {
    console.debug(...expand(state, values));
    return state;
  };

  const assert = (condition, message) => (state) => {
    const [holds, text] = expandReferences(state, condition, message);
    if (!holds) throw new Error(text || `assertion statement failed with ${holds}`);
    return state;
  };

  const group = (items, path, callback = (state) => state) => (state) => {
    const [list, key] = expandReferences(state, items, path);
    const groups = lodash.groupBy(list, (item) => lodash.get(item, key));
    return callable(callback, "callback")({ ...state, data: lodash.omit(groups, [undefined]) });
  };

  function composeNextState(state, response) {
    if (!state.references) state.references = [];
    check(typeof state.references[Symbol.iterator] === "function", "state.references is not iterable");
    return { ...state, data: response, references: [...state.references, state.data] };
  }

  // --- cursor -----------------------------------------------------------------------------------------

  // For the whole run, as the published one has them in its module.
  let cursorStart;
  let cursorKey = "cursor";

  const countOf = (text) => text.match(/\d+/)[0];

  function timeOf(text, start) {
    if (text === "start") return start;
    if (text === "now" || text === "end") return new Date();
    if (text === "today") return dateFns.startOfToday();
    if (text === "yesterday") return dateFns.startOfYesterday();
    if (/hours? ago$/.test(text)) return dateFns.subHours(new Date(), countOf(text));
    if (/days? ago$/.test(text)) return dateFns.startOfDay(dateFns.subDays(new Date(), countOf(text)));
    return text;
  }

  function parseDate(text, start) {
    try {
      return timeOf(text, start);
    } catch (error) {
      console.log(`Error converting ${text} into a date`);
      console.log(error);
      return text;
    }
  }

  /** @type {(value: any, options?: Record<string, any>) => (state: any) => any} */
  const cursor = (value, { format, ...rest } = {}) => (state) => {
    const [wanted, { defaultValue, key }] = expandReferences(state, value, rest);
    if (key) cursorKey = key;
    cursorStart ??= new Date();
    const text = wanted ?? defaultValue;
    const time = typeof text === "string" ? parseDate(text, cursorStart) : null;
    if (time instanceof Date) {
      state[cursorKey] = format?.(time) ?? time.toISOString();
      const readable = format ? state[cursorKey] : dateFns.format(time, "HH:mm d MMM yyyy (OOO)");
      console.log(`Setting ${cursorKey} "${text}" to: ${readable}`);
      return state;
    }
    state[cursorKey] = format?.(text) ?? text;
    console.log(`Setting ${cursorKey} to:`, state[cursorKey]);
    return state;
  };

  // --- plain helpers ------------------------------------------------------------------------------------

  const toArray = (value) => [].concat(value);
  function arrayToString(values, separator) {
    check(values == null || Object(values) === values, "CreateListFromArrayLike called on non-object");
    return Array.apply(null, values).join(separator);
  }

  // A size of 0 never ends, as in the published one: the run's limits end it.
  function chunk(values, size) {
    const chunks = [];
    for (let at = 0; at < values.length; at += size) chunks.push(values.slice(at, at + size));
    return chunks;
  }

  function splitKeys(object, keys) {
    const [kept, split] = lodash.partition(Object.entries(object), ([key]) => !keys.includes(key));
    return [Object.fromEntries(kept), Object.fromEntries(split)];
  }

  const capitalized = (word) => word.charAt(0).toUpperCase() + word.slice(1).toLowerCase();
  const humanProper = (text) =>
    typeof text === "string" ? text.replace(/[_-]/g, " ").replace(/\w\S*/g, capitalized) : text;

  const EMOJI = /(\uFE0F|\u00a9|\u00ae|[\u2000-\u3300]|\ud83c[\ud000-\udfff]|\ud83d[\ud000-\udfff]|\ud83e[\ud000-\udfff])/g;
  const REMOVING = [
    "Removing characters from a string may create injection vulnerabilities;",
    "It's better to replace than remove.",
    "See https://www.unicode.org/reports/tr36/#Deletion_of_Noncharacters",
  ];

  function scrubEmojis(text, replacement) {
    if (!text) return text;
    check(typeof text.replace === "function", "text.replace is not a function");
    if (replacement === "") console.warn(...REMOVING);
    return text.replace(EMOJI, replacement || replacement === "" ? replacement : "�");
  }

  // --- util ---------------------------------------------------------------------------------------------

  /** @type {(code: any, details?: Record<string, any>) => never} */
  function throwError(code, { description, fix, ...extras } = {}) {
    const error = Object.assign(new Error(description ? `${code}: ${description}` : code), { code });
    if (description) Object.assign(error, { description });
    if (fix) Object.assign(error, { fix });
    throw Object.assign(error, extras);
  }

  function attempt(convert, value) {
    try {
      return convert(value);
    } catch (error) {
      console.log(/** @type {Error} */ (error).message);
      return value;
    }
  }

  function encode(data, options = { parseJson: true }) {
    const text = typeof data !== "string" && options.parseJson ? attempt(JSON.stringify, data) : data;
    return Buffer.from(text, "utf-8").toString("base64");
  }

  function decode(data, options = { parseJson: true }) {
    const text = Buffer.from(data, "base64").toString("utf-8");
    return options.parseJson && /^[[{]/.test(text) ? attempt(JSON.parse, text) : text;
  }

  const uuid = () =>
    "xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx".replace(/[xy]/g, (digit) => {
      const number = Math.floor(Math.random() * 16);
      return (digit === "y" ? 8 | (number & 3) : number).toString(16);
    });

  const makeBasicAuthHeader = (username, password) => ({
    Authorization: `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`,
  });

  function normalizeOauthConfig(configuration) {
    const { access_token, accessToken } = configuration;
    if (access_token && accessToken)
      throw new Error(
        'Both "accessToken" & "access_token" keys found in configuration; please use only "access_token" for OAuth2 credentials.',
      );
    if (access_token) return { ...configuration, accessToken: access_token };
    console.log('Key "access_token" not found in state.configuration;', "is this a standard OAuth 2.0 JSON credential?");
    if (accessToken) console.log('Using "accessToken" from state.configuration');
    return configuration;
  }

  function assertRelativeUrl(path) {
    if (!/https?:\/\//.test(path)) return;
    throw Object.assign(new Error("UNEXPECTED_ABSOLUTE_URL"), {
      code: "UNEXPECTED_ABSOLUTE_URL",
      description: "An absolute URL was provided (https://...) but only a path (/a/b/c) is supported",
      url: path,
      fix: "Remove the protocol, domain and origin from the provided URL. Maybe you need to use the generic HTTP helper functions instead?",
    });
  }

  /** @type {(response: any) => any} */
  function logResponse(response) {
    const { method, url, statusCode, duration, query } = response;
    if (!(method && url && duration && statusCode)) return response;
    const search = Object.keys(query || {}).length ? `?${new URLSearchParams(query).toString()}` : "";
    const message = `${method} ${url}${search} - ${statusCode} in ${duration}ms`;
    if (response instanceof Error) {
      console.error(message);
      console.error("response body: ");
      console.error(/** @type {any} */ (response).body || "[no body]");
    } else console.log(message);
    return response;
  }

  // Functions that need the network, a parser or a compiler of schemas: the published common has them.
  const absent = (names, prefix = "") => Object.fromEntries(names.map((name) => [name, host.absent(prefix + name)]));

  const util = {
    ERROR_ABSOLUTE_URL: "Absolute URLs not supported",
    ERROR_URL_MISMATCH: "Target origin does not match baseUrl origin",
    ...{ assertRelativeUrl, decode, encode, expandReferences, logResponse, makeBasicAuthHeader },
    ...{ normalizeOauthConfig, parseDate, throwError, uuid },
    ...absent(
      ["del", "enableMockClient", "encodeFormBody", "generateAgentKey", "get", "parseUrl", "post", "put", "request"],
      "util.",
    ),
  };

  const functions = {
    _: lodash,
    ...{ alterState, arrayToString, as, asData, assert, chunk, combine, composeNextState, cursor, dataPath },
    ...{ dataValue, debug, each, execute, field, fields, fn, fnIf, group, humanProper, index, join, jsonValue },
    ...{ lastReferenceValue, log, map, merge, referencePath, scrubEmojis, source, sourceValue, splitKeys, toArray },
    ...absent(["parseCsv", "validate"]),
  };
  return {
    ...functions,
    default: functions,
    beta,
    dateFns: { format: dateFns.format, parse: dateFns.parse },
    http: absent(["get", "options", "post", "request"], "http."),
    util,
  };
})
