import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { uploadedBefore } from "./uploaded-before";

const FORMAT = "DATASET_FORMAT_JSONL";
const SHA256_OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const ROWS = { name: "datasets/rows", displayName: "rows.jsonl", sizeBytes: "3", state: "DATASET_STATE_READY", sha256: SHA256_OF_ABC };
let datasets: object[];
let asked: string[];

/** A file as browsers have it, that tells whether it was read. */
function fileOf(text: string, name = "rows.jsonl") {
  const read = vi.fn(() => Promise.resolve(new TextEncoder().encode(text).buffer));
  return { file: { name, size: text.length, arrayBuffer: read } as unknown as File, read };
}

beforeEach(() => {
  datasets = [ROWS];
  asked = [];
  vi.stubGlobal("fetch", (path: string) => {
    asked.push(path);
    return Promise.resolve(new Response(JSON.stringify({ datasets })));
  });
});
afterEach(() => vi.unstubAllGlobals());

test("a file of the same name and bytes is the dataset that it became before", async () => {
  expect(await uploadedBefore(fileOf("abc").file, FORMAT)).toMatchObject({ name: "datasets/rows" });
  expect(asked).toEqual([`/v1/datasets?format=${FORMAT}&pageSize=200`]);
});

test("other bytes are another dataset", async () => {
  expect(await uploadedBefore(fileOf("abd").file, FORMAT)).toBeUndefined();
});

test("a file is not read where no dataset has its name and size", async () => {
  const others = [fileOf("abc", "other.jsonl"), fileOf("abcd")];
  for (const { file, read } of others) {
    expect(await uploadedBefore(file, FORMAT)).toBeUndefined();
    expect(read).not.toHaveBeenCalled();
  }
});

test("what was refused is sent again", async () => {
  datasets = [{ ...ROWS, state: "DATASET_STATE_INVALID" }];
  expect(await uploadedBefore(fileOf("abc").file, FORMAT)).toBeUndefined();
});

test("a large file is neither read nor looked for", async () => {
  const { file, read } = fileOf("abc");
  expect(await uploadedBefore({ ...file, size: 1e9 } as File, FORMAT)).toBeUndefined();
  expect([asked, read.mock.calls]).toEqual([[], []]);
});
