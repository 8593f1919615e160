import { expect, test } from "vitest";

import { smoothed } from "./curves";

const steps = (count: number, apart = 1) => Float64Array.from({ length: count }, (_, index) => index * apart);

test("early smoothed values are means of what there is: the first value does not outweigh the others", () => {
  const values = Float64Array.from({ length: 100 }, (_, index) => (index === 0 ? 10 : 1));
  const smooth = smoothed(steps(100), values, 0.6, 1_000_000);
  expect(smooth[0]).toBeCloseTo(10, 6);
  expect(smooth[1]).toBeCloseTo(5.5, 1);
  expect(smooth[99]).toBeCloseTo(1.09, 1);
});

test("what is smoothed does not change when more points come", () => {
  const values = Float64Array.from({ length: 200 }, (_, index) => Math.sin(index));
  const early = smoothed(steps(50), values.slice(0, 50), 0.9, 1000);
  const late = smoothed(steps(200), values, 0.9, 1000);
  expect([...late.subarray(0, 50)]).toEqual([...early]);
});

test("values that are not numbers leave a gap, and what comes after is smoothed on", () => {
  const smooth = smoothed(steps(5), Float64Array.of(2, 2, NaN, 2, 2), 0.9, 1000);
  expect([...smooth].map((value) => (Number.isNaN(value) ? null : Number(value.toFixed(6))))).toEqual([2, 2, null, 2, 2]);
});
