import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { cleanup, render, screen, waitFor } from "@testing-library/react";
import { afterEach, expect, test, vi } from "vitest";

import type { DatasetJson } from "../gen/tuneyard/v1/dataset_pb";
import { Speaking } from "../i18n";
import { Browser } from "./browser";

afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
});

/** Returns what lets the server answer. */
function show(dataset: DatasetJson, reason: string) {
  const problem = { status: 501, reason, detail: "its files cannot be shown: it is no sound ZIP" };
  let answer = () => {};
  const asked = new Promise<void>((resolve) => (answer = resolve));
  vi.stubGlobal("fetch", () => asked.then(() => new Response(JSON.stringify(problem), { status: 501 })));
  render(
    <QueryClientProvider client={new QueryClient({ defaultOptions: { queries: { retry: false } } })}>
      <Speaking>
        <Browser dataset={{ name: "datasets/torn", ...dataset }} />
      </Speaking>
    </QueryClientProvider>,
  );
  return answer;
}

test.each<DatasetJson>([
  { state: "DATASET_STATE_INVALID", format: "DATASET_FORMAT_YOLO" },
  { state: "DATASET_STATE_INVALID", format: "DATASET_FORMAT_JSONL" },
])("shows no files where the dataset's findings say that it cannot be opened", async (dataset) => {
  const answer = show(dataset, "NOT_SUPPORTED");
  await screen.findByRole("heading");
  answer();
  await waitFor(() => expect(screen.queryByRole("heading")).toBeNull());
});

test("says why the files of another dataset are not there, and offers to try again", async () => {
  show({ state: "DATASET_STATE_INVALID", format: "DATASET_FORMAT_YOLO" }, "STORE_UNAVAILABLE")();
  expect(await screen.findByRole("button", { name: "Retry" })).toBeTruthy();
});
