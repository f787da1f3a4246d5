// Loaded before what looks for a global Buffer.
import { Buffer } from "buffer/";

Object.defineProperty(globalThis, "Buffer", { value: Buffer, writable: true, configurable: true, enumerable: false });
