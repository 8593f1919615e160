import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, describe, expect, it } from "vitest";

import { Speaking } from "../i18n";
import { SettingField, type Told } from "./field";
import type { Field } from "./schema";

const RANK: Field = {
  path: "languageModel.lora.loraR",
  kind: "integer",
  isLong: false,
  options: [],
  unit: "",
  usualMin: 8,
  usualMax: 64,
  guide: "llm-fine-tuning-with-lora",
  bounds: { least: 1, most: 1024 },
};

async function show(text: string, told: Told = {}) {
  const changes: [string, string][] = [];
  render(
    <Speaking>
      <SettingField field={RANK} text={text} resolved={16} recommended={16} onChange={(...change) => changes.push(change)} {...told} />
    </Speaking>,
  );
  return { input: (await screen.findByLabelText(/LoRA rank/)) as HTMLInputElement, changes };
}

describe("SettingField", () => {
  afterEach(() => {
    cleanup();
    localStorage.clear();
  });

  it("leads to the guide in the reader's language", async () => {
    localStorage.setItem("tuneyard.language", "zh");
    render(
      <Speaking>
        <SettingField field={RANK} text="" resolved={16} recommended={16} onChange={() => undefined} />
      </Speaking>,
    );
    expect((await screen.findByRole("link")).getAttribute("href")).toBe("/guide.zh#llm-fine-tuning-with-lora");
  });

  it("shows what is recommended as a placeholder and fills nothing in", async () => {
    const { input } = await show("");
    expect([input.value, input.placeholder]).toEqual(["", "16"]);
    expect(screen.getByText("Recommended")).toBeTruthy();
  });

  it("offers the way back from a typed value", async () => {
    const { changes } = await show("12");
    fireEvent.click(screen.getByRole("button", { name: /Reset/ }));
    expect(changes).toEqual([[RANK.path, ""]]);
  });

  it("notes what is unusual and does not call it wrong", async () => {
    const { input } = await show("200");
    expect(screen.getByText("Outside the usual range: 8–64.")).toBeTruthy();
    expect(input.getAttribute("aria-invalid")).toBe("false");
  });

  it("says at the field what is wrong with it", async () => {
    const { input } = await show("0", { violation: "must be at least 1" });
    expect(input.getAttribute("aria-invalid")).toBe("true");
    expect(document.getElementById(input.getAttribute("aria-describedby")!.split(" ")[1]!)?.textContent).toBe("must be at least 1");
  });
});
