// OpenFn's runtime as a service: one program a line in, what it did a line out.
//
//   node --experimental-vm-modules openfn.mjs FOLDER [KIT]
//
// FOLDER has the packages that npm installed. KIT is a built checkout of OpenFn's kit, whose compiler
// then replaces ours.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { inspect } from "node:util";
import { resolve } from "node:path";

const [folder, kit] = process.argv.slice(2).map((path) => resolve(path));
const COMMON = "@openfn/language-common";
const packageFolder = (name) => `${folder}/node_modules/${name}`;
const load = (name) => import(pathToFileURL(`${packageFolder(name)}/dist/index.js`).href);

const { default: run } = await load("@openfn/runtime");
const exportsOfCommon = Object.keys(await load(COMMON)).filter((name) => name !== "default").sort();
const compile = kit ? (await import(pathToFileURL(`${kit}/packages/compiler/dist/index.js`).href)).default : null;

const silent = new Proxy({}, { get: () => () => "" });
// Adaptors and conditions print to it, and this process's output is its answers.
/** @type {any} */ (globalThis).console = silent;
const INSPECT = { depth: Infinity, breakLength: Infinity, compact: 1000, maxArrayLength: null, maxStringLength: null };
const textOf = (value) => (typeof value === "string" ? value : inspect(value, INSPECT));

// The levels of the console that a job has on OpenFn's worker.
const LEVELS = { log: "info", info: "info", success: "info", always: "info", warn: "warn", error: "error", debug: "debug" };
const consoleInto = (lines) =>
  Object.fromEntries(
    Object.entries(LEVELS).map(([name, level]) => [
      name,
      (...values) => void (values.length && lines.push([level, values.map(textOf).join(" ")])),
    ]),
  );

const compiledByKit = (step) =>
  compile(step.expression, {
    name: step.name,
    logger: silent,
    "add-imports": { adaptors: [{ name: COMMON, exports: exportsOfCommon, exportAll: true }] },
  });

function prepared(step) {
  if (!step.expression) return step;
  const { module, sourceMap, ...rest } = step;
  if (!compile) return { ...rest, expression: module, sourceMap };
  try {
    const { code, map } = compiledByKit(step);
    return { ...rest, expression: code, sourceMap: map };
  } catch (error) {
    // As OpenFn's engine reports it: the run crashes before its first step.
    throw Object.assign(new Error(`${step.id}: ${/** @type {any} */ (error).message}`), { name: "SyntaxError", severity: "crash" });
  }
}

const errorOf = (error) => ({
  name: String(error?.name),
  subtype: error?.subtype ?? null,
  message: String(error?.message),
  severity: error?.severity ?? null,
});

let escaped = [];
process.on("unhandledRejection", (error) => escaped.push(errorOf(error)));
process.on("uncaughtException", (error) => escaped.push(errorOf(error)));

async function perform({ plan, input, options }) {
  const steps = [];
  const lines = [];
  const ended = (error) => ({ jobId, next, state }) =>
    steps.push({ step: jobId, error: error ? errorOf(error) : null, next, state: state ?? null });
  const notify = (event, fields) => {
    if (event === "job-start") started.push(fields.jobId);
    if (event === "job-complete") ended(null)(fields);
    if (event === "job-error") ended(fields.error)(fields);
  };
  const started = [];
  escaped = [];
  /** @type {any} */
  let error = null;
  let final = null;
  try {
    const workflow = { ...plan.workflow, steps: plan.workflow.steps.map(prepared) };
    final = await run({ ...plan, options: { ...plan.options, ...options }, workflow }, input, {
      logger: silent,
      jobLogger: consoleInto(lines),
      linker: {
        modules: { [COMMON]: { path: packageFolder(COMMON) } },
        whitelist: [/^@openfn/],
      },
      statePropsToRemove: ["configuration", "response"],
      callbacks: { notify },
      defaultRunTimeoutMs: 5000,
      disableEsmHook: true,
    });
  } catch (caught) {
    const thrown = /** @type {any} */ (caught);
    error = thrown?.severity || thrown instanceof Error ? errorOf(thrown) : { name: "", message: String(thrown) };
  }
  return { started, steps, lines, error, final: final ?? null, escaped };
}

process.stdout.write(`${JSON.stringify({ exports: exportsOfCommon, versions: { node: process.version } })}\n`);
for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = await perform(JSON.parse(line));
  } catch (error) {
    answer = { failed: String(error) };
  }
  // Half a character is no text for Python's JSON reader of UTF-8, so all of them are escaped.
  const text = JSON.stringify(answer).replace(/[\u007f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
  process.stdout.write(`${text}\n`);
}
process.exit(0);
