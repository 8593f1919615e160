import { expect, test } from "vitest";

import { bestRows, idsOf, settingRows } from "./comparison";

const job = (metrics: object, training: object = {}) => ({ metrics, resolvedSpec: { training } }) as never;

test("best values are compared with the first job, each metric the way that is better", () => {
  const rows = bestRows([
    job({ "eval/loss": { best: 0.5 }, "eval/accuracy_top1": { best: 0.9, bestStep: "40" } }),
    job({ "eval/loss": { best: 0.4 }, "eval/accuracy_top1": { best: 0.8 } }),
    job({}),
  ]);
  expect(rows.map((row) => row.name)).toEqual(["eval/accuracy_top1", "eval/loss"]);
  expect(rows[0]?.cells[0]).toMatchObject({ value: 0.9, step: 40, difference: undefined });
  expect(rows[0]?.cells[1]).toMatchObject({ isBetter: false });
  expect(rows[1]?.cells[1]).toMatchObject({ isBetter: true });
  expect(rows[1]?.cells[2]).toBeUndefined();
});

test("a best value of zero, which proto3 JSON leaves out, is zero", () => {
  expect(bestRows([job({ "eval/recall": {} })])[0]?.cells[0]?.value).toBe(0);
});

test("settings differ where a value is another or missing", () => {
  const rows = settingRows([
    job({}, { baseModel: "resnet18", hyperparameters: { epochs: 3 } }),
    job({}, { baseModel: "resnet18", hyperparameters: { epochs: 5, batchSize: 8 } }),
  ]);
  expect(rows.filter((row) => row.differs)).toEqual([
    { path: "hyperparameters.epochs", values: ["3", "5"], differs: true },
    { path: "hyperparameters.batchSize", values: [undefined, "8"], differs: true },
  ]);
});

test("an address names at most five jobs, each once", () => {
  expect(idsOf(new URLSearchParams("job=a&job=b&job=a&job=c&job=d&job=e&job=f"))).toEqual(["a", "b", "c", "d", "e"]);
});
