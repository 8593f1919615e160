import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { cleanup, fireEvent, render, screen, waitFor } from "@testing-library/react";
import { afterEach, beforeAll, beforeEach, expect, it, vi } from "vitest";

import type { JobJson } from "../gen/tuneyard/v1/job_pb";
import { Speaking } from "../i18n";
import { Results } from "./results";

const CLIP = { name: "models/clip", family: "FAMILY_DIFFUSION", architecture: "CLIPModel", state: "MODEL_STATE_READY" };
const BASE = { name: "models/base", family: "FAMILY_DIFFUSION", architecture: "StableDiffusionPipeline", state: "MODEL_STATE_READY" };
const datasets = [
  { name: "datasets/dogs", displayName: "dogs.zip", state: "DATASET_STATE_READY" },
  { name: "datasets/held-out", displayName: "held-out.zip", state: "DATASET_STATE_READY" },
  { name: "datasets/broken", displayName: "broken.zip", state: "DATASET_STATE_INVALID" },
];
let models: object[];
let evaluated: unknown[];

beforeAll(() => {
  // jsdom has no dialogs.
  HTMLDialogElement.prototype.showModal = function () {
    this.open = true;
  };
  HTMLDialogElement.prototype.close = function () {
    this.open = false;
  };
});
beforeEach(() => {
  models = [CLIP, BASE];
  evaluated = [];
  vi.stubGlobal("fetch", (path: string, init?: RequestInit) => {
    const place = path.split("?")[0]!;
    if (place === "/v1/jobs:evaluate") evaluated.push((JSON.parse(init?.body as string) as { spec: unknown }).spec);
    const answers: Record<string, object> = { "/v1/datasets": { datasets }, "/v1/models": { models } };
    return Promise.resolve(new Response(JSON.stringify(answers[place] ?? { job: { name: "jobs/b" } })));
  });
});
afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
});

async function ask(training: object) {
  const job = { name: "jobs/a", state: "JOB_STATE_SUCCEEDED", spec: { training: { dataset: "datasets/dogs", ...training } } } as JobJson;
  render(
    <QueryClientProvider client={new QueryClient({ defaultOptions: { queries: { retry: false } } })}>
      <Speaking>
        <Results job={job} />
      </Speaking>
    </QueryClientProvider>,
  );
  fireEvent.click(await screen.findByRole("button", { name: "Evaluate…" }));
}

const choose = (label: string, value: string) => fireEvent.change(screen.getByLabelText(label), { target: { value } });
const options = (label: string) => [...(screen.getByLabelText(label) as HTMLSelectElement).options].map(({ text }) => text);

async function evaluate() {
  fireEvent.click(screen.getByRole("button", { name: "Evaluate" }));
  await waitFor(() => expect(evaluated).toHaveLength(1));
  return evaluated[0];
}

it("evaluates by the training's dataset and no more where nothing is chosen", async () => {
  await ask({ imageClassifier: {} });
  expect(screen.queryByLabelText("CLIP model")).toBeNull();
  expect(await evaluate()).toEqual({ sourceJob: "jobs/a" });
});

it("measures on another dataset of the format that is ready", async () => {
  await ask({ imageClassifier: {} });
  await screen.findByRole("option", { name: "held-out.zip" });
  expect(options("Dataset")).toEqual(["dogs.zip, as in the training", "held-out.zip"]);
  choose("Dataset", "datasets/held-out");
  expect(await evaluate()).toEqual({ sourceJob: "jobs/a", dataset: "datasets/held-out" });
});

it("lets pictures be scored by a CLIP model of the store", async () => {
  await ask({ textToImageLora: {} });
  await screen.findByRole("option", { name: "clip" });
  expect(options("CLIP model")).toEqual(["None: pictures get no score", "clip"]);
  choose("CLIP model", "models/clip");
  expect(await evaluate()).toEqual({ sourceJob: "jobs/a", clipModel: "models/clip" });
});

it("says which CLIP model the training had", async () => {
  await ask({ textToImageLora: { clipModel: "models/clip" } });
  expect(await screen.findByRole("option", { name: "clip, as in the training" })).toBeTruthy();
  expect(options("CLIP model")).toHaveLength(1);
});

it("says where to get a CLIP model where there is none", async () => {
  models = [BASE];
  await ask({ textToImageLora: {} });
  expect(await screen.findByText(/import one under Models/)).toBeTruthy();
});
