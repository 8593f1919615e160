import { expect, test } from "vitest";

import { durationsApartBy, numbersApartBy, sharesApartBy, TIMES } from "./ticks";

const plain = (texts: string[]) => texts.map((text) => text.replaceAll("\u00a0", " "));

test("percentages at a tick are the tick's own", () => {
  expect(plain([0, 0.025, 0.05, 0.075].map(sharesApartBy(0.025)))).toEqual(["0.0 %", "2.5 %", "5.0 %", "7.5 %"]);
  expect(plain([0.7, 0.8].map(sharesApartBy(0.1)))).toEqual(["70 %", "80 %"]);
  expect(plain([0.97, 0.9725].map(sharesApartBy(0.0025)))).toEqual(["97.00 %", "97.25 %"]);
});

test("numbers close together keep the digits in which they differ", () => {
  expect([2.345, 2.3455, 2.346].map(numbersApartBy(0.0005))).toEqual(["2.345", "2.3455", "2.346"]);
  expect([100_010, 100_020].map(numbersApartBy(10))).toEqual(["100,010", "100,020"]);
  expect([0, 0.00025, 0.001].map(numbersApartBy(0.00025))).toEqual(["0", "2.50e−4", "0.001"]);
});

test("times at neighbouring ticks differ", () => {
  expect([30, 90, 150].map(durationsApartBy(30))).toEqual(["30 s", "1 min 30 s", "2 min 30 s"]);
  for (const distance of TIMES) {
    const told = [1, 2, 3, 25, 26].map((each) => durationsApartBy(distance)(each * distance));
    expect(new Set(told).size).toBe(told.length);
  }
});
