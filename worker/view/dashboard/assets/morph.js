// Makes one tree like another with as few changes as will do, so that the focus, what is opened,
// what is selected and where it is scrolled to stay as they are.

/** Make `old` like `fresh`. What is marked with `data-keep` keeps its content. */
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
  for (const one of old.children) if (one.dataset.key) known.set(one.dataset.key, one);
  let at = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const kept = known.get(wanted.dataset?.key);
    if (kept && kept !== at) {
      old.insertBefore(kept, at);
      at = kept;
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
