import { expect, test } from "vitest";

import { withRoom } from "./room";

test("an axis leaves room on both sides of its values", () => {
  expect(withRoom(1, 2)).toEqual([0.92, 2.08]);
  expect(withRoom(0, 0)).toEqual([-0.08, 0.08]);
  expect(withRoom(null, null)).toEqual([0, 1]);
});

test("an axis of shares says nothing below 0 % and above 100 %", () => {
  expect(withRoom(0, 0, { areShares: true })).toEqual([0, 0.08]);
  expect(withRoom(0, 1, { areShares: true })).toEqual([0, 1]);
  expect(withRoom(0.5, 1, { areShares: true })).toEqual([0.46, 1]);
});

test("what is no share after all is not cut off", () => {
  const [least, most] = withRoom(-0.5, 2, { areShares: true });
  expect(least).toBeLessThan(-0.5);
  expect(most).toBeGreaterThan(2);
});
