// The part of process that libraries use.
const process = {
  env: Object.create(null),
  argv: [],
  version: "v22.0.0",
  versions: { node: "22.0.0" },
  platform: "linux",
  browser: true,
  title: "worker",
  pid: 1,
  cwd: () => "/",
  nextTick: (callback, ...args) => void Promise.resolve().then(() => callback(...args)),
  hrtime: Object.assign(() => [Math.floor(Date.now() / 1000), (Date.now() % 1000) * 1e6], { bigint: () => BigInt(Date.now()) * 1000000n }),
  memoryUsage: () => ({ heapUsed: 0, heapTotal: 0, rss: 0 }),
  emitWarning() {},
  on: () => process,
  once: () => process,
  off: () => process,
  removeListener: () => process,
  emit: () => false,
};
export const { env, argv, version, versions, platform, nextTick, hrtime, cwd } = process;
export default process;
