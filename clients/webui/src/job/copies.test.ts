import { expect, test } from "vitest";

import { asCommand, asCurl, asPython } from "./copies";

const SPEC = {
  dataset: "datasets/answers",
  baseModel: "store it's",
  languageModel: { method: "FINE_TUNING_METHOD_QLORA", quantization: { use4bit: true }, lora: { targetModules: ["q_proj"] } },
} as never;

test("the command names the task, and every other setting by its path in the protos", () => {
  expect(asCommand(SPEC)).toBe(
    `tuneyard train llm --dataset datasets/answers --base-model 'store it'\\''s' ` +
      `--set 'language_model.method="FINE_TUNING_METHOD_QLORA"' --set language_model.quantization.use_4bit=true ` +
      `--set 'language_model.lora.target_modules=["q_proj"]'`,
  );
});

test("curl's body survives quotes in names", () => {
  expect(asCurl(SPEC, "http://here")).toContain(`"baseModel":"store it'\\''s"`);
});

test("Python has its own words for true and nothing", () => {
  const text = asPython(SPEC, "http://here");
  expect(text).toContain(`"use4bit": True,`);
  expect(text).toContain(`requests.post("http://here/v1/jobs:train", json={"spec": spec})`);
});
