import { expect, test } from "vitest";

import { pinched } from "./pinch";

const ALL: [number, number] = [0, 1000];

test("fingers that part zoom in, around what is between them", () => {
  expect(pinched([0, 1000], [0.4, 0.6], [0.3, 0.7], ALL)).toEqual([250, 750]);
});

test("fingers that move together move what is shown", () => {
  expect(pinched([200, 400], [0.4, 0.6], [0.5, 0.7], ALL)!.map(Math.round)).toEqual([180, 380]);
});

test("fingers that come together show everything, and nothing beyond it", () => {
  expect(pinched([400, 600], [0.1, 0.9], [0.45, 0.55], ALL)).toBeNull();
  expect(pinched([0, 200], [0.1, 0.9], [0.2, 0.8], ALL)![0]).toBe(0);
});

test("fingers on one spot, or crossed, change nothing", () => {
  expect(pinched([0, 200], [0.4, 0.6], [0.5, 0.5], ALL)).toEqual([0, 200]);
  expect(pinched([0, 200], [0.4, 0.6], [0.6, 0.4], ALL)).toEqual([0, 200]);
});
