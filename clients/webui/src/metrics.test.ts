import { expect, test } from "vitest";

import { en } from "./i18n/en";
import { zh } from "./i18n/zh";
import { isLessBetter, metricName, partsOf } from "./metrics";

test("a metric is called by its measure, and by its stage where both are measured", () => {
  expect(metricName(en, "train/loss")).toBe("Training loss");
  expect(metricName(en, "eval/accuracy_top1")).toBe("Accuracy");
  expect(metricName(en, "base/map50")).toBe("Base model mAP50");
  expect(metricName(zh, "eval/loss")).toBe("验证损失");
});

test("an unknown metric keeps its own words", () => {
  expect(metricName(en, "eval/mean_colour")).toBe("Mean colour");
  expect(metricName(en, "speed")).toBe("Speed");
});

test("a class of a measure stays apart from it", () => {
  expect(partsOf("eval/ap50/cat/dog")).toEqual({ stage: "eval", measure: "ap50", part: "cat/dog" });
});

test("less is better of losses and perplexity", () => {
  expect(["train/loss", "eval/perplexity", "eval/recall"].map(isLessBetter)).toEqual([true, true, false]);
});
