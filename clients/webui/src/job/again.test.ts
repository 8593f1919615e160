import { expect, test } from "vitest";

import { changesOfAdvice, changesOfFailure, specWith } from "./again";

const failed = (reason: string, hyperparameters: object) => ({ error: { reason }, resolvedSpec: { training: { hyperparameters } } }) as never;

test("after memory ran out the batch is halved, and as many samples a step stay", () => {
  expect(changesOfFailure(failed("ERROR_REASON_OUT_OF_MEMORY", { batchSize: 16 }))).toEqual({
    "hyperparameters.batchSize": 8,
    "hyperparameters.gradientAccumulationSteps": 2,
  });
  expect(changesOfFailure(failed("ERROR_REASON_OUT_OF_MEMORY", { batchSize: 1 }))).toEqual({});
});

test("after a divergence the learning rate is a tenth", () => {
  expect(changesOfFailure(failed("ERROR_REASON_DIVERGED", { learningRate: 0.003 }))).toEqual({ "hyperparameters.learningRate": 0.0003 });
});

test("an advice's paths and literals become values of the spec", () => {
  const changes = changesOfAdvice({ changes: { "hyperparameters.learning_rate": "0.1", "image_classifier.augment": "true" } });
  expect(changes).toEqual({ "hyperparameters.learningRate": 0.1, "imageClassifier.augment": true });
  const spec = { training: { dataset: "datasets/a" } };
  expect(specWith(spec as never, changes)).toEqual({
    training: { dataset: "datasets/a", hyperparameters: { learningRate: 0.1 }, imageClassifier: { augment: true } },
  });
  expect(spec).toEqual({ training: { dataset: "datasets/a" } });
});
