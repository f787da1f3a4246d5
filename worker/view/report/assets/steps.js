// The timeline of executions, and the details of the selected one.
const TURNS = 24;
let chosen = -1;
let timeline = null;
const rowOf = [new Map(), new Map()];

const executionsAt = (row) =>
  report.rows[row].executions
    .map((index, run) => (index === null ? null : { run, index, execution: report.runs[run].executions[index] }))
    .filter(Boolean);
const label = (run) => (report.runs.length > 1 ? "AB"[run] : "");

function showTimeline(holder) {
  report.rows.forEach((row, at) => {
    row.executions.forEach((index, run) => {
      rowOf[run].set(index, at);
    });
  });
  if (!report.rows.length) {
    holder.append(el("p", { class: "empty" }, "No step ran."));
    return;
  }
  const list = el("ol", { class: "timeline" });
  timeline = portions(list, report.rows.length, 200, timelineRow);
  holder.append(list, timeline.more);
}

function timelineRow(at) {
  const parts = executionsAt(at);
  const { execution } = parts[0];
  const turn = execution.turns > 1 || execution.turn > 1 ? el("span", { class: "turn" }, ` ${execution.turn} of ${execution.turns}`) : null;
  const alone = report.runs.length > 1 && parts.length === 1;
  const only = alone ? el("span", { class: "missing" }, ` only in ${label(parts[0].run)}`) : null;
  const isFirst = report.first?.row === at;
  const flag = isFirst ? el("span", { class: "flag" }, "first difference") : null;
  const marks = parts.map(({ run, execution }) =>
    el("span", { class: `s-${execution.status}`, title: execution.status }, execution.mark, el("span", { class: "quiet" }, `${label(run)} ${execution.status} `))
  );
  const row = button(null, () => choose(at, true), { class: `row${isFirst ? " first-row" : ""}`, "data-row": at });
  row.append(
    el("span", { class: "marks" }, marks),
    el("span", { class: "name" }, execution.name, turn, only, flag),
    el("span", { class: "bars" }, parts.map(bar)),
    el("span", { class: "times" }, parts.map(({ execution }) => el("span", {}, execution.took || "…")))
  );
  return el("li", {}, row);
}

function bar({ run, execution }) {
  const span = Math.max(...report.runs.map((each) => each.duration_us));
  const fill = el("span", { class: `fill s-${execution.status}` });
  fill.style.left = `${Math.min(99.4, (100 * execution.start_us) / span)}%`;
  fill.style.width = `${Math.max(0, (100 * (execution.end_us - execution.start_us)) / span)}%`;
  return el("span", { class: "bar", title: `${label(run)} ${execution.began}, ${execution.took}`.trim() }, fill);
}

function choose(row, go = false) {
  if (row < 0 || row >= report.rows.length) return;
  chosen = row;
  timeline.reach(row);
  for (const old of document.querySelectorAll(".row[aria-current]")) old.removeAttribute("aria-current");
  const shown = document.querySelector(`.row[data-row="${row}"]`);
  shown.setAttribute("aria-current", "true");
  reveal(shown, shown.closest(".timeline"));
  const parts = executionsAt(row);
  for (const node of /** @type {NodeListOf<SVGElement>} */ (document.querySelectorAll(".node"))) {
    const run = Number(/** @type {HTMLElement} */ (node.closest(".frame")).dataset.run);
    const step = report.runs[run].steps[Number(node.dataset.step)];
    const isIt = parts.some((each) => each.run === run && each.execution.step === step.id);
    node.classList.toggle("chosen", isIt);
    if (isIt) reveal(node, node.closest(".frame"));
  }
  showDetail(parts);
  announce(parts.map(({ run, execution }) => `${label(run)} ${execution.name}, ${execution.status}`).join("; "));
  const detail = document.getElementById("detail");
  if (go && getComputedStyle(detail).position !== "sticky") detail.scrollIntoView();
}

// Scrolls only the frame: scrollIntoView would move the page as well.
function reveal(thing, frame) {
  const [inner, outer] = [thing.getBoundingClientRect(), frame.getBoundingClientRect()];
  const off = (low, high, from, to) => (low >= from && high <= to ? 0 : (low + high - from - to) / 2);
  frame.scrollLeft += off(inner.left, inner.right, outer.left, outer.right);
  frame.scrollTop += off(inner.top, inner.bottom, outer.top, outer.bottom);
}

const chooseExecution = (run, index, go) => choose(rowOf[run].get(index), go);

function showDetail(parts) {
  const title = document.getElementById("detail-title");
  title.replaceChildren(printable(parts[0].execution.name));
  const columns = el("div", { class: "columns" }, parts.map(card));
  const content = document.querySelector("#detail .content");
  const compared = parts.length === 2 ? between(parts) : null;
  content.replaceChildren(...[compared, columns].filter(Boolean));
  document.getElementById("detail").scrollTop = 0;
  for (const point of content.querySelectorAll(".point")) reveal(point, point.closest(".code"));
}

function card({ run, index, execution }) {
  const step = report.runs[run].steps.find((each) => each.id === execution.step);
  const clips = report.runs[run].clips;
  const [input, output] = [clips[execution.input], clips[execution.output]];
  return el(
    "div",
    { class: `card s-${execution.status}` },
    el("h3", { class: "who" }, label(run) ? el("span", { class: "label" }, label(run)) : null, el("span", { class: "state" }, `${execution.mark} ${execution.status}`)),
    turns(run, index, execution),
    about(run, execution, step),
    execution.error ? errorCard(execution.error, run) : null,
    execution.edges.length ? edgeTable(execution.edges) : el("p", { class: "empty" }, "No edge leaves this step."),
    part(`changed${run}`, "Difference", "from input to output", () =>
      input && output ? difference(input, output) : el("p", { class: "empty" }, input ? execution.no_output : execution.no_input), Boolean(input && output)),
    state(`input${run}`, "Input", input, execution.no_input, false),
    state(`output${run}`, "Output", output, execution.no_output, !input && output),
    stepLogs(run, index),
    step?.source ? part(`code${run}`, "Code", step.file, () => code(step.source, execution.error), false) : null
  );
}

const state = (key, title, clip, none, open) =>
  part(key, title, clip ? sizeOf(clip) : "none", () => (clip ? tree(clip) : el("p", { class: "empty" }, none)), Boolean(open));
const sizeOf = (clip) =>
  `${clip.size < 10000 ? count(clip.size, "character") : `${Math.round(clip.size / 1000).toLocaleString("en")} kB`}${clip.cut ? ", cut" : ""}`;

function between(parts) {
  const clips = parts.map(({ run, execution }) => ({ input: report.runs[run].clips[execution.input], output: report.runs[run].clips[execution.output] }));
  const made = ["input", "output"].map((name) => {
    const [a, b] = clips.map((each) => each[name]);
    const make = () => (a && b ? difference(a, b) : el("p", { class: "empty" }, `One of the two has no ${name}.`));
    return part(`between-${name}`, `${name === "input" ? "Inputs" : "Outputs"}: from A to B`, a && b && a.text === b.text ? "equal" : "", make, true);
  });
  return el("div", { class: "card" }, made);
}

function turns(run, index, execution) {
  if (execution.turns === 1) return null;
  const all = report.runs[run].executions
    .map((each, at) => ({ each, at }))
    .filter(({ each }) => each.step === execution.step);
  const first = Math.max(0, Math.min(execution.turn - TURNS / 2, all.length - TURNS));
  const some = all.slice(first, first + TURNS).map(({ each, at }) =>
    button(`${each.turn} ${each.mark}`, () => chooseExecution(run, at), {
      "aria-pressed": String(at === index), "aria-label": `Execution ${each.turn}, ${each.status}`,
    })
  );
  return el("div", { class: "turns", role: "group", "aria-label": "Executions of this step" }, some);
}

function about(run, execution, step) {
  const before = execution.upstream === null ? null : report.runs[run].executions[execution.upstream];
  const facts = [
    ["step", execution.step],
    ["execution", execution.turns > 1 ? `${execution.turn} of ${execution.turns}` : null],
    ["adaptor", step?.adaptors],
    ["began", execution.began],
    ["took", execution.took],
    ["memory", execution.memory],
    ["cost", execution.cost],
    ["after", before && button(before.name, () => chooseExecution(run, execution.upstream))],
  ];
  const shown = facts.filter(([, value]) => value);
  return el("dl", { class: "about" }, shown.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

function errorCard(error, run) {
  const rows = error.lines.map((line) => [
    el("div", { class: line.caret ? "hit" : "" }, el("span", { class: "no" }, line.number), line.text || " "),
    line.caret ? el("div", { class: "caret" }, el("span", { class: "no" }, " "), " ".repeat(line.caret - 1), el("span", { class: "point" }, "^")) : null,
  ]);
  return el(
    "div",
    { class: "error" },
    el("p", { class: "message", tabindex: "0" }, `${error.type}: ${error.message}`),
    error.place ? el("p", { class: "place mono" }, `at ${error.place}`) : null,
    rows.length ? scrolled(rows.flat(), "The place in the source") : null,
    error.notes.map((note) => el("p", { class: "why" }, note)),
    error.stack.length ? part(`stack${run}`, "Stack", "", () => el("pre", {}, error.stack.join("\n")), false) : null
  );
}

const scrolled = (rows, name) => el("div", { class: "code", tabindex: "0", role: "group", "aria-label": name }, rows);

function code(source, error) {
  const hits = new Set(error ? error.lines.filter((line) => line.caret).map((line) => line.number) : []);
  const rows = source.split("\n").map((text, at) =>
    el("div", { class: hits.has(at + 1) ? "hit" : "" }, el("span", { class: "no" }, at + 1), text || " ")
  );
  return scrolled(rows, "Code");
}

function edgeTable(edges) {
  const head = el("tr", {}, ["Edge to", "Condition", "Outcome"].map((text) => el("th", { scope: "col" }, text)));
  const rows = edges.map((edge) =>
    el(
      "tr",
      {},
      el("td", {}, edge.target, edge.label ? el("span", { class: "why" }, edge.label) : null),
      el("td", { class: "mono" }, edge.condition),
      el("td", { class: `outcome-${edge.outcome.replaceAll(" ", "-")}` }, OUTCOMES[edge.outcome], el("span", { class: "why" }, edge.reason))
    )
  );
  return el("table", {}, el("thead", {}, head), el("tbody", {}, rows));
}

const OUTCOMES = {
  followed: "→ followed",
  "not taken": "⊣ not taken",
  waiting: "… followed, target not run",
  "not evaluated": "– not evaluated",
  unknown: "? unknown",
};
