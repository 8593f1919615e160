import { expect, it } from "vitest";

import { en } from "../i18n/en";
import { zh } from "../i18n/zh";
import type { Field } from "./schema";
import { outsideOf } from "./words";

const RATE: Field = {
  path: "hyperparameters.learningRate",
  kind: "number",
  isLong: false,
  options: [],
  unit: "",
  usualMin: undefined,
  usualMax: undefined,
  guide: "",
  bounds: { above: 0, most: 10 },
};

it("says in Chinese what is beyond a field's bounds, and leaves everything else to the server", () => {
  expect(outsideOf(zh, RATE, "20")).toBe("须大于 0 且不大于 10，现在是 20。");
  expect(outsideOf(zh, RATE, " 0 ")).toBe("须大于 0 且不大于 10，现在是 0。");
  expect(outsideOf(zh, RATE, "0.1")).toBeUndefined();
  expect(outsideOf(zh, RATE, "much")).toBeUndefined();
  expect(outsideOf(en, RATE, "20")).toBeUndefined();
});
