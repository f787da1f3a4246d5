// Changes one DOM tree into another with few operations, so that focus, open folds, selection and
// scroll positions stay.

/** Change `old` into `fresh`. Elements with `data-keep` keep their content. */
export function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  attributes(old, fresh);
  if ("keep" in old.dataset) return;
  children(old, fresh);
}

function attributes(old, fresh) {
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    const opened = name === "open" && old.localName === "details";
    if (!fresh.hasAttribute(name) && !opened) old.removeAttribute(name);
  }
}

function children(old, fresh) {
  const known = new Map();
  for (const child of old.children) if (child.dataset.key) known.set(child.dataset.key, child);
  let at = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const existing = known.get(wanted.dataset?.key);
    if (existing && existing !== at) {
      old.insertBefore(existing, at);
      at = existing;
    }
    if (at && alike(at, wanted)) {
      const next = at.nextSibling;
      if (at.nodeType === Node.ELEMENT_NODE) morph(at, wanted);
      else if (at.data !== wanted.data) at.data = wanted.data;
      at = next;
    } else {
      old.insertBefore(document.importNode(wanted, true), at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function alike(one, other) {
  return one.nodeName === other.nodeName && one.dataset?.key === other.dataset?.key && one.id === other.id;
}
