// The list of executed steps. The server sends only the rows that changed since those shown.
// Rows are changed in place, so that what was opened in them stays open.

import { morph } from "./morph.js";

/** Return what this page has, for the server. */
export function seen() {
  const list = /** @type {HTMLElement | null} */ (document.querySelector("#steps"));
  return list?.dataset.seen ?? "";
}

/** Show the rows of a fetched page: all of them, or those that changed. */
export function merge(page) {
  const list = /** @type {HTMLElement | null} */ (document.querySelector("#steps"));
  if (!list || !page) return;
  list.dataset.seen = page.dataset.seen;
  if (!("partial" in page.dataset)) {
    const rows = new Map();
    for (const row of /** @type {any} */ (list.children)) rows.set(row.dataset.key, row);
    list.replaceChildren(...[...page.children].map((row) => changed(rows.get(row.dataset.key), row)));
    return;
  }
  const known = new Map();
  for (const row of page.children) known.set(row.dataset.key, row);
  // Rows that change are at the end.
  let row = /** @type {HTMLElement | null} */ (list.lastElementChild);
  for (let left = known.size; row && left > 0; row = previous(row)) {
    const fresh = known.get(row.dataset.key);
    if (!fresh) continue;
    left -= 1;
    known.delete(row.dataset.key);
    morph(row, fresh);
  }
  list.append(...known.values());
  while (list.childElementCount > Number(list.dataset.most)) list.firstElementChild.remove();
}

function changed(row, fresh) {
  if (!row) return fresh;
  morph(row, fresh);
  return row;
}

function previous(row) {
  return /** @type {HTMLElement | null} */ (row.previousElementSibling);
}
