import { describe, expect, it } from "vitest";

import { messagesZh } from "../i18n/messages.zh";
import { boxesOf, filesToLeaveOut, grouped, imagePrefixOf, labelOf, otherPath, ownMessage, severities, shortMessage, titleOf } from "./findings";

const COPY = {
  code: "DUPLICATE_ACROSS_SPLITS",
  severity: "SEVERITY_WARNING",
  path: "val/cat/x.png",
  message: "'val/cat/x.png' is the same file as 'train/cat/3.png': one is in val, one in train.",
} as const;
const REPORT = {
  findings: [
    { code: "IMAGES_BROKEN", severity: "SEVERITY_ERROR", message: "Too many." },
    COPY,
    { ...COPY, path: "train/dog/y.png" },
  ],
  counts: { DUPLICATE_ACROSS_SPLITS: "1200", IMAGES_BROKEN: "1" },
} as const;

describe("findings", () => {
  it("counts what was found, not what is listed", () => {
    expect(grouped({ ...REPORT, findings: [...REPORT.findings] }).map(({ code, count }) => [code, count])).toEqual([
      ["IMAGES_BROKEN", 1],
      ["DUPLICATE_ACROSS_SPLITS", 1200],
    ]);
    expect(severities({ ...REPORT, findings: [...REPORT.findings] })).toEqual({ error: 1, warning: 1200, info: 0 });
  });

  it("counts what is shown once splits or classes are filtered", () => {
    const [group, ...others] = grouped({ ...REPORT, findings: [...REPORT.findings] }, { split: "val" });
    expect([group?.count, others.length]).toEqual([1, 0]);
  });

  it("finds the other file of a pair, and says the path once", () => {
    expect(otherPath(COPY)).toBe("train/cat/3.png");
    expect(shortMessage(COPY)).toBe("Is the same file as 'train/cat/3.png': one is in val, one in train.");
  });

  it("leaves out files and never a file of lines", () => {
    const group = grouped({ findings: [COPY, COPY] })[0]!;
    expect(filesToLeaveOut({ format: "DATASET_FORMAT_IMAGE_FOLDER" }, group)).toBe(1);
    expect(filesToLeaveOut({ format: "DATASET_FORMAT_JSONL" }, group)).toBe(0);
  });

  it("says a code in words, or in the reader's", () => {
    expect(titleOf("LINE_NOT_JSON", {})).toBe("Line not JSON");
    expect(titleOf("LINE_NOT_JSON", { LINE_NOT_JSON: "不是 JSON" })).toBe("不是 JSON");
  });

  it("goes from pictures to labels and back", () => {
    expect(labelOf("images/train/images 1.v2.jpg")).toBe("labels/train/images 1.v2.txt");
    expect(imagePrefixOf("labels/train/3.txt")).toBe("images/train/3.");
  });

  it("reads boxes and leaves out what is none", () => {
    expect(boxesOf([{ line: "1", text: "2 0.5 0.5 0.2 0.4" }, { line: "2", text: "a b" }, { line: "3", text: "" }])).toEqual([
      { line: 1, label: 2, x: 0.4, y: 0.3, width: 0.2, height: 0.4 },
    ]);
  });
});

describe("a finding in another language", () => {
  const few = { code: "EXAMPLES_FEW", message: "Only 12 examples for training, fewer than 100.", figures: { examples: "12", least: "100" } };
  it("is said from its figures", () => expect(ownMessage(few, messagesZh)).toBe("只有 12 条训练样本，少于 100 条。"));
  it("is left to the server's words where an older report has no figures", () =>
    expect(ownMessage({ ...few, figures: {} }, messagesZh)).toBeUndefined());
  it("is left to the server's words where the language has none", () => expect(ownMessage(few, {})).toBeUndefined());
});
