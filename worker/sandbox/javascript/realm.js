// Realm in which jobs run. Evaluated once in the zygote, after the vendored libraries, as
// realm(host); every run forks with it loaded.
//
// host: { log(level, source, text), now(), date() } are implemented in Python, and the only functions
// outside of the engine.
//
// Three rules:
// 1. A job can use the language, the web APIs that jobs expect, and its adaptor. Nothing else.
// 2. Code cannot be made from text, and an attempt counts even where the job catches the error.
// 3. Every intrinsic is frozen before a bundle is loaded, and what bundles export after it: neither an
//    adaptor, nor a step, nor a condition can change what others, or this file, use.
(function (host) {
  "use strict";

  // --- state of the realm -------------------------------------------------------------------

  const InternalError = globalThis.InternalError;
  const flags = { oom: false, security: false };
  const slot = { value: undefined, error: undefined }; // where the engine puts what it evaluated
  const jobs = new Map(); // file -> {file, run, sites, exports, adaptors, absent}; steps with the same code share one
  const conditions = []; // index -> (state, upstreamStepId, console) => value
  const adaptors = new Map(); // module name, with the version where it was installed -> exports
  const chosen = new Map(); // specifier as written -> module name with the version that serves it
  const traces = new WeakMap(); // error -> {frames, text}
  const kinds = new WeakMap(); // error -> the error type that the realm gave it
  const isTooLarge = (error) => typeof error === "object" && error !== null && kinds.get(error) === "StateTooLargeError";
  let step = null; // the step that runs now

  const mark = (error, kind) => {
    kinds.set(error, kind);
    return error;
  };

  // --- errors: Node's wording, and their positions --------------------------------------------

  /** @type {[RegExp, string][]} */
  const REWRITES = [
    [/^cannot read property '(.*)' of (undefined|null)$/s, "Cannot read properties of $2 (reading '$1')"],
    [/^cannot set property '(.*)' of (undefined|null)$/s, "Cannot set properties of $2 (setting '$1')"],
    [/^Invalid scheme$/, "Invalid URL"],
    [/^invalid array length$/, "Invalid array length"],
    [/^'(\d+)' is read-only$/, "Cannot assign to read only property '$1' of object '[object Array]'"],
    [/^'length' is read-only$/, "Cannot assign to read only property 'length' of object '[object Array]'"],
    [/^'(.*)' is read-only$/s, "Cannot assign to read only property '$1' of object '#<Object>'"],
    [/^'this' is not initialized$/, "Must call super constructor in derived class before accessing 'this' or returning from derived constructor"],
    [/^this is not initialized$/, "Must call super constructor in derived class before accessing 'this' or returning from derived constructor"],
    [/^private class field '(.*)' does not exist$/, "Cannot read private member $1 from an object whose class did not declare it"],
    [/^operand 'prototype' property is not an object$/, "Function has non-object prototype 'undefined' in instanceof check"],
    [/^invalid value used as WeakMap key$/, "Invalid value used as weak map key"],
    [/^bad normalization form$/, "The normalization form should be one of NFC, NFD, NFKC, NFKD."],
    [/^(.*) is not initialized$/s, "Cannot access '$1' before initialization"],
    [/^circular reference$/, "Converting circular structure to JSON"],
    [/^toPrimitive$/, "Cannot convert object to primitive value"],
    [/^circular prototype chain$/, "Cyclic __proto__ value"],
    [/^BigInt division by zero$/, "Division by zero"],
    [/^BigInt negative exponent$/, "Exponent must be non-negative"],
    [/^BigInt operands are forbidden for >>>$/, "BigInts have no unsigned right shift, use >> instead"],
    [/^bigint argument with unary \+$/, "Cannot convert a BigInt value to a number"],
    [/^cannot invoke a running generator$/, "Generator is already running"],
    [/^'this' can be initialized only once$/, "Super constructor may only be called once"],
    [/^derived class constructor must return an object or undefined$/, "Derived constructors may only return object or undefined"],
    [/^not a object$/, "CreateListFromArrayLike called on non-object"],
    [/^invalid value used as WeakSet key$/, "Invalid value used in weak set"],
    [/^invalid target$/, "WeakRef: invalid target"],
    [/^string too long$/, "Invalid string length"],
    [/^BigInt are forbidden in JSON.stringify$/, "Do not know how to serialize a BigInt"],
    [/^empty array$/, "Reduce of empty array with no initial value"],
    [/^not a Date object$/, "this is not a Date object."],
    [/^invalid string length$/, "Invalid string length"],
    [/^Date value is NaN$/, "Invalid time value"],
    [/^cannot convert BigInt to number$/, "Cannot mix BigInt and other types, use explicit conversions"],
    [/^cannot convert symbol to (number|string)$/, "Cannot convert a Symbol value to a $1"],
  ];

  // Errors of the language's own functions name the function.
  const DIGITS = { toFixed: "digits argument must be between 0 and 100", toExponential: "argument must be between 0 and 100", toPrecision: "argument must be between 1 and 100" };
  const CALLBACKS = { sort: "The comparison function must be either a function or undefined", toSorted: "The comparison function must be either a function or undefined", flatMap: "flatMap mapper function is not callable" };
  const ON_LISTS = ["concat", "every", "fill", "filter", "find", "findIndex", "findLast", "findLastIndex", "flat", "flatMap", "forEach", "includes", "indexOf", "join", "map", "pop", "push", "reduce", "reduceRight", "reverse", "shift", "slice", "some", "splice", "unshift"];
  const REFLECTED = ["get", "set", "has", "getPrototypeOf", "isExtensible", "deleteProperty", "getOwnPropertyDescriptor", "preventExtensions", "ownKeys"];
  const OWNERS = { ...Object.fromEntries(REFLECTED.map((name) => [name, `Reflect.${name}`])), defineProperty: "Object.defineProperty", defineProperties: "Object.defineProperties", setPrototypeOf: "Reflect.setPrototypeOf", all: "Promise.all", allSettled: "Promise.allSettled", any: "Promise.any", race: "Promise.race" };
  /** @type {Record<string, (name: string) => string | undefined>} */
  const OF_FUNCTIONS = {
    "invalid number of digits": (name) => `${name}() ${DIGITS[name]}`,
    "regexp must have the 'g' flag": (name) => `String.prototype.${name} called with a non-global RegExp argument`,
    "regexp not supported": (name) => `First argument to String.prototype.${name} must not be a regular expression`,
    "null or undefined are forbidden": (name) => `String.prototype.${name} called on null or undefined`,
    "cannot convert BigInt to number": () => "Cannot convert a BigInt value to a number",
    "Cannot convert undefined or null to object": (name) => (ON_LISTS.includes(name) ? `Array.prototype.${name} called on null or undefined` : undefined),
    "not a number": (name) => `Number.prototype.${name} requires that 'this' be a Number`,
    "not a constructor": (name) => `${name} is not a constructor`,
    "must be called with new": (name) => (name === "Promise" ? "Promise constructor cannot be invoked without 'new'" : `Constructor ${name} requires 'new'`),
    "invalid array index": (name) => (name === "ArrayBuffer" ? "Invalid array buffer length" : undefined),
    "out of bound": () => "Offset is outside the bounds of the DataView",
    "not an object": (name) => OWNERS[name] && `${OWNERS[name]} called on non-object`,
  };

  function rewordOf(text, name) {
    if (name === "Proxy" && text === "not an object") return "Cannot create proxy with a non-object as target or handler";
    if (name === "fromEntries" && NO_ITERATOR.test(text)) return "undefined is not iterable";
    if (Object.hasOwn(OF_FUNCTIONS, text)) return OF_FUNCTIONS[text](name) ?? text;
    if (!/ is not a function$/.test(text)) return text;
    if (ON_LISTS.includes(name)) text = text.replace(/^#<Object>/, "[object Object]");
    return Object.hasOwn(CALLBACKS, name) ? CALLBACKS[name] : name === "Promise" ? `Promise resolver ${text}` : text;
  }

  const NOT_ITERABLE = /^(.*) is not iterable$/s;
  const NO_ITERATOR = /^cannot read property 'Symbol\.(iterator|asyncIterator)' of (undefined|null)$/;
  const VALUE = (text) => (text === "null" ? "object null" : text);

  // Node's words for what failed at a site that the compiler described.
  function rewordAt(text, site) {
    if (site.sets !== undefined) text = text.replace(/^Cannot set property of/, `Cannot set property ${site.sets} of`);
    if (site.constructed !== undefined && /(^| is )not a (function|constructor)$/.test(text)) return `${site.constructed} is not a constructor`;
    if (text === "not a function" && site.called && site.iterated && !site.spread) return `${site.iterated} is not iterable`;
    if (text === "not a function") return site.called ? `${site.called} is not a function` : site.iterated ? `${site.iterated} is not async iterable` : text;
    const nothing = /^Cannot destructure (undefined|null)$/.exec(text)?.[1];
    if (nothing === undefined || site.pattern === undefined) return text;
    if (site.of === "" && site.property) return `Cannot read properties of ${nothing} (reading '${site.property}')`;
    const of = site.pattern === "parameter" ? VALUE(nothing) : site.of;
    return `Cannot destructure ${site.property ? `property '${site.property}' of ` : ""}'${of}' as it is ${nothing}.`;
  }

  function rewordIterable(text, site) {
    const none = NO_ITERATOR.exec(text);
    const value = none ? VALUE(none[2]) : NOT_ITERABLE.exec(text)?.[1];
    if (value === undefined) return text;
    if (site.spread) return none ? `${site.iterated} is not iterable (cannot read property ${none[2]})` : "Spread syntax requires ...iterable[Symbol.iterator] to be a function";
    return site.iterated ? `${site.iterated} is not iterable` : `${value} is not iterable (cannot read property Symbol(Symbol.iterator))`;
  }

  function reword(error, frames) {
    if (error instanceof URIError && frames[0]?.line === 0) return "URI malformed";
    if (error instanceof AggregateError && error.message === "") {
      frames.length = 0; // V8 gives it no stack
      return "All promises were rejected";
    }
    if (frames[0]?.line === 0 && frames[0].file === "") {
      const text = rewordOf(error.message, frames[0].name);
      if (text !== error.message) return text;
    }
    if (error.message === "class constructors must be invoked with 'new'") return classWithoutNew(frames.shift().name);
    const site = siteOf(frames[0]);
    // The built-in common words its own errors of values that are not iterable.
    const isCommon = frames[0]?.file === "common.js";
    const text = isCommon ? error.message : rewordIterable(rewordAt(error.message, site), site);
    if (text !== error.message) return text;
    for (const [pattern, wording] of REWRITES)
      if (pattern.test(text)) return text.replace(pattern, wording);
    return text + missingAdaptor(text, jobOf(frames[0]?.file));
  }

  const classWithoutNew = (name) => (name ? `Class constructor ${name} cannot be invoked without 'new'` : "Class constructors cannot be invoked without 'new'");

  // Most often the cause of "fn is not defined".
  function missingAdaptor(text, job) {
    const name = /^(.*) is not defined$/s.exec(text)?.[1];
    const isCommon = name !== undefined && job?.adaptors.every((specifier) => baseOf(specifier) === COLLECTIONS) && Object.hasOwn(adaptors.get(COMMON), name);
    return isCommon ? ` (the step names no adaptor; common has ${name})` : "";
  }

  const jobOf = (file) => (file === step?.file ? step.job : jobs.get(file));
  const siteOf = (frame) => jobOf(frame?.file)?.sites[`${frame.line}:${frame.column}`] ?? {};

  // Scripts whose functions stand in for those of the language.
  const LANGUAGE = ["dates.js", "inspect.js", "language.js", "locale.js", "syntax_errors.js"];

  // A job's body starts on the second line of what the engine evaluates.
  function frameOf(site) {
    const name = site.getFunctionName() ?? "";
    const file = site.isNative() ? "" : (site.getFileName() ?? "");
    if (site.isNative() || LANGUAGE.includes(file)) return { name, file: "", line: 0, column: 0 };
    // Code that several steps share has the file of the first of them.
    const own = file === step?.job.file ? step.file : file;
    return { name, file: own, line: site.getLineNumber() - 1, column: site.getColumnNumber() };
  }

  // Before anything is done with it: a message of 40 MB would be copied, searched and encoded for
  // seconds, until the memory is used up.
  const TEXT_LIMIT = 100_000;
  const shortened = (text) =>
    typeof text === "string" && text.length > TEXT_LIMIT
      ? `${text.slice(0, TEXT_LIMIT)}… (cut: ${text.length} characters)`
      : text;

  const stackText = (error, frames) =>
    [`${shortened(error.name)}: ${shortened(error.message)}`, ...frames.map(frameText)].join("\n");
  const frameText = ({ name, file, line, column }) =>
    line ? `    at ${name || "<anonymous>"} (${file}:${line}:${column})` : `    at ${name} (native)`;

  // An error is made where `new` stands, not in the constructors of its class.
  function withoutConstructor(error, frames) {
    const name = error?.constructor?.name;
    const at = frames.findIndex((frame) => frame.name === name && frame.line > 0);
    const inside = at >= 0 && frames.slice(0, at).every((frame) => frame.line === 0 || /^(job:|globals$)/.test(frame.file));
    return inside && error.constructor !== Error ? frames.slice(at + 1) : frames;
  }

  // The engine calls this again when an error is thrown again; only the first position counts.
  Error.prepareStackTrace = (error, sites) => {
    if (sitesOf !== null) return sitesOf(sites);
    if (error instanceof InternalError && error.message === "out of memory") flags.oom = true;
    const known = traces.get(error);
    if (known) return known.text;
    const frames = withoutConstructor(error, sites.map(frameOf));
    try {
      const message = error.message;
      const isShort = typeof message === "string" && message.length <= TEXT_LIMIT;
      const worded = isShort ? reword(error, frames) : message;
      if (worded !== message) error.message = worded;
    } catch {
      // A frozen or exotic error keeps its own message.
    }
    const text = stackText(error, frames.filter(({ file }) => /^(job:|edge:|globals$|$)/.test(file)));
    traces.set(error, { frames, text });
    return text;
  };

  const DETAILS_LIMIT = 20_000;

  function detailsOf(error) {
    try {
      const { message, stack, name, ...rest } = error;
      const text = JSON.stringify(rest, decycled(error));
      return text && text !== "{}" && text.length <= DETAILS_LIMIT ? JSON.parse(text) : {};
    } catch {
      return {};
    }
  }

  // V8's frames of a stack, which decide what an entry of state.errors shows.
  const TRACE_LENGTH = 10;

  function typeOf(error) {
    if (error === null || error === undefined) return "TypeError";
    if (flags.oom) return "OomError";
    if (flags.security || error instanceof EvalError) return "SecurityError";
    if (typeof error !== "object" || error === null) return "JobError";
    if (kinds.has(error)) return kinds.get(error);
    if (error instanceof InternalError) return "RangeError";
    // OpenFn knows these by the name of the class.
    const crash = /SyntaxError|ReferenceError/.exec(constructorName(error));
    if (crash) return crash[0];
    // A class of the job's own that extends these is a JobError, as on OpenFn.
    for (const type of [TypeError, RangeError]) if (error instanceof type && error.constructor === type) return type.name;
    return "JobError";
  }

  function constructorName(error) {
    try {
      return typeof error.constructor === "function" ? textOf(error.constructor.name) : "";
    } catch {
      return ""; // a proxy
    }
  }

  const textOf = (value) => (typeof value === "string" ? value : value === undefined ? "" : String(value));

  // Describes a thrown value as JSON. Hostile getters and proxies must not break the report.
  function describe(error) {
    const report = { type: typeOf(error), name: "", message: "", frames: [], details: {}, constructor: "", isError: false, operation: step?.operation ?? -1, operates: step?.operates ?? false };
    try {
      if (typeof error === "string") report.message = shortened(error);
      else if (error === null || error === undefined) report.message = `Cannot read properties of ${error} (reading 'stack')`;
      else if (typeof error === "object") {
        report.message = shortened(textOf(error.message));
        report.name = shortened(textOf(error.name));
        report.constructor = shortened(constructorName(error));
        report.isError = error instanceof Error;
        report.frames = (traces.get(error)?.frames ?? []).slice(0, TRACE_LENGTH);
        report.details = detailsOf(error);
      }
    } catch {
      report.message = "an error that cannot be read";
    }
    return JSON.stringify(report);
  }

  // --- state is JSON --------------------------------------------------------------------------

  // Replaces references of an object to itself, and not objects that are merely shared. ``original`` is
  // what the serialized object was copied from.
  function decycled(original) {
    const ancestors = [];
    /** @this {object} */
    return function (_key, value) {
      if (original !== undefined && value === original) return "[Circular]";
      if (typeof value === "bigint") return value.toString();
      if (typeof value !== "object" || value === null) return value;
      while (ancestors.length && ancestors[ancestors.length - 1] !== this) ancestors.pop();
      if (ancestors.includes(value)) return "[Circular]";
      ancestors.push(value);
      return value;
    };
  }

  function serialize(value, original) {
    try {
      return JSON.stringify(value);
    } catch (error) {
      if (flags.oom || error instanceof RangeError) throw error;
      return JSON.stringify(value, decycled(original));
    }
  }

  // The engine's own recursion ends at some thousands of levels; the host counts those below.
  function serializeState(value, original) {
    try {
      return serialize(value, original);
    } catch (error) {
      if (flags.oom || !(error instanceof RangeError) || !/call stack|stack overflow/.test(error.message)) throw error;
      throw mark(new RangeError("the state is nested too deeply to be JSON"), "StateTooLargeError");
    }
  }

  const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

  // hasOwn, as a step's id may be "constructor".
  const hasError = (state, stepId) =>
    isObject(state?.errors) && Object.hasOwn(state.errors, stepId) && Boolean(state.errors[stepId]);

  // A step's input. `data` is merged one level deep; a list or a text stands alone.
  function assemble(upstream, defaults, configuration, credentials) {
    const above = upstream ?? {};
    const { data } = above;
    const standsAlone = Array.isArray(data) || (Boolean(data) && typeof data !== "object");
    return {
      ...defaults,
      ...above,
      configuration: { ...credentials, ...above.configuration, ...configuration },
      data: standsAlone ? data : { ...defaults?.data, ...data },
    };
  }

  function withoutSecrets(state) {
    if (!isObject(state)) return state;
    const { configuration, response, ...rest } = state;
    return rest;
  }

  // A state's own toJSON makes another value, which may have them again.
  function serializeOutput(state, original) {
    const text = serializeState(state, original);
    if (typeof state.toJSON !== "function" || text === undefined) return text;
    return serializeState(withoutSecrets(JSON.parse(text)));
  }

  // --- console and timers -----------------------------------------------------------------------

  const inspectValue = globalThis.__inspect;

  // A line of the log is never a reason to fail a step.
  function inspect(value) {
    try {
      return inspectValue(value);
    } catch (error) {
      if (flags.oom) throw error;
      return "a value that cannot be inspected";
    }
  }

  // As JSON, which keeps zero characters and halves of surrogate pairs intact on the way to Python.
  const writeLog = (level, source, text) => host.log(level, source, JSON.stringify(text));
  const logger = (level, source) => (...values) => void (values.length && writeLog(level, source, values.map(inspect).join(" ")));
  const LEVELS = { log: "info", info: "info", success: "info", always: "info", warn: "warn", error: "error", debug: "debug", trace: "debug", dir: "info", table: "info" };

  const consoleFor = (source) => {
    const console = {};
    const clocks = new Map();
    const counts = new Map();
    for (const [name, level] of Object.entries(LEVELS)) console[name] = logger(level, source);
    console.assert = (holds, ...values) => holds || logger("error", source)("Assertion failed:", ...values);
    console.time = (label = "default") => void clocks.set(label, host.now());
    console.timeEnd = console.timeLog = (label = "default") =>
      logger("info", source)(`${label}: ${(host.now() - (clocks.get(label) ?? host.now())).toFixed(3)}ms`);
    console.count = (label = "default") => {
      counts.set(label, (counts.get(label) ?? 0) + 1);
      logger("info", source)(`${label}: ${counts.get(label)}`);
    };
    console.group = console.groupCollapsed = (...values) => values.length && logger("info", source)(...values);
    console.groupEnd = () => {};
    return console;
  };

  const timers = []; // sorted by time, then by id
  let lastTimer = 0;

  function schedule(callback, delay, every, args) {
    if (typeof callback === "string") forbid();
    if (typeof callback !== "function")
      throw new TypeError(`The "callback" argument must be of type function. Received ${inspect(callback)}`);
    const wait = Math.max(1, Math.min(Number(delay) || 0, 2 ** 31 - 1));
    const timer = { id: ++lastTimer, at: host.now() + wait, every: every ? wait : 0, callback, args };
    enqueue(timer);
    return timer.id;
  }

  function enqueue(timer) {
    let low = 0, high = timers.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (timers[middle].at <= timer.at) low = middle + 1;
      else high = middle;
    }
    timers.splice(low, 0, timer);
  }

  function unschedule(id) {
    const at = timers.findIndex((timer) => timer.id === id);
    if (at >= 0) timers.splice(at, 1);
  }

  // --- code from text ---------------------------------------------------------------------------

  function forbid() {
    flags.security = true;
    throw new EvalError("Code generation from strings disallowed for this context");
  }

  const EngineFunction = Function;

  function takeAwayCodeGeneration() {
    const kinds = [function () {}, async function () {}, function* () {}, async function* () {}];
    for (const sample of kinds) {
      const prototype = Object.getPrototypeOf(sample);
      const stand_in = { [prototype.constructor.name]: function () { return forbid(); } }[prototype.constructor.name];
      Object.defineProperty(stand_in, "prototype", { value: prototype });
      Object.defineProperty(prototype, "constructor", { value: stand_in, writable: false, configurable: false });
      if (stand_in.name === "Function") define(globalThis, "Function", stand_in);
    }
    define(globalThis, "eval", { eval: () => forbid() }.eval);
  }

  // Adaptors make code themselves, as ajv does of a schema. A bundle has this under the name Function,
  // and only where its own code is the caller: a job that gets hold of it has nothing.
  function compilerFor(file) {
    const compiler = {
      Function: function (...texts) {
        // A subclass would call it from the bundle for whoever makes an instance.
        const isOwn = new.target === undefined || new.target === compiler;
        return isOwn && isCaller(file) ? new EngineFunction(...texts) : forbid();
      },
    }.Function;
    return Object.defineProperty(compiler, "prototype", { value: EngineFunction.prototype, writable: false });
  }

  const { get: traceLimit, set: setTraceLimit } = Object.getOwnPropertyDescriptor(Error, "stackTraceLimit");
  const TRACE_LIMIT = traceLimit.call(Error);
  let sitesOf = null; // receives the call sites of the next error

  function isCaller(file) {
    const limit = traceLimit.call(Error);
    let sites = [];
    setTraceLimit.call(Error, TRACE_LIMIT);
    sitesOf = (all) => {
      sites = all;
    };
    new Error();
    sitesOf = null;
    setTraceLimit.call(Error, limit);
    // Native functions pass calls on: what counts is the script that called them. The first two
    // sites are this function and the compiler.
    return sites.slice(2).find((site) => !site.isNative())?.getFileName() === file;
  }

  const define = (target, name, value) =>
    Object.defineProperty(target, name, { value, writable: true, configurable: true, enumerable: false });

  // --- what a job can name beyond the language ------------------------------------------------------

  const JOB_NAMES = ["Buffer", "clearInterval", "clearTimeout", "setInterval", "setTimeout"];
  // For adaptors alone, unless a run is permissive. A job that names them crashes on OpenFn.
  const ADAPTOR_NAMES = ["DOMException", "TextDecoder", "TextEncoder", "URL", "URLSearchParams", "atob", "btoa", "clearImmediate", "performance", "queueMicrotask", "setImmediate", "structuredClone"];
  const HOST_NAMES = [...JOB_NAMES, ...ADAPTOR_NAMES];
  const web = globalThis.__web;
  const hostValues = {}; // taken from the global object, which conditions and jobs can reach
  let isPermissive = false;

  const hostValue = (name) => (Object.hasOwn(hostValues, name) && (isPermissive || JOB_NAMES.includes(name)) ? hostValues[name] : undefined);

  // A step's own global object: what it adds or changes is gone in the next step.
  function globalFor(state, shared) {
    const own = Object.create(Object.prototype);
    for (const name of Reflect.ownKeys(globalThis)) define(own, name, globalThis[name]);
    Object.assign(own, shared);
    for (const name of HOST_NAMES) if (hostValue(name) !== undefined) own[name] = hostValue(name);
    // These are no part of the language on OpenFn, so they are enumerable.
    for (const name of ["console", "parseFloat", "parseInt"]) Object.defineProperty(own, name, { value: globalThis[name], enumerable: true });
    own.state = state;
    define(own, "globalThis", own);
    return own;
  }

  // --- adaptors, and what a job's body receives ---------------------------------------------------

  const COMMON = "@openfn/language-common";
  const COLLECTIONS = "@openfn/language-collections";
  const BUILT_IN = [COMMON, COLLECTIONS];
  const fullName = (name) => (name.includes("/") ? name : `@openfn/language-${name}`);
  const baseOf = (specifier) => fullName(specifier).replace(/(?<=.)@[^/]*$/, "");
  const find = (specifier) => adaptors.get(chosen.get(specifier)) ?? (BUILT_IN.includes(baseOf(specifier)) ? adaptors.get(baseOf(specifier)) : undefined);

  function moduleFor({ file, job: { adaptors: specifiers } }, name, line = 0, column = 0, names = []) {
    const wanted = baseOf(name);
    const own = specifiers.find((specifier) => baseOf(specifier) === wanted);
    if (own === undefined && wanted !== COMMON) throw placed(mark(new Error(`module not allowed: ${name}`), "ImportError"), file, line, column);
    const exports = find(own ?? name);
    const missing = names.find((wantedName) => !(wantedName in exports));
    if (missing === undefined) return exports;
    throw placed(new SyntaxError(`The requested module '${name}' does not provide an export named '${missing}'`), file, line, column);
  }

  // Imports are moved to the first line of a body; their errors are reported where they were written.
  function placed(error, file, line, column) {
    if (line) traces.set(error, { frames: [{ name: "", file, line, column, isWritten: true }], text: String(error) });
    return error;
  }

  const absentFromBuiltIn = (name) => () => {
    throw mark(
      new Error(`${name}() is not in the built-in common: install the published one with worker adaptors install ${COMMON}`),
      "AdaptorError",
    );
  };

  function collectionsUnset() {
    // The step has them, and an operation returned a state without its configuration.
    if (step.state.configuration?.collections_endpoint) throw new Error("ERROR: collections_endpoint not set");
    throw mark(
      new Error("this run has no collections: give it --collections with a folder or the URL of the service, or `collections` in a case"),
      "AdaptorError",
    );
  }

  // The whole step needs its adaptor, as on OpenFn, even where it only calls common's functions.
  function checkInstalled({ absent }) {
    if (absent === undefined) return;
    const message = `the adaptor ${absent} is not installed: worker adaptors install ${fullName(absent)}`;
    throw mark(new Error(message), "AdaptorError");
  }

  // The value of a name that a job uses and never declares, or undefined where no adaptor has it.
  function exported(specifiers, name) {
    for (const specifier of specifiers) {
      const exports = find(specifier);
      if (exports && name in exports) return exports[name];
    }
    return hostValue(name);
  }

  const invalid = (message) => mark(new Error(message), "ValidationError");

  function checked(operation, index, written) {
    if (typeof operation !== "function") {
      if (step) step.operation = written;
      const kind = operation === null ? "null" : typeof operation;
      throw invalid(`an operation must be a function, found ${kind} (call plain functions inside fn(state => ...))`);
    }
    return async (state) => {
      if (step) Object.assign(step, { operation: written, operates: true });
      if (!state) writeLog("warn", "R/T", `WARNING: No state was passed into operation ${index + 1}. Did the previous operation return state?`);
      return await operation(state || {});
    };
  }

  const inOrder = (...operations) => async (state) => {
    for (const operation of operations) state = await operation(state);
    return state;
  };

  const defer = Object.freeze((operation, onThen, onCatch) => async (state) => {
    try {
      const result = await operation(state);
      return onThen ? await onThen(result) : result;
    } catch (error) {
      if (!onCatch) throw error;
      return await onCatch(error, state);
    }
  });

  let sharedModule = null; // the workflow's own global functions: {run, exports}

  const NO_NAMES = Object.freeze({});

  const failedImport = (name) => {
    throw mark(new Error(`Failed to import module "${name}"`), "ImportError");
  };

  // Runs anew for each step. Its exports are frozen one level deep.
  async function sharedNames() {
    const state = {};
    const calls = [];
    const $worker = {
      exports: sharedModule.exports,
      exported: {},
      state,
      default: undefined,
      import: failedImport,
      dynamicImport: async (name) => failedImport(name),
      meta: Object.freeze({ url: "" }),
      fail: failSyntax,
      op: (call) => void calls.push(call()), // a plain call, as the module has no operations
      defer,
      get global() {
        return globalFor(state, {});
      },
    };
    try {
      await sharedModule.run.call(undefined, $worker);
      await Promise.all(calls);
    } catch (error) {
      if (error instanceof Error) error.message = `[globals] ${error.message}`;
      throw error;
    }
    /** @type {Record<string, any>} */
    const names = { ...$worker.exported };
    if ($worker.default !== undefined) names.default = $worker.default;
    for (const value of Object.values(names)) if (isReference(value)) Object.freeze(value);
    return names;
  }

  const failSyntax = (message) => {
    throw new SyntaxError(message);
  };

  async function execute(step, state) {
    const { job } = step;
    checkInstalled(job);
    const shared = sharedModule === null ? NO_NAMES : await sharedNames();
    const thunks = [];
    const $worker = {
      default: [],
      exports: job.exports,
      exported: {},
      globals: shared,
      get global() {
        return globalFor(state, shared);
      },
      state,
      meta: Object.freeze({ url: "" }),
      op: (thunk) => void thunks.push(thunk),
      defer,
      import: (name, ...place) => moduleFor(step, name, ...place),
      dynamicImport: async (name) => moduleFor(step, String(name)),
    };
    await job.run.call(undefined, $worker);
    if (!Array.isArray($worker.default)) throw invalid("a job's default export must be an array of operations");
    const operations = [...$worker.default];
    for (const thunk of thunks) operations.push(await thunk());
    const first = $worker.default.length;
    const compose = $worker.exported.execute ?? job.exports.execute ?? inOrder;
    return await compose(...operations.map((operation, index) => checked(operation, index, index - first)))(state);
  }

  // OpenFn's words are the first part: its state is copied as JSON.
  const notJson = (value) =>
    `"undefined" is not valid JSON: the step returned a ${typeof value}, no state (an operation in a callback is called with (state))`;

  async function perform(step, upstream, defaults, configuration, credentials) {
    step.state = assemble(JSON.parse(upstream), JSON.parse(defaults), JSON.parse(configuration), JSON.parse(credentials));
    const returned = await execute(step, step.state);
    if (typeof returned === "function" || typeof returned === "symbol") throw new SyntaxError(notJson(returned));
    const result = withoutSecrets(returned);
    step.errored = hasError(result, step.id);
    if (step.errored) step.ownError = result.errors[step.id];
    step.text = result ? (serializeOutput(result, returned) ?? null) : null;
  }

  // --- API for the host -----------------------------------------------------------------------------

  const api = {
    slot: () => slot,
    thrown: () => describe(slot.error),

    // The engine has just evaluated the job's body into the slot, under the job's own file name.
    job(file, description) {
      const { adaptors, sites, free } = JSON.parse(description);
      const exports = {};
      for (const name of free) {
        const value = exported(adaptors, name);
        if (value !== undefined) exports[name] = value;
      }
      if (Object.keys(exports).length) exports.execute ??= exported(adaptors, "execute");
      // Its executions share it, and code can reach it: what one changed, the next would call.
      Object.freeze(exports);
      const absent = adaptors.find((specifier) => !find(specifier));
      jobs.set(file, { file, run: slot.value, sites, exports, adaptors, absent });
    },
    // The engine has just evaluated the workflow's own global functions into the slot.
    shared(free, sites) {
      const exports = {};
      for (const name of JSON.parse(free)) if (hostValue(name) !== undefined) exports[name] = hostValue(name);
      sharedModule = { run: slot.value, exports: Object.freeze(exports) };
      jobs.set("globals", { sites: JSON.parse(sites), adaptors: [COMMON] });
    },
    permit: () => {
      isPermissive = true;
    },
    // Those of a job's free names that one of its adaptors exports, or the host gives.
    names: (adaptors, free) =>
      JSON.stringify(JSON.parse(free).filter((name) => exported(JSON.parse(adaptors), name) !== undefined)),
    condition: () => conditions.push(slot.value) - 1,

    begin(file, stepId, upstream, defaults, configuration, credentials, seed) {
      reseed(seed);
      reset();
      const mine = { id: stepId, file: `job:${stepId}`, job: jobs.get(file), upstream, state: {}, error: null, thrown: undefined, operation: -1, operates: false, settled: false, text: null, errored: false };
      step = mine;
      perform(mine, upstream, defaults, configuration, credentials).then(
        () => {
          mine.settled = true;
        },
        (error) => {
          mine.error = describe(error);
          mine.thrown = error;
          mine.settled = true;
        },
      );
    },
    // "" while the step runs, "ok", or the report of its error.
    poll: () => (!step.settled ? "" : (step.error ?? "ok")),
    // The JSON text of the output, or null where the step returned nothing.
    output: () => step.text,
    errored: () => step.errored,
    // The entry that a step wrote for itself, as JSON.
    own_error: () => JSON.stringify({ message: textOf(step.ownError?.message), name: textOf(step.ownError?.name) }),
    // The output of a step that is done and needs no closer look, else null.
    completed: () => (step.settled && !step.error && !step.errored && !flags.oom && !flags.security ? step.text : null),
    // A forbidden operation, or memory that ran out, ends the step even where the job caught it.
    caught: () => (flags.oom ? "OomError" : flags.security ? "SecurityError" : ""),

    // State of a failed step: its input with its changes in place, and its error; null where it is
    // nested too deeply.
    failed(text) {
      const entry = completeEntry(JSON.parse(text), step.thrown);
      const withError = (state) => {
        const passed = withoutSecrets(state);
        const before = isObject(passed.errors) ? passed.errors : {};
        return serializeOutput({ ...passed, errors: { ...before, [step.id]: entry } }, state);
      };
      try {
        return withError(step.state);
      } catch (error) {
        if (flags.oom) throw error;
        if (isTooLarge(error)) return null;
        return withError(JSON.parse(step.upstream)); // the changes are not JSON
      }
    },

    // {taken, thrown, changed} as JSON: per edge in order, whether it is taken, up to a condition that
    // threw. On the next line follows the state, where the conditions have changed it.
    // Getters and toJSON of the state that a condition leaves are the condition's code too.
    edges(stepId, wanted, text, seed) {
      reseed(seed);
      try {
        return evaluateEdges(stepId, JSON.parse(wanted), text);
      } finally {
        reset();
      }
    },

    // Milliseconds until the next timer, or -1.
    due: () => (timers.length ? Math.max(0, timers[0].at - host.now()) : -1),
    fire() {
      const now = host.now();
      if (!timers.length || timers[0].at > now) return false;
      const timer = timers.shift();
      if (timer.every) enqueue({ ...timer, at: now + timer.every });
      timer.callback(...timer.args);
      return true;
    },
  };

  // What the entry of state.errors takes of the thrown value itself: a message that is no text, and
  // the own fields of what an adaptor or a named function threw.
  function completeEntry(entry, error) {
    try {
      const takesMessage = entry.name === "JobError" || entry.name === "AdaptorError";
      if (takesMessage && isObject(error) && error.message && typeof error.message !== "string") entry.message = JSON.parse(serialize(error.message));
      if (entry.name === "AdaptorError") entry.details = { message: shortened(error.message), ...JSON.parse(JSON.stringify(error, decycled())) };
    } catch {
      // What cannot be JSON is left out.
      delete entry.details;
    }
    return entry;
  }

  function evaluateEdges(stepId, wanted, text) {
    const taken = [];
    const state = text === null ? undefined : JSON.parse(text);
    let thrown = null;
    for (const condition of wanted) {
      try {
        taken.push(holds(condition, state, stepId));
      } catch (error) {
        thrown = describe(error);
        break;
      }
    }
    let after = text;
    try {
      if (state !== undefined) after = serializeState(state);
    } catch (error) {
      if (!isTooLarge(error)) throw error;
      thrown = describe(error);
    }
    const changed = after !== text;
    return `${JSON.stringify({ taken, thrown, changed })}\n${changed ? (after ?? "") : ""}`;
  }

  function holds(condition, state, stepId) {
    if (condition === "always") return true;
    if (condition === "on_job_success") return !hasError(state, stepId);
    if (condition === "on_job_failure") return hasError(state, stepId);
    reset();
    const value = conditions[condition](state, stepId, conditionConsole);
    // An attempt to make code counts even where the condition catches the error.
    return flags.security ? forbid() : Boolean(value);
  }

  function reset() {
    flags.oom = false;
    flags.security = false;
    setTraceLimit.call(Error, TRACE_LIMIT);
  }

  // --- host calls -------------------------------------------------------------------------------------

  const calls = []; // not taken by the host yet
  const pending = new Map(); // number -> resolve
  let lastCall = 0;

  const callHost = (kind, text) =>
    new Promise((resolve) => {
      pending.set(++lastCall, resolve);
      calls.push([lastCall, String(kind), String(text)]);
    });
  const adaptorConsole = consoleFor("ADA");
  const conditionConsole = consoleFor("ADA");

  // Takes the calls that adaptors made since the last time, as JSON, or "".
  api.calls = () => (calls.length ? JSON.stringify(calls.splice(0)) : "");
  api.reply = (number, text) => {
    pending.get(number)(text);
    pending.delete(number);
  };
  // The names that jobs do not have, as parameters of what may use them.
  const hostNames = () => HOST_NAMES.filter((name) => name in globalThis);
  api.host_names = () => hostNames().join(", ");

  // A global object for code that may use the host names, so that it leaves nothing on the real one.
  function globalWith(values) {
    const global = Object.create(globalThis);
    for (const [key, value] of Object.entries({ ...values, globalThis: global })) define(global, key, value);
    return global;
  }

  let libraryGlobal = null;
  api.library = (load) => {
    const values = Object.fromEntries(hostNames().map((name) => [name, globalThis[name]]));
    libraryGlobal ??= globalWith(values);
    load(libraryGlobal, ...Object.values(values));
  };

  // A bundle is a function of its compiler, its global object and the host names.
  api.install = (name, bundle) => {
    const names = new Set(Reflect.ownKeys(globalThis));
    const prototype = Object.getPrototypeOf(globalThis);
    const global = globalWith({ ...hostValues, __host: callHost, __console: adaptorConsole });
    bundle.call(undefined, compilerFor(name), global, ...Object.values(hostValues));
    const exports = global.__adaptor;
    if (typeof exports !== "object" || exports === null) throw new TypeError("the bundle exports nothing");
    adaptors.set(name, exports);
    // What it left on the real one, the next bundle and all jobs would find.
    for (const key of Reflect.ownKeys(globalThis)) if (!names.has(key)) delete globalThis[key];
    Object.setPrototypeOf(globalThis, prototype);
  };
  api.exports = (name) => JSON.stringify(Object.keys(adaptors.get(name)).sort());
  api.choose = (specifier, name) => void chosen.set(specifier, name);

  // --- time and random numbers: of the run, so that it can be replayed --------------------------------

  const EngineDate = globalThis.Date;
  function DateOfRun(...args) {
    const isText = args.length === 1 && typeof args[0] === "string";
    const values = isText ? [EngineDate.parse(args[0])] : args.length ? args : [host.date()];
    return new.target ? Reflect.construct(EngineDate, values, new.target) : new EngineDate(host.date()).toString();
  }
  const { prototype, parse, UTC } = EngineDate;
  for (const [name, value] of Object.entries({ parse, UTC, now: () => host.date() })) define(DateOfRun, name, value);
  define(prototype, "constructor", DateOfRun);
  Object.defineProperty(DateOfRun, "prototype", { value: prototype, writable: false });
  Object.defineProperty(DateOfRun, "name", { value: "Date" });
  Object.defineProperty(DateOfRun, "length", { value: 7 });
  define(globalThis, "Date", DateOfRun);

  // sfc32, a generator with four words of state, all from the seed.
  // Most runs draw no number, so the words are made of the seed by the first one that does.
  let seed = "";
  let words = null;
  function firstWords() {
    words = [0, 8, 16, 24].map((at) => parseInt(seed.slice(at, at + 8), 16) | 0);
    for (let round = 0; round < 12; round++) word();
  }
  function word() {
    if (words === null) firstWords();
    const [a, b, c, counter] = words;
    const sum = (((a + b) | 0) + counter) | 0;
    words = [b ^ (b >>> 9), (c + (c << 3)) | 0, (((c << 21) | (c >>> 11)) + sum) | 0, (counter + 1) | 0];
    return sum >>> 0;
  }
  define(Math, "random", () => ((word() >>> 5) * 67108864 + (word() >>> 6)) / 9007199254740992);
  // The first step or condition of a run brings the run's seed, the others bring null.
  function reseed(text) {
    if (typeof text !== "string") return;
    seed = text;
    words = null;
  }

  // --- set-up and closing -----------------------------------------------------------------------------

  define(globalThis, "console", consoleFor("JOB"));
  define(globalThis, "setTimeout", (callback, delay, ...args) => schedule(callback, delay, false, args));
  define(globalThis, "setInterval", (callback, delay, ...args) => schedule(callback, delay, true, args));
  define(globalThis, "setImmediate", (callback, ...args) => schedule(callback, 0, false, args));
  for (const name of ["clearTimeout", "clearInterval", "clearImmediate"]) define(globalThis, name, (id) => unschedule(id));

  api.adaptor = (name, factory) =>
    void adaptors.set(
      name,
      factory(...hostNames().map((name) => globalThis[name]))({
        lodash: libraryGlobal.__lodash,
        dateFns: libraryGlobal.__dateFns,
        jsonpath: libraryGlobal.__jsonpath,
        console: consoleFor("ADA"),
        absent: absentFromBuiltIn,
        call: callHost,
        unset: collectionsUnset,
        util: adaptors.get(COMMON)?.util,
      }),
    );

  // Assigning a property that a frozen prototype also has must still work (`this.name = "MyError"`):
  // such prototype properties become accessors whose setter defines an own property.
  function allowOverride(prototype, name) {
    const { value, configurable, writable } = Object.getOwnPropertyDescriptor(prototype, name) ?? {};
    if (!configurable || !writable) return;
    const accessor = {
      get: () => value,
      set(replacement) {
        if (this === prototype) throw new TypeError(`Cannot assign to read only property '${String(name)}' of object`);
        Object.defineProperty(this, name, { value: replacement, writable: true, enumerable: true, configurable: true });
      },
    };
    Object.values(accessor).forEach(Object.freeze);
    Object.defineProperty(prototype, name, { ...accessor, configurable: false, enumerable: false });
  }

  const OFTEN_OVERRIDDEN = ["constructor", "toString", "valueOf", "toLocaleString", "toJSON", "name", "message", "then", "catch", "finally", "next"];

  const hardened = new Set();
  const isReference = (value) => (typeof value === "object" && value !== null) || typeof value === "function";

  /** Freezes all that is reachable from these objects, but the global object itself. */
  function harden(roots) {
    const reached = roots.filter(isReference);
    const added = [];
    while (reached.length) {
      const object = reached.pop();
      if (hardened.has(object)) continue;
      hardened.add(object);
      added.push(object);
      /** @type {Record<PropertyKey, PropertyDescriptor>} */
      const descriptors = Object.getOwnPropertyDescriptors(object);
      const values = [Object.getPrototypeOf(object)];
      for (const key of Reflect.ownKeys(descriptors)) values.push(descriptors[key].value, descriptors[key].get, descriptors[key].set);
      for (const value of values) if (isReference(value)) reached.push(value);
    }
    for (const object of added) {
      if (object === globalThis) continue;
      if (object === Object.prototype || object === Error.prototype || Object.prototype.isPrototypeOf.call(Error.prototype, object)) {
        for (const name of Object.getOwnPropertyNames(object)) if (name !== "__proto__") allowOverride(object, name);
      } else if (typeof object === "object" || object === Function.prototype) {
        for (const name of OFTEN_OVERRIDDEN) if (Object.hasOwn(object, name)) allowOverride(object, name);
      }
      if (!ArrayBuffer.isView(object)) Object.freeze(object);
    }
  }

  // Objects of the language that no property leads to.
  const hidden = () => {
    /** @type {any} */
    const { Iterator } = globalThis;
    const samples = [async function () {}, function* () {}, async function* () {}, [].values(), "".matchAll(/a/g), ""[Symbol.iterator](), new Map().entries(), new Set().entries(), Iterator.from([1]).map((value) => value), Iterator.from({ next() {} })];
    return samples.map(Object.getPrototypeOf);
  };

  // Before the first bundle: from here on nothing of the language changes any more.
  api.freeze = () => {
    for (const name of ["__web", "__inspect", "__core-js_shared__", "InternalError"]) delete globalThis[name];
    Object.defineProperty(Error, "prepareStackTrace", { value: undefined, writable: false, configurable: false });
    for (const name of hostNames()) {
      hostValues[name] = globalThis[name];
      delete globalThis[name];
    }
    Object.assign(web, hostValues);
    harden([globalThis, api, conditionConsole, ...Object.values(hostValues), ...adaptors.values(), ...hidden()]);
    for (const name of Reflect.ownKeys(globalThis))
      Object.defineProperty(globalThis, name, "value" in Object.getOwnPropertyDescriptor(globalThis, name) ? { writable: false, configurable: false } : { configurable: false });
  };

  api.close = () => {
    harden([...adaptors.values()]);
    Object.freeze(globalThis);
  };

  takeAwayCodeGeneration();
  return api;
})
