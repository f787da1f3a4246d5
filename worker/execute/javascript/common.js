(function (host) {
  "use strict";
  const fn = (f) => async (state) => await f(state);
  const fnIf = (c, f) => async (state) => ((typeof c === "function" ? await c(state) : c) ? await f(state) : state);
  return { fn, fnIf };
})
