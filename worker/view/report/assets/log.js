// The log: all lines, filtered by level and by text.
const LEVELS = ["debug", "info", "warn", "error"];

function logLine(run, line, needle, own) {
  const step = line.execution === null ? null : report.runs[run].executions[line.execution];
  const who = own || !step ? el("span", { class: "from" }, line.step) : button(step.name, () => chooseExecution(run, line.execution, true));
  const level = line.level === "info" ? null : el("span", { class: "level" }, line.level);
  return el(
    "li",
    { class: `line ${LEVELS.includes(line.level) ? line.level : ""}` },
    el("span", { class: "at" }, label(run) ? `${label(run)} ` : null, line.at),
    own ? el("span", { class: "from" }, line.source) : el("span", {}, who, el("span", { class: "from" }, ` ${line.source}`)),
    el("span", { class: "text" }, level, marked(line.message, needle))
  );
}

function marked(text, needle) {
  const at = needle ? text.toLowerCase().indexOf(needle) : -1;
  if (at < 0) return [text];
  return [text.slice(0, at), el("mark", {}, text.slice(at, at + needle.length)), text.slice(at + needle.length)];
}

function stepLogs(run, place) {
  const lines = report.runs[run].logs.filter((line) => line.execution === place);
  if (!lines.length) return null;
  const make = () => {
    const list = el("ol", { class: "lines" });
    const { more } = portions(list, lines.length, 200, (at) => logLine(run, lines[at], "", true));
    return [list, more];
  };
  return part(`logs${run}`, "Log", count(lines.length, "line"), make, true);
}

function showLog(holder) {
  const all = report.runs.flatMap((run, at) => run.logs.map((line) => ({ run: at, line })));
  if (!all.length) {
    holder.append(el("p", { class: "empty" }, "Nothing was logged."));
    return;
  }
  const levels = new Map(LEVELS.map((name) => [name, all.filter(({ line }) => line.level === name).length]));
  const boxes = LEVELS.filter((name) => levels.get(name)).map((name) => ({
    name, box: el("input", { type: "checkbox", checked: name !== "debug" || levels.get(name) === all.length, oninput: () => show() }),
  }));
  const search = el("input", { type: "search", id: "search", "aria-label": "Search the log", placeholder: "Search  /", oninput: () => show() });
  const result = el("span", { class: "from", role: "status" });
  const lines = el("div");
  holder.append(
    el("div", { class: "filters" }, search, boxes.map(({ name, box }) => el("label", {}, box, `${name} (${levels.get(name)})`)), result),
    lines
  );
  const show = () => {
    const needle = search.value.toLowerCase();
    const off = new Set(boxes.filter(({ box }) => !box.checked).map(({ name }) => name));
    const some = all.filter(({ line }) => !off.has(line.level) && (!needle || `${line.step} ${line.message}`.toLowerCase().includes(needle)));
    const list = el("ol", { class: "lines", tabindex: "0", "aria-label": "Log lines" });
    const { more } = portions(list, some.length, 300, (at) => logLine(some[at].run, some[at].line, needle, false));
    lines.replaceChildren(...(some.length ? [list, more] : [el("p", { class: "empty" }, "No line matches.")]));
    result.textContent = `${some.length.toLocaleString("en")} of ${count(all.length, "line")}`;
  };
  show();
}
