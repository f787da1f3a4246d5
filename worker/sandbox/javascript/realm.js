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
  const jobs = new Map(); // file -> {run, sites, exports, adaptors}
  const conditions = []; // index -> (state, upstreamStepId) => value
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
    [/^invalid repeat count$/, "Invalid count value"],
    [/^'(.*)' is read-only$/s, "Cannot assign to '$1': it is a constant or read-only"],
    [/^(.*) is not initialized$/s, "Cannot access '$1' before initialization"],
    [/^circular reference$/, "Converting circular structure to JSON"],
    [/^string too long$/, "Invalid string length"],
    [/^BigInt are forbidden in JSON.stringify$/, "Do not know how to serialize a BigInt"],
    [/^empty array$/, "Reduce of empty array with no initial value"],
    [/^Date value is NaN$/, "Invalid time value"],
    [/^cannot convert BigInt to number$/, "Cannot mix BigInt and other types, use explicit conversions"],
    [/^cannot convert symbol to (number|string)$/, "Cannot convert a Symbol value to a $1"],
    [/^class constructors must be invoked with 'new'$/, "Class constructor cannot be invoked without 'new'"],
    [/^unexpected token: '(.*)'$/s, "Unexpected token '$1' in JSON"],
    [/^unexpected end of (input|string)$/, "Unexpected end of JSON input"],
  ];

  const NOT_ITERABLE = /^(value is not iterable|cannot read property 'Symbol.iterator' of (undefined|null))$/;

  function reword(error, frames) {
    const text = error.message;
    if (error instanceof URIError) return "URI malformed";
    const sites = jobs.get(frames[0]?.file)?.sites ?? {};
    const place = `${frames[0]?.line}:${frames[0]?.column}`;
    if (text === "not a function") return sites[place] ? `${sites[place]} is not a function` : text;
    if (NOT_ITERABLE.test(text))
      return `${sites[`${place}:iterated`] ?? sites[place] ?? "value"} is not iterable`;
    for (const [pattern, wording] of REWRITES)
      if (pattern.test(text)) return text.replace(pattern, wording);
    return text + missingAdaptor(text, jobs.get(frames[0]?.file));
  }

  // Most often the cause of "fn is not defined".
  function missingAdaptor(text, job) {
    const name = /^(.*) is not defined$/s.exec(text)?.[1];
    const isCommon = name !== undefined && job?.adaptors.every((specifier) => baseOf(specifier) === COLLECTIONS) && Object.hasOwn(adaptors.get(COMMON), name);
    return isCommon ? ` (the step names no adaptor; common has ${name})` : "";
  }

  // A job's body starts on the second line of what the engine evaluates.
  const frameOf = (site) => ({
    name: site.getFunctionName() ?? "",
    file: site.getFileName() ?? "",
    line: site.isNative() ? 0 : site.getLineNumber() - 1,
    column: site.isNative() ? 0 : site.getColumnNumber(),
  });

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

  // The engine calls this again when an error is thrown again; only the first position counts.
  Error.prepareStackTrace = (error, sites) => {
    if (sitesOf !== null) return sitesOf(sites);
    if (error instanceof InternalError && error.message === "out of memory") flags.oom = true;
    const known = traces.get(error);
    if (known) return known.text;
    const frames = sites.map(frameOf).filter(({ file }) => /^(job:|edge:|$)/.test(file));
    try {
      const message = error.message;
      const isShort = typeof message === "string" && message.length <= TEXT_LIMIT;
      const worded = isShort ? reword(error, frames) : message;
      if (worded !== message) error.message = worded;
    } catch {
      // A frozen or exotic error keeps its own message.
    }
    const text = stackText(error, frames);
    traces.set(error, { frames, text });
    return text;
  };

  const DETAILS_LIMIT = 20_000;

  function detailsOf(error) {
    try {
      const { message, stack, name, ...rest } = error;
      const text = JSON.stringify(rest, decycled());
      return text && text !== "{}" && text.length <= DETAILS_LIMIT ? JSON.parse(text) : {};
    } catch {
      return {};
    }
  }

  function typeOf(error) {
    if (flags.oom) return "OomError";
    if (flags.security || error instanceof EvalError) return "SecurityError";
    if (typeof error !== "object" || error === null) return "JobError";
    if (kinds.has(error)) return kinds.get(error);
    if (error instanceof InternalError) return "RangeError";
    for (const type of [TypeError, RangeError, SyntaxError, ReferenceError])
      if (error instanceof type) return type.name;
    return "JobError";
  }

  const textOf = (value) => (typeof value === "string" ? value : value === undefined ? "" : String(value));

  // Describes a thrown value as JSON. Hostile getters and proxies must not break the report.
  function describe(error) {
    const report = { type: typeOf(error), name: "", message: "", frames: [], details: {} };
    try {
      if (typeof error === "string") report.message = shortened(error);
      else if (typeof error === "object" && error !== null) {
        report.message = shortened(textOf(error.message));
        report.name = shortened(textOf(error.name));
        report.frames = (traces.get(error)?.frames ?? []).slice(0, 10);
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

  function assemble(upstream, defaults, configuration) {
    const state = { configuration: null, ...defaults, ...upstream };
    if (isObject(defaults?.data) && isObject(upstream?.data)) state.data = { ...defaults.data, ...upstream.data };
    state.data ??= {};
    state.configuration = configuration;
    return state;
  }

  function withoutSecrets(state) {
    if (!isObject(state)) return state;
    const { configuration, response, ...rest } = state;
    return rest;
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
  const logger = (level, source) => (...values) => writeLog(level, source, values.map(inspect).join(" "));
  const LEVELS = { log: "info", info: "info", success: "info", warn: "warn", error: "error", debug: "debug", trace: "debug", dir: "info", table: "info" };

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

  // --- adaptors, and what a job's body receives ---------------------------------------------------

  const COMMON = "@openfn/language-common";
  const COLLECTIONS = "@openfn/language-collections";
  const BUILT_IN = [COMMON, COLLECTIONS];
  const fullName = (name) => (name.includes("/") ? name : `@openfn/language-${name}`);
  const baseOf = (specifier) => fullName(specifier).replace(/(?<=.)@[^/]*$/, "");
  const find = (specifier) => adaptors.get(chosen.get(specifier)) ?? (BUILT_IN.includes(baseOf(specifier)) ? adaptors.get(baseOf(specifier)) : undefined);

  function moduleFor(specifiers, name) {
    const wanted = baseOf(name);
    const own = specifiers.find((specifier) => baseOf(specifier) === wanted);
    if (own === undefined && wanted !== COMMON)
      throw mark(new Error(`module not allowed: ${name}`), "ImportError");
    return find(own ?? name);
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
  function checkInstalled(specifiers) {
    const absent = specifiers.find((specifier) => !find(specifier));
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
    return undefined;
  }

  const invalid = (message) => mark(new Error(message), "ValidationError");

  function checked(operation) {
    if (typeof operation !== "function")
      throw invalid(`an operation must be a function, found ${operation === null ? "null" : typeof operation}`);
    return async (state) => {
      const result = await operation(state || {});
      if (!result) writeLog("warn", "R/T", "an operation returned nothing: the next one receives an empty state");
      return result;
    };
  }

  const inOrder = (...operations) => async (state) => {
    for (const operation of operations) state = await operation(state);
    return state;
  };

  const defer = (operation, onThen, onCatch) => async (state) => {
    try {
      const result = await operation(state);
      return onThen ? await onThen(result) : result;
    } catch (error) {
      if (!onCatch) throw error;
      return await onCatch(error, state);
    }
  };

  async function execute(job, state) {
    checkInstalled(job.adaptors);
    const thunks = [];
    const $worker = {
      default: [],
      exports: job.exports,
      meta: Object.freeze({ url: "" }),
      op: (thunk) => void thunks.push(thunk),
      defer,
      import: (name) => moduleFor(job.adaptors, name),
      dynamicImport: async (name) => moduleFor(job.adaptors, String(name)),
    };
    await job.run($worker);
    if (!Array.isArray($worker.default)) throw invalid("a job's default export must be an array of operations");
    const operations = [...$worker.default];
    for (const thunk of thunks) operations.push(await thunk());
    return await (job.exports.execute ?? inOrder)(...operations.map(checked))(state);
  }

  async function perform(step, job, upstream, defaults, configuration) {
    step.state = assemble(JSON.parse(upstream), JSON.parse(defaults), JSON.parse(configuration));
    const returned = await execute(job, step.state);
    const result = withoutSecrets(returned);
    step.errored = hasError(result, step.id);
    step.text = result ? (serializeState(result, returned) ?? null) : null;
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
      jobs.set(file, { run: slot.value, sites, exports, adaptors });
    },
    // Those of a job's free names that one of its adaptors exports.
    names: (adaptors, free) =>
      JSON.stringify(JSON.parse(free).filter((name) => exported(JSON.parse(adaptors), name) !== undefined)),
    condition: () => conditions.push(slot.value) - 1,

    begin(file, stepId, upstream, defaults, configuration) {
      reset();
      const mine = { id: stepId, upstream, state: {}, error: null, settled: false, text: null, errored: false };
      step = mine;
      perform(mine, jobs.get(file), upstream, defaults, configuration).then(
        () => {
          mine.settled = true;
        },
        (error) => {
          mine.error = describe(error);
          mine.settled = true;
        },
      );
    },
    // "" while the step runs, "ok", or the report of its error.
    poll: () => (!step.settled ? "" : (step.error ?? "ok")),
    // The JSON text of the output, or null where the step returned nothing.
    output: () => step.text,
    errored: () => step.errored,
    // The output of a step that is done and needs no closer look, else null.
    completed: () => (step.settled && !step.error && !step.errored && !flags.oom && !flags.security ? step.text : null),
    // A forbidden operation, or memory that ran out, ends the step even where the job caught it.
    caught: () => (flags.oom ? "OomError" : flags.security ? "SecurityError" : ""),

    // State of a failed step: its input with its changes in place, and its error; null where it is
    // nested too deeply.
    failed(entry) {
      const withError = (state) => {
        const { errors, ...rest } = withoutSecrets(state);
        return serializeState({ ...rest, errors: { ...(isObject(errors) ? errors : {}), [step.id]: JSON.parse(entry) } }, state);
      };
      try {
        return withError(step.state);
      } catch (error) {
        if (flags.oom) throw error;
        if (isTooLarge(error)) return null;
        return withError(JSON.parse(step.upstream)); // the changes are not JSON
      }
    },

    // Per edge in order, whether it is taken, up to a condition that threw; evaluated() returns the state.
    // Getters and toJSON of the state that a condition leaves are the condition's code too.
    edges(stepId, wanted, text) {
      inCondition = true;
      try {
        return evaluateEdges(stepId, JSON.parse(wanted), text);
      } finally {
        inCondition = false;
        reset();
      }
    },
    evaluated: () => evaluated,

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
  let evaluated = null;

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
    try {
      evaluated = state === undefined ? null : serializeState(state);
    } catch (error) {
      if (!isTooLarge(error)) throw error;
      thrown = describe(error);
    }
    return JSON.stringify({ taken, thrown });
  }

  function holds(condition, state, stepId) {
    if (condition === "always") return true;
    if (condition === "on_job_success") return !hasError(state, stepId);
    if (condition === "on_job_failure") return hasError(state, stepId);
    reset();
    const value = conditions[condition](state, stepId);
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
  define(globalThis, "__host", callHost);
  define(globalThis, "__console", consoleFor("ADA"));

  // Takes the calls that adaptors made since the last time, as JSON, or "".
  api.calls = () => (calls.length ? JSON.stringify(calls.splice(0)) : "");
  api.reply = (number, text) => {
    pending.get(number)(text);
    pending.delete(number);
  };
  // A bundle is a function of its compiler, which stores its exports in a global.
  api.install = (name, bundle) => {
    const names = new Set(Reflect.ownKeys(globalThis));
    const prototype = Object.getPrototypeOf(globalThis);
    bundle.call(undefined, compilerFor(name));
    const exports = globalThis.__adaptor;
    if (typeof exports !== "object" || exports === null) throw new TypeError("the bundle exports nothing");
    adaptors.set(name, exports);
    // What else it left there, the next bundle and all jobs would find.
    for (const key of Reflect.ownKeys(globalThis)) if (!names.has(key)) delete globalThis[key];
    Object.setPrototypeOf(globalThis, prototype);
  };
  api.exports = (name) => JSON.stringify(Object.keys(adaptors.get(name)).sort());
  api.choose = (specifier, name) => void chosen.set(specifier, name);

  // --- time and random numbers: of the run, so that it can be replayed --------------------------------

  const EngineDate = globalThis.Date;
  function DateOfRun(...args) {
    const values = args.length ? args : [host.date()];
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
  api.seed = (text) => {
    seed = text;
    words = null;
  };

  // --- set-up and closing -----------------------------------------------------------------------------

  define(globalThis, "console", consoleFor("JOB"));
  define(globalThis, "setTimeout", (callback, delay, ...args) => schedule(callback, delay, false, args));
  define(globalThis, "setInterval", (callback, delay, ...args) => schedule(callback, delay, true, args));
  define(globalThis, "setImmediate", (callback, ...args) => schedule(callback, 0, false, args));
  for (const name of ["clearTimeout", "clearInterval", "clearImmediate"]) define(globalThis, name, (id) => unschedule(id));

  api.adaptor = (name, factory) =>
    void adaptors.set(
      name,
      factory({
        lodash: globalThis.__lodash,
        dateFns: globalThis.__dateFns,
        jsonpath: globalThis.__jsonpath,
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
    Object.defineProperty(prototype, name, {
      get: () => value,
      set(replacement) {
        if (this === prototype) throw new TypeError(`Cannot assign to read only property '${String(name)}' of object`);
        Object.defineProperty(this, name, { value: replacement, writable: true, enumerable: true, configurable: true });
      },
      configurable: false,
      enumerable: false,
    });
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

  // What jobs have beyond the language. Conditions have none of it.
  const HOST_NAMES = ["Buffer", "DOMException", "TextDecoder", "TextEncoder", "URL", "URLSearchParams", "atob", "btoa", "clearImmediate", "clearInterval", "clearTimeout", "performance", "queueMicrotask", "setImmediate", "setInterval", "setTimeout", "structuredClone"];
  let inCondition = false;

  function hideFromConditions(name) {
    const { value } = Object.getOwnPropertyDescriptor(globalThis, name) ?? {};
    if (value === undefined) return;
    const get = () => {
      if (inCondition) throw new ReferenceError(`${name} is not defined`);
      return value;
    };
    Object.defineProperty(globalThis, name, { get, set: undefined, configurable: false });
    harden([value]);
  }

  const FOR_BUNDLES = ["__host", "__console"];

  // Before the first bundle: from here on nothing of the language changes any more.
  api.freeze = () => {
    for (const name of ["__lodash", "__dateFns", "__jsonpath", "__inspect", "__core-js_shared__", "InternalError"]) delete globalThis[name];
    Object.defineProperty(Error, "prepareStackTrace", { value: undefined, writable: false, configurable: false });
    HOST_NAMES.forEach(hideFromConditions);
    harden([globalThis, api, ...adaptors.values(), ...hidden()]);
    for (const name of Reflect.ownKeys(globalThis))
      if (!FOR_BUNDLES.includes(String(name))) Object.defineProperty(globalThis, name, "value" in Object.getOwnPropertyDescriptor(globalThis, name) ? { writable: false, configurable: false } : { configurable: false });
  };

  api.close = () => {
    for (const name of FOR_BUNDLES) delete globalThis[name];
    harden([...adaptors.values()]);
    Object.freeze(globalThis);
  };

  takeAwayCodeGeneration();
  return api;
})
