import { create, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";

import { GetJobMetricsResponseSchema } from "../gen/tuneyard/v1/training_service_pb";
import { metricsOf } from "./metrics";

test("columns are read as generated code writes them", () => {
  const loss = {
    name: "train/loss",
    steps: [0n, 127n, 128n, 300n, 9007199254740991n],
    values: [0.5, NaN, -1e300, Infinity, 0],
    epochs: [0, 0.25, 0.5, 0.75, 1],
    timesMs: [1764460800000n, 1764460800001n, 0n, 1n, 2n],
    attempts: [1, 1, 2, 2, 2],
    pointCount: 5n,
  };
  const message = create(GetJobMetricsResponseSchema, { columns: [loss, { name: "eval/loss" }], lastSequence: 100001n });
  const { columns, lastSequence } = metricsOf(toBinary(GetJobMetricsResponseSchema, message));
  expect(lastSequence).toBe(100001);
  expect(columns.map((column) => column.name)).toEqual(["train/loss", "eval/loss"]);
  expect([...columns[0]!.steps]).toEqual(loss.steps.map(Number));
  expect([...columns[0]!.values]).toEqual(loss.values);
  expect([...columns[0]!.epochs]).toEqual(loss.epochs);
  expect([...columns[0]!.timesMs]).toEqual(loss.timesMs.map(Number));
  expect(columns[1]!.steps).toHaveLength(0);
});

test("no curves yet", () => {
  expect(metricsOf(new Uint8Array())).toEqual({ columns: [], lastSequence: 0 });
});
