import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { cleanup, render, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, it, vi } from "vitest";

import type { JobJson } from "../gen/tuneyard/v1/job_pb";
import { Speaking } from "../i18n";
import { Outcome } from "./outcome";
import type { JobView } from "./store";

const FAILED: JobJson = {
  name: "jobs/a",
  state: "JOB_STATE_FAILED",
  error: { reason: "ERROR_REASON_DIVERGED", message: "The loss of step 7 is nan.", stage: "train", remedies: ["Lower the learning rate."] },
};
const VIEW = {
  connected: true,
  checkpoints: [],
  stages: [],
  advice: [
    {
      sequence: "1",
      advice: {
        kind: "ADVICE_KIND_OVERFITTING",
        observation: "The validation loss rose from 0.1 to 0.3.",
        remedies: ["Add dropout."],
        changes: { "hyperparameters.weight_decay": "0.1" },
      },
    },
  ],
} as unknown as JobView;

beforeEach(() => vi.stubGlobal("fetch", () => new Promise(() => undefined)));
afterEach(() => {
  cleanup();
  localStorage.clear();
  vi.unstubAllGlobals();
});

function show(language: string, job: JobJson = FAILED, view: Partial<JobView> = {}) {
  localStorage.setItem("tuneyard.language", language);
  render(
    <QueryClientProvider client={new QueryClient()}>
      <Speaking>
        <Outcome view={{ ...VIEW, ...view }} job={job} />
      </Speaking>
    </QueryClientProvider>,
  );
}

it("says failures and advice in Chinese by their codes, with the server's words below", async () => {
  show("zh");
  expect(await screen.findByText(/损失变为无穷大或不再是数字 · 阶段：训练/)).toBeTruthy();
  expect(screen.getByText("降低学习率。")).toBeTruthy();
  expect(screen.getByText(/^训练损失还在下降，验证损失却在上升/)).toBeTruthy();
  expect(screen.getByText("→ 权重衰减 0.1")).toBeTruthy();
  expect(screen.getByRole("button", { name: "以权重衰减 0.1 重新运行" })).toBeTruthy();
  for (const told of [/The loss of step 7/, /The validation loss rose/]) {
    const text = screen.getByText(told);
    expect(text.closest("details")?.open).toBe(false);
    expect(text.closest("[lang]")?.getAttribute("lang")).toBe("en");
  }
});

it("shows the server's words as they are in English", async () => {
  show("en");
  expect((await screen.findByText(/The loss of step 7/)).closest("details")).toBeNull();
  expect(screen.getByText("Lower the learning rate.")).toBeTruthy();
});

it("leads from a base model that cannot be had to where models are imported", async () => {
  show("en", { ...FAILED, error: { reason: "ERROR_REASON_BASE_MODEL_UNAVAILABLE", message: "The hub cannot be reached." } });
  expect((await screen.findByRole("link", { name: "Import a model" })).getAttribute("href")).toBe("/models?import");
});

it("tells no speed before the first step: what prepares the data counts other things", async () => {
  const running: JobJson = { name: "jobs/a", state: "JOB_STATE_RUNNING", progress: { fraction: 0, rate: 5129, unit: "images" } };
  show("en", running);
  expect(await screen.findByRole("progressbar")).toBeTruthy();
  expect(screen.queryByText(/5,129/)).toBeNull();
});

const MERGE: JobJson = {
  name: "jobs/m",
  state: "JOB_STATE_SUCCEEDED",
  spec: { merge: { sourceJob: "jobs/a" } },
  metrics: { "merge/top1_agreement": { latest: 1, best: 1 } },
};
const MERGED = { advice: [], summary: "6 layers of the base changed." };

it("shows of a merge how it was proved", async () => {
  show("en", MERGE, MERGED);
  expect((await screen.findByText("Same most likely token")).nextSibling?.textContent).toMatch(/^100\.0\s%$/);
  expect(screen.getByText("6 layers of the base changed.").closest("details")).toBeNull();
});

it("folds the server's words about a merge where they are not the reader's", async () => {
  show("zh", MERGE, MERGED);
  expect((await screen.findByText("首选词元一致率")).nextSibling?.textContent).toBe("100.0%");
  expect(screen.getByText("6 layers of the base changed.").closest("details")?.open).toBe(false);
});

const EVALUATION: JobJson = {
  name: "jobs/e",
  state: "JOB_STATE_SUCCEEDED",
  spec: { evaluate: { sourceJob: "jobs/a" } },
  startTime: "2026-01-01T00:00:00Z",
  endTime: "2026-01-01T00:00:17Z",
  metrics: { "eval/token_accuracy": { latest: 0.5, best: 0.5, bestStep: "36" } },
};

it("calls nothing of an evaluation the best: it measured once", async () => {
  show("en", EVALUATION, { ...MERGED, summary: undefined });
  expect(await screen.findByText("Finished in 17 s.")).toBeTruthy();
  expect(screen.queryByText(/best/i)).toBeNull();
});

it.each([
  ["97.5% of 20 images of the val split of datasets/pets are recognised (base model: 10.0%).", "datasets/pets 的 val 部分，20 张图片中识别正确 97.5%；基础模型为 10.0%。"],
  ["mAP50 0.512 and mAP50-95 0.31 on 6 images of the test split of datasets/y.", "datasets/y 的 test 部分，6 张图片：mAP50 0.512，mAP50-95 0.31。"],
  ["Perplexity on 9 rows of the val split of datasets/t is 975.8 (base model: 982.1).", "datasets/t 的 val 部分，9 行的困惑度为 975.8；基础模型为 982.1。"],
  ["The loss on 1 image of the val split of datasets/p is 1.091.", "datasets/p 的 val 部分，1 张图片的损失为 1.091。"],
])("says the result of an evaluation in Chinese: %s", async (summary, said) => {
  show("zh", EVALUATION, { ...MERGED, summary });
  expect(await screen.findByText(said)).toBeTruthy();
  expect(screen.queryByText(summary)).toBeNull();
});
