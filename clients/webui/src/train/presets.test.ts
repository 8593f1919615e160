import { describe, expect, it } from "vitest";

import { presetsOf } from "./presets";

const changes = (id: string, ...of: Parameters<typeof presetsOf>) => presetsOf(...of).find((preset) => preset.id === id)?.changes;

describe("presetsOf", () => {
  it("keeps the effective batch when it saves memory", () => {
    const now = { hyperparameters: { batchSize: 6, gradientAccumulationSteps: 2 } };
    expect(changes("lessMemory", "image_classifier", now)).toEqual({
      "hyperparameters.batchSize": "1",
      "hyperparameters.gradientAccumulationSteps": "12",
      "imageClassifier.gradientCheckpointing": "true",
    });
  });

  it("turns a language model's LoRA into QLoRA to save memory", () => {
    expect(changes("lessMemory", "language_model", undefined)).toMatchObject({ "languageModel.method": "FINE_TUNING_METHOD_QLORA" });
  });

  it("asks nothing of a detector that its engine does not do", () => {
    expect(Object.keys(changes("lessMemory", "object_detector", undefined)!)).toEqual(["hyperparameters.batchSize"]);
  });

  it("has the guide's settings by model size for language models only", () => {
    expect(changes("size13", "language_model", undefined)).toMatchObject({ "languageModel.lora.loraR": "16", "hyperparameters.learningRate": "1e-4" });
    expect(changes("size13", "object_detector", undefined)).toBeUndefined();
  });
});
