// The log of a run. Its texts come from jobs: they only become text nodes, never markup.

const MAX_LINES = 2000;
/** @type {HTMLElement | null} */
const box = document.querySelector("#log");
const list = box?.querySelector("ol");
let recent = [];
const form = /** @type {HTMLFormElement | null} */ (document.querySelector("#log-filter"));
const LEVELS = ["debug", "info", "warn", "error"];
if (box && "going" in box.dataset) toEnd();
form?.addEventListener("input", () => filter(list.children));

// Hides lines that are shown; the button of the form searches the whole log on the server.
function filter(lines) {
  if (!form) return;
  const wanted = String(new FormData(form).get("search")).toLowerCase();
  const least = LEVELS.indexOf(String(new FormData(form).get("level")));
  for (const line of lines) {
    const low = least >= 0 && LEVELS.indexOf(line.classList[1]) < least;
    line.hidden = low || !line.textContent.toLowerCase().includes(wanted);
  }
}

function row(line) {
  const item = document.createElement("li");
  item.className = `line ${line.level}`;
  item.dataset.seq = line.seq;
  for (const [name, text] of [["at", line.at], ["from", line.step], ["source", line.source], ["text", line.text]]) {
    const part = document.createElement("span");
    part.className = name;
    part.textContent = text;
    item.append(part, " ");
  }
  return item;
}

function last() {
  const element = /** @type {HTMLElement | null} */ (list.lastElementChild);
  return Number(element?.dataset.seq ?? -1);
}

/** Add the lines that are not shown yet. Return whether lines before them are missing. */
export function add(lines) {
  recent = [...recent, ...lines].slice(-MAX_LINES);
  const fresh = lines.filter((line) => line.seq > last());
  // Every event but the first of a run is a line.
  const missing = fresh.length > 0 && fresh[0].seq > Math.max(1, last() + 1);
  show(fresh);
  return missing;
}

/** Show the server's lines, then those that arrived while the page was fetched. */
export function replace(fresh) {
  if (!list) return;
  box.querySelector("#earlier").replaceChildren(...fresh.querySelector("#earlier").childNodes);
  const low = atEnd();
  list.replaceChildren(...fresh.querySelectorAll("ol > li"));
  filter(list.children);
  const known = last();
  show(recent.filter((line) => line.seq > known));
  if (low) toEnd();
}

function show(lines) {
  if (!list || !lines.length) return;
  const low = atEnd();
  const rows = lines.map(row);
  filter(rows);
  list.append(...rows);
  while (list.childElementCount > MAX_LINES) list.firstElementChild.remove();
  if (low) toEnd();
}

function atEnd() {
  return box.scrollTop + box.clientHeight >= box.scrollHeight - 24;
}

function toEnd() {
  box.scrollTop = box.scrollHeight;
}
