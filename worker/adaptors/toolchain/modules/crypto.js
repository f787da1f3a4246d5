// Random numbers come from the run, so that it can be replayed. They are not secure, so functions
// for keys, hashes and signatures throw.
import { absent } from "./absent.js";

const refused = absent("crypto");
export const randomBytes = (size) => Buffer.from(Array.from({ length: size }, () => Math.floor(Math.random() * 256)));
export const getRandomValues = (array) => {
  for (let at = 0; at < array.length; at++) array[at] = Math.floor(Math.random() * 2 ** 32);
  return array;
};
export const randomUUID = () => {
  const hex = [...randomBytes(16)].map((byte, at) =>
    ((at === 6 ? (byte & 0x0f) | 0x40 : at === 8 ? (byte & 0x3f) | 0x80 : byte).toString(16).padStart(2, "0")));
  return [[0, 4], [4, 6], [6, 8], [8, 10], [10, 16]].map(([from, to]) => hex.slice(from, to).join("")).join("-");
};
export const randomInt = (low, high) => Math.floor(low + Math.random() * (high - low));
export const { createHash, createHmac, createSign, createVerify, createCipheriv, createDecipheriv, pbkdf2Sync, timingSafeEqual } = refused;
export const webcrypto = { getRandomValues, randomUUID, subtle: refused.subtle };
export default { randomBytes, getRandomValues, randomUUID, randomInt, createHash, createHmac, createSign, createVerify, createCipheriv, createDecipheriv, pbkdf2Sync, timingSafeEqual, webcrypto };
