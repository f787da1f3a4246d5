export const performance = { now: () => Date.now(), mark() {}, measure() {}, timeOrigin: 0 };
export default { performance };
