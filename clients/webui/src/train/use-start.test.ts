import { expect, test } from "vitest";

import { nameAfter } from "./use-start";

test("a job is named after its dataset's title where the dataset's id does not say it", () => {
  expect(nameAfter("工单.jsonl.gz", "models/tiny-llama")).toBe("工单-tiny-llama");
  expect(nameAfter("tickets.jsonl", "models/tiny-llama")).toBe("");
  expect(nameAfter(undefined, "resnet50")).toBe("");
});
