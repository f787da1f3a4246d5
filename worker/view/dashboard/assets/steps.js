// The list of executed steps. The server sends only the rows that changed since those shown.

/** Return what this page has, for the server. */
export function seen() {
  const list = /** @type {HTMLElement | null} */ (document.querySelector("#steps"));
  return list?.dataset.seen ?? "";
}

/** Show the rows of a fetched page: all of them, or those that changed. */
export function merge(fresh) {
  const list = /** @type {HTMLElement | null} */ (document.querySelector("#steps"));
  if (!list || !fresh) return;
  list.dataset.seen = fresh.dataset.seen;
  if (!("partial" in fresh.dataset)) {
    list.replaceChildren(...fresh.children);
    return;
  }
  const known = new Map();
  for (const row of fresh.children) known.set(row.dataset.key, row);
  // Rows that change are at the end.
  let row = /** @type {HTMLElement | null} */ (list.lastElementChild);
  for (let left = known.size; row && left > 0; row = previous(row)) {
    const changed = known.get(row.dataset.key);
    if (!changed) continue;
    left -= 1;
    known.delete(row.dataset.key);
    if (!row.isEqualNode(changed)) row.replaceWith((row = document.importNode(changed, true)));
  }
  list.append(...known.values());
  while (list.childElementCount > Number(list.dataset.most)) list.firstElementChild.remove();
}

function previous(row) {
  return /** @type {HTMLElement | null} */ (row.previousElementSibling);
}
