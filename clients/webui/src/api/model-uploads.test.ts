import { describe, expect, it, vi } from "vitest";

import { ApiError } from "./http";
import { ModelUploads, queryOf, type Services, type WantedModel } from "./model-uploads";

const wanted = (more: Partial<WantedModel> = {}): WantedModel => ({
  name: "weights.pth",
  files: [{ path: "weights.pth", file: new Blob(["0123456789"]) }],
  isFolder: false,
  family: "FAMILY_VISION",
  called: "",
  architecture: "",
  ...more,
});
const away = new ApiError({ title: "unreachable", status: 0, detail: "away" });

function uploadsWith(more: Partial<Services>): ModelUploads {
  return new ModelUploads({
    put: () => Promise.resolve({ model: { name: "models/w" } }),
    find: () => Promise.reject(away),
    pack: (files) => Promise.resolve(new Blob(files.map(({ file }) => file))),
    sleep: () => Promise.resolve(),
    now: () => 0,
    ...more,
  });
}
const settled = (uploads: ModelUploads, state: string) => vi.waitFor(() => expect(uploads.snapshot()[0]).toMatchObject({ state }));

it("begins anew after a cut line", async () => {
  const put = vi.fn<Services["put"]>().mockRejectedValueOnce(away).mockResolvedValue({ model: { name: "models/w" } });
  const uploads = uploadsWith({ put });
  uploads.start(wanted());
  await settled(uploads, "arrived");
  expect(put).toHaveBeenCalledTimes(2);
  expect(uploads.snapshot()[0]!.model).toBe("models/w");
});

it("sends nothing twice where only the answer was lost", async () => {
  const put = vi.fn<Services["put"]>().mockImplementation((_, body, { onSent }) => {
    onSent(body.size);
    return Promise.reject(away);
  });
  const uploads = uploadsWith({ put, find: (id) => Promise.resolve({ name: `models/${id}` }) });
  uploads.start(wanted({ called: "mine" }));
  await settled(uploads, "arrived");
  expect(put).toHaveBeenCalledTimes(1);
});

it("stops where the server refuses, and keeps what it said", async () => {
  const error = new ApiError({ title: "", status: 409, detail: "taken", reason: "ALREADY_EXISTS" });
  const uploads = uploadsWith({ put: () => Promise.reject(error) });
  uploads.start(wanted());
  await settled(uploads, "failed");
  expect(uploads.snapshot()[0]!.error).toBe(error);
});

it("is gone once it is given up, and says no more", async () => {
  const uploads = uploadsWith({ put: (_, __, { signal }) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(away))) });
  uploads.dismiss(uploads.start(wanted()));
  await Promise.resolve();
  expect(uploads.snapshot()).toEqual([]);
});

describe("queryOf", () => {
  const of = (more: Partial<WantedModel>) => Object.fromEntries(queryOf(wanted(more), "abcdef0123"));

  it("makes an id of the file's name where none is given", () => {
    expect(of({})).toEqual({ family: "FAMILY_VISION", fileName: "weights.pth", modelId: "weights-abcdef" });
    expect(of({ called: "resnet50" })).toMatchObject({ modelId: "resnet50" });
    expect(of({ called: "My ViT", name: "vit", isFolder: true })).toMatchObject({ fileName: "vit.zip", modelId: "vit-abcdef", displayName: "My ViT" });
  });

  it("writes names that the server would not take otherwise, and keeps them for people", () => {
    expect(of({ name: "模型.safetensors" })).toMatchObject({ fileName: "model.safetensors", modelId: "model-abcdef", displayName: "模型.safetensors" });
    expect(of({ name: ".hidden (1).pt" })).toMatchObject({ fileName: "hidden -1-.pt", modelId: "hidden--1--abcdef" });
    expect(of({ name: "模型", isFolder: true })).toMatchObject({ fileName: "model.zip", modelId: "model-abcdef" });
  });
});
