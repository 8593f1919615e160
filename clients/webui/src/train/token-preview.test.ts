import { expect, test } from "vitest";

import { binsOf } from "./token-preview";

test("rows longer than the maximum stand out, and empty bins at the ends are left out", () => {
  const histogram = [{ upToTokens: "16", rows: "0" }, { upToTokens: "32", rows: "5" }, { upToTokens: "64" }, { rows: "2" }];
  expect(binsOf({ maxLength: 64, totals: { histogram } })).toEqual([
    { label: "≤ 32", count: 5, isOver: false },
    { label: "≤ 64", count: 0, isOver: false },
    { label: "> 64", count: 2, isOver: true },
  ]);
  expect(binsOf({})).toEqual([]);
});
