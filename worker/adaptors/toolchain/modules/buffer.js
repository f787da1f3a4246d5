// The sandbox's own Buffer, so that jobs and adaptors share one class.
export const Buffer = globalThis.Buffer;
export const { Blob, File } = globalThis;
export const kMaxLength = 2 ** 31 - 1;
export const constants = { MAX_LENGTH: kMaxLength, MAX_STRING_LENGTH: 2 ** 29 - 24 };
export default { Buffer, Blob, File, kMaxLength, constants };
