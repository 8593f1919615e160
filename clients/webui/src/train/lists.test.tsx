import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, it, vi } from "vitest";

import { Speaking } from "../i18n";
import { BaseModels } from "./base-models";
import { DatasetChoice } from "./dataset";

const ANSWERS: Record<string, object> = {
  "/v1/baseModels": { baseModels: [{ id: "resnet50", displayName: "ResNet-50" }] },
  "/v1/models": { models: [{ name: "models/mine", displayName: "Mine", state: "MODEL_STATE_READY", tasks: ["TASK_KIND_IMAGE_CLASSIFIER"] }] },
  "/v1/trainers": {},
  "/v1/datasets": { datasets: [] },
};
const broken = new Set<string>();

beforeEach(() =>
  vi.stubGlobal("fetch", (path: string) => {
    const place = path.split("?")[0]!;
    const fault = { detail: "the server has a fault", reason: "INTERNAL" };
    return Promise.resolve(new Response(JSON.stringify(broken.has(place) ? fault : ANSWERS[place]), { status: broken.has(place) ? 500 : 200 }));
  }),
);
afterEach(() => {
  cleanup();
  broken.clear();
  vi.unstubAllGlobals();
});

function show(part: React.ReactNode) {
  const client = new QueryClient({ defaultOptions: { queries: { retry: false } } });
  render(
    <QueryClientProvider client={client}>
      <Speaking>{part}</Speaking>
    </QueryClientProvider>,
  );
}

it("says that the imported models are missing in the list, and asks for them again", async () => {
  broken.add("/v1/models");
  show(<BaseModels task="image_classifier" value="" onChange={() => undefined} />);
  expect((await screen.findByRole("alert")).textContent).toContain("The imported models could not be loaded.");
  expect(await screen.findByLabelText(/ResNet-50/)).toBeTruthy();
  broken.clear();
  fireEvent.click(screen.getByRole("button", { name: "Retry" }));
  expect(await screen.findByLabelText(/Mine/)).toBeTruthy();
  expect(screen.queryByRole("alert")).toBeNull();
});

it("lists a model once that the catalogue has and the store too", async () => {
  const kept = ANSWERS["/v1/baseModels"]!;
  ANSWERS["/v1/baseModels"] = { baseModels: [{ id: "resnet50", displayName: "ResNet-50", model: "models/mine" }] };
  show(<BaseModels task="image_classifier" value="" onChange={() => undefined} />);
  expect(await screen.findByLabelText(/ResNet-50/)).toBeTruthy();
  expect(screen.queryByLabelText(/Mine/)).toBeNull();
  cleanup();
  show(<BaseModels task="image_classifier" value="models/mine" onChange={() => undefined} />);
  expect(await screen.findByLabelText(/Mine/)).toBeTruthy();
  ANSWERS["/v1/baseModels"] = kept;
});

it("says that the datasets could not be listed", async () => {
  broken.add("/v1/datasets");
  show(<DatasetChoice task="image_classifier" value="" onChange={() => undefined} onFile={() => undefined} />);
  expect((await screen.findByRole("alert")).textContent).toContain("The datasets that are here could not be loaded.");
});
