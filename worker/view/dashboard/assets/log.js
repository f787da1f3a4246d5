// The log of a run. Its texts come from jobs, and are only ever put into the text of elements.

const MOST = 2000;
const box = document.querySelector("#log");
const list = box?.querySelector("ol");
let recent = [];
if (box && "going" in box.dataset) toEnd();

function row(line) {
  const found = document.createElement("li");
  found.className = `line ${line.level}`;
  found.dataset.seq = line.seq;
  for (const [name, text] of [["at", line.at], ["from", line.step], ["source", line.source], ["said-text", line.text]]) {
    const part = document.createElement("span");
    part.className = name;
    part.textContent = text;
    found.append(part, " ");
  }
  return found;
}

function last() {
  return Number(list.lastElementChild?.dataset.seq ?? -1);
}

/** Add the lines that are not shown yet. Gives whether some before them are missing. */
export function add(lines) {
  recent = [...recent, ...lines].slice(-MOST);
  const fresh = lines.filter((line) => line.seq > last());
  // Every event but the first of a run is a line.
  const missing = fresh.length > 0 && fresh[0].seq > Math.max(1, last() + 1);
  show(fresh);
  return missing;
}

/** Show what the server knows, and what has come since it said so. */
export function replace(fresh) {
  if (!list) return;
  box.querySelector("#earlier").textContent = fresh.querySelector("#earlier").textContent;
  const low = atEnd();
  list.replaceChildren(...fresh.querySelectorAll("ol > li"));
  const known = last();
  show(recent.filter((line) => line.seq > known));
  if (low) toEnd();
}

function show(lines) {
  if (!list || !lines.length) return;
  const low = atEnd();
  list.append(...lines.map(row));
  while (list.childElementCount > MOST) list.firstElementChild.remove();
  if (low) toEnd();
}

function atEnd() {
  return box.scrollTop + box.clientHeight >= box.scrollHeight - 24;
}

function toEnd() {
  box.scrollTop = box.scrollHeight;
}
