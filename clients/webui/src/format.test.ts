import { expect, it } from "vitest";

import { bytes, duration, number, parameters } from "./format";

it("writes sizes with a unit", () => {
  expect([bytes(0), bytes(999), bytes(6_100_000_000), bytes("123456789")]).toEqual(["0 B", "999 B", "6.1 GB", "123 MB"]);
});

it("writes times as people say them", () => {
  expect([duration(45), duration(720), duration(11_100), duration(190_000), duration(undefined)]).toEqual([
    "45 s",
    "12 min",
    "3 h 05 min",
    "2 d 4 h",
    "–",
  ]);
});

it("keeps four digits", () => {
  expect([number(0.123456), number(0.000123), number(100_000), number(NaN)]).toEqual(["0.1235", "1.23e−4", "100,000", "–"]);
});

it("counts parameters in the reader's language", () => {
  const counted = () => [25_557_032, 7_241_732_096, 812].map((value) => parameters(value).replace("\u00a0", " "));
  expect(counted()).toEqual(["25.6 M", "7.24 B", "812"]);
  document.documentElement.lang = "zh-CN";
  expect(counted()).toEqual(["2560 万", "72.4 亿", "812"]);
  document.documentElement.lang = "";
});
