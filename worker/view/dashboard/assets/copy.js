// Clicks that copy ids or the text of an element, and the button that selects all orders.

async function copy(text, element) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    return; // without TLS browsers have no clipboard: the text can be selected
  }
  element.dataset.copied = "";
  setTimeout(() => delete element.dataset.copied, 1200);
}

function selectAll() {
  const boxes = [.../** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll("[name=order][form=bulk]"))];
  const all = boxes.every((box) => box.checked);
  for (const box of boxes) box.checked = !all;
}

/** Show the buttons that need scripts, which are hidden in what the server sends. */
export function revealButtons() {
  for (const button of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-copy-from]"))) {
    button.hidden = !navigator.clipboard;
  }
  const all = /** @type {HTMLElement | null} */ (document.querySelector("[data-select-all]"));
  if (all) all.hidden = false;
}

/** Listen on the document: pages are replaced in parts. */
export function install() {
  revealButtons();
  document.addEventListener("click", (event) => {
    const target = /** @type {Element} */ (event.target);
    const id = /** @type {HTMLElement | null} */ (target.closest("[data-copy]"));
    const from = /** @type {HTMLElement | null} */ (target.closest("[data-copy-from]"));
    if (target.closest("[data-select-all]")) selectAll();
    if (id) copy(id.dataset.copy, id);
    if (from) copy(document.querySelector(from.dataset.copyFrom).textContent, from);
  });
}
