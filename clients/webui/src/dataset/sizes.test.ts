import { expect, test } from "vitest";

import { binsOf } from "./sizes";

test("sizes between those that occur are bins too, without pictures", () => {
  expect(binsOf({ "64": "3", "512": 1 })).toEqual([
    { label: "33–64 px", count: 3 },
    { label: "65–128 px", count: 0 },
    { label: "129–256 px", count: 0 },
    { label: "257–512 px", count: 1 },
  ]);
  expect(binsOf({})).toEqual([]);
});
