// The list of executed steps. The server sends only the rows that changed since those shown.

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
    list.replaceChildren(...page.children);
    return;
  }
  const known = new Map();
  for (const row of page.children) known.set(row.dataset.key, row);
  // Rows that change are at the end.
  let row = /** @type {HTMLElement | null} */ (list.lastElementChild);
  for (let left = known.size; row && left > 0; row = previous(row)) {
    const changed = known.get(row.dataset.key);
    if (!changed) continue;
    left -= 1;
    known.delete(row.dataset.key);
    if (row.isEqualNode(changed)) continue;
    const fresh = document.importNode(changed, true);
    row.replaceWith(fresh);
    row = fresh;
  }
  list.append(...known.values());
  while (list.childElementCount > Number(list.dataset.most)) list.firstElementChild.remove();
}

function previous(row) {
  return /** @type {HTMLElement | null} */ (row.previousElementSibling);
}
