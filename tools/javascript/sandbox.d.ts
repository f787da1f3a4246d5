// Globals of the sandbox: QuickJS has none of them. The vendored libraries and the realm install them.
interface Bytes extends Uint8Array {
  toString(encoding?: string): string;
}
declare var Buffer: {
  from(value: any, encoding?: any, length?: number): Bytes;
  concat(parts: Uint8Array[]): Bytes;
  alloc(size: number): Bytes;
  isBuffer(value: any): boolean;
};
declare class URLSearchParams {
  constructor(init?: any);
  append(name: string, value: string): void;
}
declare class URL {
  constructor(url: string, base?: string | URL);
  readonly origin: string;
  readonly pathname: string;
  readonly search: string;
  readonly searchParams: URLSearchParams;
}
declare function setTimeout(callback: (...args: any[]) => void, delay?: number, ...args: any[]): number;
declare function setInterval(callback: (...args: any[]) => void, delay?: number, ...args: any[]): number;
declare function setImmediate(callback: (...args: any[]) => void, ...args: any[]): number;
declare function clearTimeout(id?: number): void;
declare function clearInterval(id?: number): void;
declare function clearImmediate(id?: number): void;

// Looked for by adaptors; the sandbox has none.
declare var Blob: undefined;
declare var File: undefined;

// Set by the realm while it starts, and deleted before a job runs.
declare var __adaptor: Record<string, any> | undefined;
declare var __console: Record<string, (...values: unknown[]) => void>;
declare var __host: (kind: string, text: string) => Promise<string>;
declare var __inspect: (value: unknown) => string;
declare var __lodash: any;
declare var __dateFns: any;
declare var __jsonpath: (path: string, json: any) => any[];

// The engine's own.
declare var InternalError: ErrorConstructor;
interface ErrorConstructor {
  prepareStackTrace?: (error: Error, sites: any[]) => string;
}

// readable-stream stands in for it (bundle.mjs).
declare module "stream" {
  export class Readable {
    constructor(options?: { read?(this: Readable): void });
    push(chunk: Uint8Array | null): boolean;
  }
}
