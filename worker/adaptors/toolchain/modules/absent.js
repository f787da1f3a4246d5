// Stands in for a module of Node that the sandbox does not have: it loads, and throws when used.
/** @returns {never} */
function refuse(name) {
  throw new Error(`${name} is not available in the sandbox`);
}

/** @returns {Record<string, any>} */
export function absent(module) {
  const member = (name) =>
    new Proxy(/** @type {Record<string, any>} */ (function () {}), {
      get: (target, key) => (key === "prototype" ? target.prototype : typeof key === "symbol" ? undefined : member(`${name}.${key}`)),
      apply: () => refuse(`${name}()`),
      construct: () => refuse(`new ${name}()`),
    });
  const known = new Map();
  return new Proxy({}, {
    get(_, key) {
      if (typeof key === "symbol" || key === "__esModule" || key === "then") return undefined;
      if (key === "default") return undefined;
      if (!known.has(key)) known.set(key, member(`${module}.${key}`));
      return known.get(key);
    },
  });
}
