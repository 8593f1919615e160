import { expect, test } from "vitest";

import { en } from "./i18n/en";
import { zh } from "./i18n/zh";
import { jobTitle } from "./job";

const MERGE = { name: "jobs/b", spec: { merge: { sourceJob: "jobs/019b2c7d-6e5f-7a8b" } } };

test("a merge without a name is called after its source, in the reader's language", () => {
  expect(jobTitle(en, MERGE)).toBe("Merge · 019b2c7d-6e5f");
  expect(jobTitle(zh, MERGE)).toBe("合并 · 019b2c7d-6e5f");
});

test("a name of its own is what a job is called", () => {
  expect(jobTitle(zh, { ...MERGE, labels: { name: "support-bot" } })).toBe("support-bot");
});
