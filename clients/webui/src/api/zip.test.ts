import { expect, it } from "vitest";

import { archive, crc32, zipOf } from "./zip";

const GIB = 2 ** 30;
const bytesOf = async (blob: Blob) => new Uint8Array(await blob.arrayBuffer());
const end = (bytes: Uint8Array, signature: number) => {
  const view = new DataView(bytes.buffer);
  for (let at = bytes.length - 4; at >= 0; at--) if (view.getUint32(at, true) === signature) return at;
  return -1;
};
/** A file that says it is large and holds nothing. */
const huge = (size: number) => Object.defineProperty(new Blob(), "size", { value: size });

it("computes checksums as zlib does, in pieces or at once", () => {
  const text = new TextEncoder().encode("The quick brown fox jumps over the lazy dog");
  expect(crc32(new TextEncoder().encode("123456789"))).toBe(0xcbf4_3926);
  expect(crc32(text)).toBe(0x414f_a339);
  expect(crc32(text.slice(11), crc32(text.slice(0, 11)))).toBe(0x414f_a339);
});

it("packs files as they are, with their paths in UTF-8", async () => {
  const read: number[] = [];
  const files = [
    { path: "config.json", file: new Blob(["{}"]) },
    { path: "词/model.safetensors", file: new Blob(["weights"]) },
  ];
  const bytes = await bytesOf(await zipOf(files, (each) => read.push(each), new AbortController().signal));
  const view = new DataView(bytes.buffer);
  const at = end(bytes, 0x0605_4b50);
  expect(view.getUint16(at + 10, true)).toBe(2);
  const directory = view.getUint32(at + 16, true);
  expect(view.getUint32(directory, true)).toBe(0x0201_4b50);
  expect(view.getUint32(directory + 16, true)).toBe(crc32(new TextEncoder().encode("{}")));
  const text = new TextDecoder().decode(bytes);
  expect(text).toContain("词/model.safetensorsweights");
  expect(read).toEqual([2, 9]);
});

it("writes what is beyond 4 GiB as ZIP64", async () => {
  const files = [
    { path: "a", file: huge(5 * GIB) },
    { path: "b", file: huge(1) },
  ];
  const bytes = await bytesOf(archive(files, [1, 2]));
  const view = new DataView(bytes.buffer);
  const wide = end(bytes, 0x0606_4b50);
  expect(wide).toBeGreaterThan(0);
  expect(view.getUint32(end(bytes, 0x0605_4b50) + 16, true)).toBe(0xffff_ffff);
  const first = 30 + 1 + 20;
  expect(Number(view.getBigUint64(wide + 48, true))).toBe(5 * GIB + first + 31 + 1);
  // The second entry is small, but lies far behind.
  const last = end(bytes, 0x0201_4b50);
  expect(view.getUint32(last + 42, true)).toBe(0xffff_ffff);
  expect(Number(view.getBigUint64(last + 46 + 1 + 4, true))).toBe(5 * GIB + first);
});

it("stops where it is given up", async () => {
  const stop = new AbortController();
  stop.abort();
  await expect(zipOf([{ path: "a", file: new Blob(["x"]) }], () => undefined, stop.signal)).rejects.toMatchObject({ name: "AbortError" });
});
