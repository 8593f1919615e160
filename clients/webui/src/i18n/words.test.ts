import { expect, it } from "vitest";

import { en } from "./en";
import { zh } from "./zh";

const keys = (words: object) => Object.keys(words).sort();

it("names every setting, choice and unit in both languages", () => {
  for (const part of ["fields", "choices", "units"] as const) expect(keys(zh[part])).toEqual(keys(en[part]));
});
