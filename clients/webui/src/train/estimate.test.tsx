import { cleanup, render, screen } from "@testing-library/react";
import { afterEach, expect, it } from "vitest";

import { Speaking } from "../i18n";
import { EstimatePanel } from "./estimate";

const warnings = [
  { field: "spec.language_model.lora.lora_r", description: "200; 8 to 64 are usual." },
  { field: "spec.language_model.lora.lora_r", description: "The adapter will have about 310 MB; below 100 MB it is easily shared." },
  {
    field: "spec.hyperparameters.batch_size",
    description:
      "The recommended batch of 4 needs about 33.9 GB, more than cpu has to spare: with batch 1 x accumulation 16 the effective batch stays 16, in about 20.9 GB.",
  },
  { field: "spec.language_model.packing", description: "In a model of type opt, samples that share a row would see each other." },
];

afterEach(() => {
  cleanup();
  localStorage.clear();
});

function show(language: string) {
  localStorage.setItem("tuneyard.language", language);
  const nothing = () => undefined;
  render(
    <Speaking>
      <EstimatePanel
        estimate={{ memory: { hostBytes: "1000000" }, fits: true, warnings }}
        isOld={false}
        violations={[]}
        error={null}
        onRetry={nothing}
        waiting=""
        devices={undefined}
        hasAdapter
        onApply={nothing}
        onGo={nothing}
      />
    </Speaking>,
  );
}

it("says in Chinese what is unusual, with its figures, and marks what it has no words for as English", async () => {
  show("zh");
  expect(await screen.findByText(/常用范围 8–64，现在是 200。/)).toBeTruthy();
  expect(screen.getByText(/改用批量 1 × 梯度累积 16，有效批量仍为 16，约需 20.9 GB。/)).toBeTruthy();
  expect(screen.getByText(/适配器约 310 MB/)).toBeTruthy();
  expect(screen.getByText(/samples that share a row/).lang).toBe("en");
});

it("says in English what the server says", async () => {
  show("en");
  for (const { description } of warnings) expect(await screen.findByText(description)).toBeTruthy();
});
