// Built-in `common` adaptor: the functions of @openfn/language-common that jobs use most, by its
// documentation and its observed behaviour. Where the real one is installed, it is used instead.
//
// host: { lodash, dateFns, jsonpath(path, json), log(level, ...values) }
(function (host) {
  "use strict";

  const { lodash, dateFns } = host;

  // --- references: a value, or a function from the state to a value -----------------------------

  function resolve(state, value, ...more) {
    if (typeof value === "function") return value(state, ...more);
    if (Array.isArray(value)) return value.map((item) => resolve(state, item, ...more));
    if (value === null || typeof value !== "object" || Object.getPrototypeOf(value) !== Object.prototype) return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, resolve(state, item, ...more)]));
  }

  const expandReferences = (value) => (state) => resolve(state, value);
  const given = (state, value) => (typeof value === "function" ? value(state) : value);

  // --- reading a state -----------------------------------------------------------------------------

  const source = (path) => (state) => host.jsonpath(path, state);
  const sourceValue = (path) => (state) => host.jsonpath(path, state)[0];
  const dataPath = (path) => {
    const cleaned = path.match(/^\$\.(.*)/)?.[1] ?? path.replace(/^\.+/, "");
    return path.startsWith("$.") || path.startsWith("data.") ? `$.${cleaned}` : `$.data.${cleaned}`;
  };
  const dataValue = (path) => sourceValue(`$.data.${path.replace(/^\$?\.+/, "")}`);
  const referencePath = (path) => `$.references${path}`;
  const lastReferenceValue = (path) => (state) => host.jsonpath(`$.references[0].${path.replace(/^\$?\.+/, "")}`, state)[0];
  const index = () => (state) => state.index;
  const jsonValue = (json, path) => host.jsonpath(path, json)[0];

  const field = (key, value) => [key, value];
  const fields = (...pairs) => Object.fromEntries(pairs);
  const merge = (data, values) => (state) =>
    itemsOf(data, state).map((item, at) => ({ ...item, ...resolve(state, values, at) }));
  const join = (target, from, key) => (state) => {
    const value = sourceValue(from)(state);
    return source(target)(state).map((item) => ({ [key]: value, ...item }));
  };

  // --- operations -------------------------------------------------------------------------------------

  const fn = (operate) => (state) => operate(state);
  const fnIf = (condition, operation) => (state) => (given(state, condition) ? operation(state) : state);

  const combine = (...operations) => async (state) => {
    for (const operation of operations) state = await operation(state);
    return state;
  };

  const execute = (...operations) => combine(...operations);

  const itemsOf = (data, state) => (typeof data === "string" ? source(data)(state) : resolve(state, data));

  function eachOf(data, operation, after) {
    return async (state) => {
      const original = state.data;
      const items = itemsOf(data, state);
      if (!Array.isArray(items)) throw new TypeError(`each() expects an array of items, found ${items === null ? "null" : typeof items}`);
      for (let at = 0; at < items.length; at++) {
        const next = await operation({ ...state, data: items[at], index: at }, items[at], at);
        if (next === undefined) throw new TypeError("the operation in each() must return a state, found undefined");
        state = next;
      }
      return after(state, original);
    };
  }

  const each = (data, operation) => eachOf(data, operation, (state) => state);
  const beta = { each: (data, operation) => eachOf(data, operation, (state, data) => ({ ...state, data })) };

  const map = (data, convert) => async (state) => ({
    ...state,
    data: await Promise.all(itemsOf(data, state).map((item, at) => convert(item, at, state))),
  });

  const as = (key, operation) => async (state) => {
    const result = await operation(state);
    return { ...state, [key]: result.data };
  };

  const logger = (level) => (...values) => (state) => {
    host.log(level, ...values.map((value) => given(state, value)));
    return state;
  };

  const assert = (condition, message) => (state) => {
    const holds = given(state, condition);
    if (!holds) throw new Error(message ? given(state, message) : `assertion statement failed with ${holds}`);
    return state;
  };

  const group = (items, path, callback = (state) => state) => (state) => {
    const [list, key] = [resolve(state, items), given(state, path)];
    return callback(composeNextState(state, lodash.omit(lodash.groupBy(list, key), ["undefined"])));
  };

  function composeNextState(state, response) {
    const references = state.data === undefined ? (state.references ?? []) : [...(state.references ?? []), state.data];
    return { ...state, data: response, references };
  }

  const asData = (data, state) => ({ ...state, data });

  const validate = () => () => {
    throw new Error("validate() needs the real common adaptor: the built-in one has no JSON Schema");
  };

  // --- cursor -----------------------------------------------------------------------------------------

  const NAMED_TIMES = {
    now: () => new Date(),
    start: () => new Date(startedAt),
    end: () => new Date(),
    today: () => dateFns.startOfDay(new Date()),
    yesterday: () => dateFns.startOfDay(dateFns.subDays(new Date(), 1)),
    tomorrow: () => dateFns.startOfDay(dateFns.addDays(new Date(), 1)),
  };
  let startedAt = 0;
  let cursorKey = "cursor";

  function timeOf(value) {
    const text = String(value).trim().toLowerCase();
    if (Object.hasOwn(NAMED_TIMES, text)) return NAMED_TIMES[text]();
    const ago = text.match(/^(\d+) (minute|hour|day|week|month|year)s? ago$/);
    return ago ? dateFns.sub(new Date(), { [`${ago[2]}s`]: Number(ago[1]) }) : null;
  }

  const cursor = (value, options = {}) => (state) => {
    startedAt ||= Date.now();
    const { key, defaultValue, format = (found) => found?.toISOString() ?? found } = options;
    if (key) cursorKey = key;
    const wanted = given(state, value) ?? defaultValue;
    const time = typeof wanted === "string" ? timeOf(wanted) : null;
    const found = time ? format(time) : options.format ? format(wanted) : wanted;
    host.log("info", time ? `Setting ${cursorKey} "${wanted}" to: ${found}` : `Setting ${cursorKey} to: ${found}`);
    return { ...state, [cursorKey]: found };
  };

  // --- plain helpers ------------------------------------------------------------------------------------

  const toArray = (value) => (Array.isArray(value) ? value : [value]);
  const arrayToString = (values, separator) => values.join(separator);
  const chunk = (values, size) => lodash.chunk(values, size);
  const splitKeys = (object, keys) => [lodash.omit(object, keys), lodash.pick(object, keys)];
  const humanProper = (text) => (typeof text === "string" ? text.replace(/[_-]+/g, " ").replace(/\b\w/g, (letter) => letter.toUpperCase()) : text);
  const scrubEmojis = (text, replacement = "�") => text?.replace(/\p{Extended_Pictographic}/gu, replacement);

  const util = {
    expandReferences,
    encode: (text, options = {}) => Buffer.from(text, options.parseAs).toString("base64"),
    decode: (text) => Buffer.from(text, "base64").toString(),
    uuid: () => "xxxxxxxx-xxxx-4xxx-8xxx-xxxxxxxxxxxx".replace(/x/g, () => Math.floor(Math.random() * 16).toString(16)),
    throwError: (code, details = {}) => {
      throw Object.assign(new Error(details.description ?? code), { code, ...details });
    },
  };

  return {
    _: lodash, alterState: fn, arrayToString, as, asData, assert, beta, chunk, combine, composeNextState, cursor,
    dataPath, dataValue, dateFns, debug: logger("debug"), each, execute, expandReferences, field, fields, fn, fnIf,
    group, humanProper, index, join, jsonValue, lastReferenceValue, lodash, log: logger("info"), map, merge,
    referencePath, scrubEmojis, source, sourceValue, splitKeys, toArray, util, validate,
  };
})
