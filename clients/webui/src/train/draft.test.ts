import { describe, expect, it } from "vitest";

import { emptyDraft, keepDraft, recallDraft, reduce, specOf, textOf, valuesOf } from "./draft";
import { fieldsOf, jsonPath, type OpenApi } from "./schema";

const ref = (name: string) => ({ allOf: [{ $ref: `#/components/schemas/${name}` }] });
const DOCUMENT: OpenApi = {
  components: {
    schemas: {
      TrainingSpec: {
        properties: {
          dataset: { type: "string" },
          baseModel: { type: "string" },
          hyperparameters: ref("Hyperparameters"),
          seed: { type: "string", format: "int64" },
          imageClassifier: ref("ImageClassifier"),
          languageModel: ref("LanguageModel"),
        },
      },
      Hyperparameters: {
        properties: {
          epochs: { type: "integer", "x-unit": "epochs" },
          learningRate: { type: "number", "x-usual-min": 1e-4, exclusiveMinimum: 0, maximum: 10 },
          precision: ref("Precision"),
        },
      },
      Precision: { type: "string", enum: ["PRECISION_UNSPECIFIED", "PRECISION_BF16"] },
      ImageClassifier: { properties: { freezeBackbone: { type: "boolean" }, classWeights: { type: "object" } } },
      LanguageModel: { properties: { validationPrompts: { type: "array" }, lora: ref("LoraConfig") } },
      LoraConfig: { properties: { targetModules: { type: "array" } } },
    },
  },
};
const fields = fieldsOf(DOCUMENT, "image_classifier");
const typed = (values: Record<string, string>) => ({ ...emptyDraft("image_classifier"), baseModel: "resnet50", dataset: "datasets/a", values });

describe("fieldsOf", () => {
  it("walks a task's own fields and leaves out those of others", () => {
    expect(fields.map((field) => field.path)).toEqual([
      "hyperparameters.epochs",
      "hyperparameters.learningRate",
      "hyperparameters.precision",
      "seed",
      "imageClassifier.freezeBackbone",
      "imageClassifier.classWeights",
    ]);
    expect(fields[0]).toMatchObject({ kind: "integer", unit: "epochs", isLong: false });
    expect(fields[1]).toMatchObject({ kind: "number", usualMin: 1e-4 });
    expect(fields[2]).toMatchObject({ kind: "choice", options: ["PRECISION_BF16"] });
    expect(fields[3]).toMatchObject({ kind: "integer", isLong: true });
  });

  it("reads the server's paths", () => {
    expect(jsonPath("spec.language_model.quantization.bnb_4bit_compute_dtype")).toBe("languageModel.quantization.bnb4bitComputeDtype");
  });
});

describe("specOf", () => {
  it("sends what was typed and nothing else", () => {
    const values = { "hyperparameters.learningRate": "1e-4", seed: "7", "imageClassifier.freezeBackbone": "false" };
    expect(specOf(typed(values), fields, "no number").spec).toEqual({
      baseModel: "resnet50",
      dataset: "datasets/a",
      hyperparameters: { learningRate: 1e-4 },
      seed: "7",
      imageClassifier: { freezeBackbone: false },
    });
  });

  it("keeps back what is no number and says so at the field", () => {
    const values = { "hyperparameters.epochs": "many", "imageClassifier.classWeights": "cat" };
    const { spec, violations } = specOf(typed(values), fields, "no number");
    expect(spec.hyperparameters).toBeUndefined();
    expect(violations.map((each) => each.field)).toEqual(["hyperparameters.epochs", "imageClassifier.classWeights"]);
  });

  it("reads weights by class and lists", () => {
    expect(specOf(typed({ "imageClassifier.classWeights": "cat = 2, big dog: 0.5" }), fields, "").spec.imageClassifier).toEqual({
      classWeights: { cat: 2, "big dog": 0.5 },
    });
    const text = fieldsOf(DOCUMENT, "language_model");
    const values = { "languageModel.lora.targetModules": "q_proj, v_proj", "languageModel.validationPrompts": "Hello, you\nBye" };
    expect(specOf({ ...typed(values), task: "language_model" }, text, "").spec.languageModel).toEqual({
      lora: { targetModules: ["q_proj", "v_proj"] },
      validationPrompts: ["Hello, you", "Bye"],
    });
  });

  it("makes the same spec of the values that it reads out of one", () => {
    const spec = { hyperparameters: { epochs: 3, learningRate: 2e-4 }, imageClassifier: { classWeights: { cat: 2 }, freezeBackbone: true } };
    expect(specOf({ ...typed(valuesOf(spec, fields)), dataset: "", baseModel: "" }, fields, "").spec).toEqual(spec);
  });
});

describe("reduce", () => {
  it("takes a value out when it is emptied", () => {
    const draft = reduce(typed({ seed: "7" }), { type: "set", path: "seed", text: "" });
    expect(draft.values).toEqual({});
  });

  it("undoes a preset as a whole", () => {
    const before = typed({ seed: "7" });
    const after = reduce(before, { type: "apply", label: "less", changes: { seed: "", "hyperparameters.epochs": "1" } });
    expect(after.values).toEqual({ "hyperparameters.epochs": "1" });
    expect(reduce(after, { type: "undo" }).values).toEqual(before.values);
  });

  it("takes another base model from a way that fits, and undoes that too", () => {
    const before = typed({ seed: "7" });
    const after = reduce(before, { type: "apply", label: "smaller", changes: { baseModel: "resnet18" } });
    expect(after).toMatchObject({ baseModel: "resnet18", values: { seed: "7" } });
    expect(reduce(after, { type: "undo" }).baseModel).toBe("resnet50");
  });

  it("asks under another request id once something changes", () => {
    const draft = typed({});
    expect(reduce(draft, { type: "name", text: "x" }).requestId).not.toBe(draft.requestId);
    expect(reduce(draft, { type: "name", text: "" }).requestId).toBe(draft.requestId);
  });
});

describe("drafts", () => {
  it("survive a reload of the tab", () => {
    const kept = new Map<string, string>();
    const draft = typed({ seed: "7" });
    keepDraft("train", draft, { setItem: (key, value) => void kept.set(key, value) });
    expect(recallDraft("train", "object_detector", { getItem: (key) => kept.get(key) ?? null })).toEqual(draft);
    expect(recallDraft("other", "object_detector", { getItem: () => "{" }).task).toBe("object_detector");
  });
});

it("writes numbers as people type them", () => {
  expect([1e-4, 2.5e-5, 0.05, 16, true, ["a", "b"]].map(textOf)).toEqual(["1e-4", "2.5e-5", "0.05", "16", "true", "a, b"]);
});
