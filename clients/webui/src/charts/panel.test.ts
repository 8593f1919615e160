import { expect, test } from "vitest";

import { Curve } from "../job/curves";
import { columnsOf, panelsOf, union, type Look, type Source } from "./panel";

const LOOK: Look = { axis: "step", log: false, smoothing: 0, ignoreSpikes: false };

function curveOf(...points: [number, number][]): Curve {
  const curve = new Curve();
  for (const [step, value] of points) curve.push(step, value, 0, 0);
  return curve;
}

const source = (curves: Record<string, Curve>, color?: number): Source => ({
  curves: new Map(Object.entries(curves)),
  plannedSteps: 100,
  clock: (time) => time / 1000,
  label: (name) => name,
  color,
});

test("loss comes first, then what is evaluated, then the learning rate", () => {
  const flat = curveOf([1, 1]);
  const panels = panelsOf([source({ "train/grad_norm": flat, "train/learning_rate": flat, "eval/recall": flat, "train/loss": flat })]);
  expect(panels.map((panel) => panel.measure)).toEqual(["loss", "recall", "learning_rate", "grad_norm"]);
});

test("compared jobs share panels, each in its colour, evaluated values dashed", () => {
  const flat = curveOf([1, 1]);
  const [loss] = panelsOf([source({ "train/loss": flat }, 1), source({ "train/loss": flat, "eval/loss": flat }, 2)]);
  expect(loss?.lines.map((line) => [line.color, line.dashed])).toEqual([
    [1, false],
    [2, false],
    [2, true],
  ]);
});

test("steps that only one of two lines has leave a gap in the other", () => {
  const [loss] = panelsOf([source({ "train/loss": curveOf([1, 5], [2, 4], [4, 3]), "eval/loss": curveOf([2, 6], [3, 7]) })]);
  const { data } = columnsOf(loss!.lines, LOOK);
  expect(data.map((column) => [...column])).toEqual([
    [1, 2, 3, 4],
    [5, 4, null, 3],
    [null, 6, 7, null],
  ]);
});

test("by running time, values that are measured seldom stand beside those of the same moment", () => {
  const [often, seldom] = [new Curve(), new Curve()];
  for (const minute of [0, 1, 2, 3, 4, 5, 6]) often.push(minute, 1, 0, minute * 60_000);
  for (const minute of [3, 6]) seldom.push(minute, 2, 0, minute * 60_000);
  const [loss] = panelsOf([source({ "train/loss": often, "eval/loss": seldom })]);
  const { data } = columnsOf(loss!.lines, { ...LOOK, axis: "time" });
  expect([...data[0]]).toEqual([0, 60, 120, 180, 240, 300, 360]);
  expect([...data[2]!]).toEqual([null, null, null, 2, null, null, 2]);
});

test("on a log scale values that are not above zero are left out and counted", () => {
  const [loss] = panelsOf([source({ "train/loss": curveOf([1, 1], [2, 0], [3, -1]) })]);
  expect(columnsOf(loss!.lines, { ...LOOK, log: true })).toMatchObject({ hidden: 2 });
});

test("a union that adds nothing is the longer line itself", () => {
  const long = Float64Array.of(1, 2, 3);
  expect(union(Float64Array.of(2), long)).toBe(long);
  expect([...union(Float64Array.of(1, 4), Float64Array.of(2, 4, 4))]).toEqual([1, 2, 4]);
});
