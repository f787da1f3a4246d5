// Functions of the language whose results depend on the engine, as V8 has them. Evaluated before the
// realm, which freezes them.
(function () {
  "use strict";

  // V8 sorts shorter arrays by binary insertion. A consistent comparator gives the same order in every
  // engine; one that returns a boolean, as many jobs have it, does not.
  const INSERTION_LIMIT = 64;

  const { sort: engineSort, toSorted: engineToSorted } = Array.prototype;

  function insertionSort(items, compare) {
    const order = (a, b) => Number(compare(a, b)) || 0;
    let start = sortedRun(items, order);
    for (; start < items.length; start++) {
      const pivot = items[start];
      let left = 0;
      let right = start;
      while (left < right) {
        const middle = left + ((right - left) >> 1);
        if (order(pivot, items[middle]) < 0) right = middle;
        else left = middle + 1;
      }
      items.copyWithin(left + 1, left, start);
      items[left] = pivot;
    }
  }

  // Makes the run at the start ascending, and returns its length.
  function sortedRun(items, order) {
    if (items.length < 2) return items.length;
    let length = 2;
    const descends = order(items[1], items[0]) < 0;
    while (length < items.length && order(items[length], items[length - 1]) < 0 === descends) length++;
    if (descends) items.splice(0, length, ...items.slice(0, length).reverse());
    return length;
  }

  const isShort = (array, compare) => typeof compare === "function" && Array.isArray(array) && array.length < INSERTION_LIMIT;

  /** @type {Record<string, any>} */
  const methods = {
    sort(compare) {
      if (!isShort(this, compare)) return engineSort.call(this, compare);
      const present = Array.from(this.keys()).filter((index) => index in this).map((index) => this[index]);
      const items = present.filter((item) => item !== undefined);
      insertionSort(items, compare);
      items.forEach((item, index) => {
        this[index] = item;
      });
      for (let index = items.length; index < this.length; index++) {
        if (index < present.length) this[index] = undefined;
        else delete this[index];
      }
      return this;
    },
    /** @this {any[]} */
    toSorted(compare) {
      return isShort(this, compare) ? methods.sort.call(Array.from(this), compare) : engineToSorted.call(this, compare);
    },
  };
  for (const [name, value] of Object.entries(methods))
    Object.defineProperty(Array.prototype, name, { value, writable: true, configurable: true, enumerable: false });

  // The engine's errors of these functions name neither the property nor the value.
  const { defineProperty: engineDefine, setPrototypeOf: engineSetPrototype } = Object;
  const NOT_DEFINED = {
    "object is not extensible": (key) => `Cannot define property ${String(key)}, object is not extensible`,
    "property is not configurable": (key) => `Cannot redefine property: ${String(key)}`,
  };
  const definers = {
    defineProperty(target, key, descriptor) {
      try {
        return engineDefine(target, key, descriptor);
      } catch (error) {
        const worded = NOT_DEFINED[/** @type {any} */ (error)?.message]?.(key);
        throw worded ? new TypeError(worded) : error;
      }
    },
    setPrototypeOf(target, prototype) {
      if (target === undefined || target === null) throw new TypeError("Object.setPrototypeOf called on null or undefined");
      if (prototype !== null && Object(prototype) !== prototype) throw new TypeError(`Object prototype may only be an Object or null: ${String(prototype)}`);
      return engineSetPrototype(target, prototype);
    },
  };
  for (const [name, value] of Object.entries(definers)) engineDefine(Object, name, { value, writable: true, configurable: true, enumerable: false });

  // On OpenFn the global object is a plain one.
  delete globalThis[Symbol.toStringTag];
})();
