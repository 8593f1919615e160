import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { cleanup, render, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import type { JobJson } from "../gen/tuneyard/v1/job_pb";
import { Speaking } from "../i18n";
import { Artifacts } from "./artifacts";

const artifacts = [
  { path: "adapter/adapter_model.safetensors", description: "The adapter's weights, as peft loads them" },
  { path: "confusion_matrix.png", description: "Which classes are taken for which" },
  { path: "onnx/model.onnx", description: "ONNX, opset 18" },
  { path: "adapter/tokenizer.json" },
];

beforeEach(() => vi.stubGlobal("fetch", () => Promise.resolve(new Response(JSON.stringify({ artifacts })))));
afterEach(() => {
  cleanup();
  localStorage.clear();
  vi.unstubAllGlobals();
});

function show(language: string, job: JobJson = { name: "jobs/a" }) {
  localStorage.setItem("tuneyard.language", language);
  render(
    <QueryClientProvider client={new QueryClient()}>
      <Speaking>
        <Artifacts job={job} count={1} />
      </Speaking>
    </QueryClientProvider>,
  );
}

test("says in Chinese what files are that it knows, and leaves the others to the server's words, marked as English", async () => {
  show("zh");
  expect(await screen.findByText("适配器权重，由 peft 加载")).toBeTruthy();
  expect(screen.getByText("混淆矩阵：哪些类别被认成哪些类别")).toBeTruthy();
  expect(screen.getByText("ONNX, opset 18").lang).toBe("en");
  expect(screen.queryByText(/peft loads/)).toBeNull();
});

test("says in English what the server says", async () => {
  show("en");
  for (const { description } of artifacts) if (description) expect(await screen.findByText(description)).toBeTruthy();
});

test("offers everything as a ZIP where the page has no results to offer it among", async () => {
  show("en", { name: "jobs/a", state: "JOB_STATE_RUNNING" });
  expect(await screen.findByText("Download all (ZIP)")).toBeTruthy();
  cleanup();
  show("en", { name: "jobs/a", state: "JOB_STATE_SUCCEEDED" });
  await screen.findByText("onnx/model.onnx");
  expect(screen.queryByText("Download all (ZIP)")).toBeNull();
});
