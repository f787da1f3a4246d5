// Builds the page from its embedded data, and handles keys.
const report = JSON.parse(document.getElementById("data").textContent);
const content = (id) => document.querySelector(`#${id} .content`);
const announcement = el("p", { class: "quiet", role: "status" });
const announce = (text) => { announcement.textContent = printable(text); };

function showFinal(holder) {
  const made = report.runs.map((run, at) => {
    const clip = run.clips[run.final];
    const title = label(at) ? `Final state of ${label(at)}` : "Final state";
    return clip ? part(`final${at}`, title, sizeOf(clip), () => tree(clip), false) : el("p", { class: "empty" }, `None: ${run.no_final}.`);
  });
  holder.append(el("div", { class: "columns" }, made));
}

// --- the theme ---

const dark = /** @type {HTMLStyleElement} */ (document.getElementById("dark"));
const system = dark.media;
const THEMES = [["as the system", system], ["dark", "screen"], ["light", "not all"]];
let theme = 0;
function nextTheme() {
  theme = (theme + 1) % THEMES.length;
  dark.media = THEMES[theme][1];
  document.getElementById("theme").textContent = `Theme: ${THEMES[theme][0]}`;
  announce(`Theme: ${THEMES[theme][0]}`);
}

// --- keys ---

const KEYS = [
  ["j  k", "the next step, the step before"],
  ["↑  ↓", "the same, while a step of the list has the focus"],
  ["Enter", "on a box of the graph: choose its step"],
  ["n", "the next step that did not succeed"],
  ["d", "go to the chosen step"],
  ["/", "search the log"],
  ["t", "change the theme"],
  ["?", "show these keys"],
  ["Esc", "close this"],
];
const dialog = el("dialog", { "aria-labelledby": "keys-title" },
  el("h2", { id: "keys-title" }, "Keys"),
  el("dl", {}, KEYS.flatMap(([key, what]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, what)])),
  button("Close", () => dialog.close())
);

function step(by, focus) {
  choose(Math.max(0, Math.min(report.rows.length - 1, chosen + by)));
  if (focus) /** @type {HTMLElement} */ (document.querySelector(".row[aria-current]")).focus();
}

function nextUnsuccessful() {
  const bad = (row) => executionsAt(row).some(({ execution }) => execution.status !== "success");
  for (let by = 1; by <= report.rows.length; by += 1) {
    const row = (chosen + by) % report.rows.length;
    if (bad(row)) return choose(row);
  }
  announce("Every step succeeded");
}

const ACTIONS = {
  j: () => step(1), k: () => step(-1), n: nextUnsuccessful, t: nextTheme,
  d: () => { document.getElementById("detail-title").focus(); },
  "/": () => document.getElementById("search")?.focus(),
  "?": () => dialog.showModal(),
};

document.addEventListener("keydown", (event) => {
  const target = /** @type {HTMLElement} */ (event.target);
  const typing = target.matches?.("input");
  if (event.ctrlKey || event.metaKey || event.altKey || dialog.open) return;
  if (typing) {
    if (event.key === "Escape") target.blur();
    return;
  }
  const node = target.closest?.(".node");
  if (node && (event.key === "Enter" || event.key === " ")) {
    event.preventDefault();
    chooseNode(node);
  } else if (target.matches?.(".row") && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
    event.preventDefault();
    step(event.key === "ArrowDown" ? 1 : -1, true);
  } else if (Object.hasOwn(ACTIONS, event.key)) {
    event.preventDefault();
    ACTIONS[event.key]();
  }
});

function chooseNode(node) {
  const run = Number(node.closest(".frame").dataset.run);
  const id = report.runs[run].steps[Number(node.dataset.step)].id;
  const several = report.runs[run].executions.map((execution, index) => ({ execution, index })).filter(({ execution }) => execution.step === id);
  if (!several.length) return;
  const at = several.findIndex(({ index }) => rowOf[run].get(index) === chosen);
  chooseExecution(run, several[(at + 1) % several.length].index, true);
}

// --- start ---

document.body.append(announcement, dialog);
showTimeline(content("steps"));
showLog(content("log"));
showFinal(content("final"));
for (const shown of /** @type {NodeListOf<SVGSVGElement>} */ (document.querySelectorAll(".frame svg"))) {
  // Below 65 % labels are unreadable: the graph then scrolls in its frame.
  shown.style.minWidth = `${0.65 * shown.viewBox.baseVal.width}px`;
  shown.style.maxWidth = `min(100%, ${1.25 * shown.viewBox.baseVal.width}px)`;
}
for (const node of document.querySelectorAll(".node")) node.addEventListener("click", () => chooseNode(node));
document.getElementById("theme").addEventListener("click", nextTheme);
document.getElementById("keys").addEventListener("click", () => dialog.showModal());
document.getElementById("show-first")?.addEventListener("click", () => {
  choose(report.first.row, true);
  document.getElementById("detail-title").focus();
});
addEventListener("beforeprint", () => {
  const folds = document.querySelectorAll("#detail .part, #final .part");
  for (const fold of /** @type {NodeListOf<HTMLDetailsElement>} */ (folds)) fold.open = true;
});
if (report.rows.length) {
  const unsuccessful = report.rows.findIndex((_, row) => executionsAt(row).some(({ execution }) => execution.status !== "success"));
  choose(report.first?.row ?? Math.max(0, unsuccessful));
} else {
  document.getElementById("detail").hidden = true;
}
