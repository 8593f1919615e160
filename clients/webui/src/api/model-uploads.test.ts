import { describe, expect, it, vi } from "vitest";

import { ApiError } from "./http";
import { ModelUploads, requestOf, type Services, type WantedModel } from "./model-uploads";

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

const waiting = (receivedBytes: number) => ({ name: "models/w", state: "MODEL_STATE_UPLOADING" as const, upload: { receivedBytes: String(receivedBytes) } });
const ARRIVED = { name: "models/w", state: "MODEL_STATE_IMPORTING" as const };

function memory(): Services["memory"] {
  const kept = new Map<string, string>();
  return { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => void kept.set(key, value) };
}

function uploadsWith(more: Partial<Services>): ModelUploads {
  return new ModelUploads({
    create: () => Promise.resolve(waiting(0)),
    put: () => Promise.resolve({ model: ARRIVED }),
    find: () => Promise.reject(away),
    discard: () => Promise.resolve(),
    pack: (files) => Promise.resolve(new Blob(files.map(({ file }) => file))),
    sleep: () => Promise.resolve(),
    now: () => 0,
    memory: memory(),
    ...more,
  });
}
const settled = (uploads: ModelUploads, state: string) => vi.waitFor(() => expect(uploads.snapshot()[0]).toMatchObject({ state }));

it("goes on after a cut line where the server stands", async () => {
  const put = vi.fn<Services["put"]>().mockRejectedValueOnce(away).mockResolvedValue({ model: ARRIVED });
  const find = vi.fn<Services["find"]>().mockRejectedValueOnce(away).mockResolvedValue(waiting(4));
  const uploads = uploadsWith({ put, find });
  uploads.start(wanted());
  await settled(uploads, "arrived");
  expect(put).toHaveBeenCalledTimes(2);
  const [path, body, { headers }] = put.mock.calls[1]!;
  expect([path, await body.text(), headers["Content-Range"]]).toEqual(["/v1/models/w:upload", "456789", "bytes 4-9/10"]);
});

it("sends nothing twice where only the answer was lost", async () => {
  const put = vi.fn<Services["put"]>().mockRejectedValue(away);
  const uploads = uploadsWith({ put, find: () => Promise.resolve(ARRIVED) });
  uploads.start(wanted());
  await settled(uploads, "arrived");
  expect(put).toHaveBeenCalledTimes(1);
});

it("goes on after a reload where the same is chosen again, and with nothing else", async () => {
  const create = vi.fn<Services["create"]>().mockResolvedValue(waiting(0));
  const kept = memory();
  const never: Services["put"] = () => new Promise(() => undefined);
  uploadsWith({ create, put: never, memory: kept }).start(wanted());
  await vi.waitFor(() => expect(create).toHaveBeenCalledTimes(1));
  const reloaded = uploadsWith({ create, memory: kept });
  reloaded.start(wanted());
  await settled(reloaded, "arrived");
  uploadsWith({ create, memory: kept }).start(wanted());
  uploadsWith({ create, memory: kept }).start(wanted({ files: [{ path: "weights.pth", file: new Blob(["other"]) }] }));
  await vi.waitFor(() => expect(create).toHaveBeenCalledTimes(4));
  const [first, again, ...others] = create.mock.calls.map(([request]) => request.requestId);
  expect(again).toBe(first);
  expect(new Set([first, ...others]).size).toBe(3);
});

it("sends a folder's files in one order", async () => {
  const pack = vi.fn<Services["pack"]>().mockResolvedValue(new Blob(["zip"]));
  const files = ["b", "a", "c"].map((path) => ({ path, file: new Blob([path]) }));
  const uploads = uploadsWith({ pack });
  uploads.start(wanted({ isFolder: true, files }));
  await settled(uploads, "arrived");
  expect(pack.mock.calls[0]![0].map(({ path }) => path)).toEqual(["a", "b", "c"]);
});

it("stops where the server refuses, and keeps what it said", async () => {
  const error = new ApiError({ title: "", status: 409, detail: "taken", reason: "ALREADY_EXISTS" });
  const uploads = uploadsWith({ put: () => Promise.reject(error) });
  uploads.start(wanted());
  await settled(uploads, "failed");
  expect(uploads.snapshot()[0]!.error).toBe(error);
});

it("is gone once it is given up, here and at the server", async () => {
  const put: Services["put"] = (_, __, { signal }) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(away)));
  const discard = vi.fn<Services["discard"]>().mockResolvedValue(undefined);
  const uploads = uploadsWith({ put, discard });
  const key = uploads.start(wanted());
  await vi.waitFor(() => expect(uploads.snapshot()[0]!.model).toBe("models/w"));
  await uploads.dismiss(key);
  expect(uploads.snapshot()).toEqual([]);
  expect(discard).toHaveBeenCalledWith("models/w");
});

describe("requestOf", () => {
  const of = (more: Partial<WantedModel>) => requestOf(wanted(more), "abcdef0123", 10);

  it("makes an id of the file's name where none is given", () => {
    expect(of({})).toEqual({ family: "FAMILY_VISION", fileName: "weights.pth", modelId: "weights-abcdef", sizeBytes: "10", requestId: "abcdef0123" });
    expect(of({ called: "resnet50" })).toMatchObject({ modelId: "resnet50" });
    expect(of({ called: "My ViT", name: "vit", isFolder: true })).toMatchObject({ fileName: "vit.zip", modelId: "vit-abcdef", displayName: "My ViT" });
  });

  it("writes names that the server would not take otherwise, and keeps them for people", () => {
    expect(of({ name: "模型.safetensors" })).toMatchObject({ fileName: "model.safetensors", modelId: "model-abcdef", displayName: "模型.safetensors" });
    expect(of({ name: ".hidden (1).pt" })).toMatchObject({ fileName: "hidden -1-.pt", modelId: "hidden--1--abcdef" });
    expect(of({ name: "模型", isFolder: true })).toMatchObject({ fileName: "model.zip", modelId: "model-abcdef" });
  });
});
