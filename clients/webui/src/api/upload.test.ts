import { beforeEach, describe, expect, it } from "vitest";

import type { DatasetJson } from "../gen/tuneyard/v1/dataset_pb";
import { ApiError } from "./http";
import { Rate, Uploads, idFor, type Services } from "./upload";

const FORMAT = "DATASET_FORMAT_JSONL";
const away = () => new ApiError({ title: "", status: 0, detail: "away" });

/** A server that stores whole parts of ten bytes, and a line that is cut where a test says. */
class Server {
  received = 0;
  ranges: string[] = [];
  cuts: number[] = [];
  created = 0;
  discarded: string[] = [];
  readonly memory = new Map<string, string>();
  refusal: ApiError | undefined;

  dataset(size: number): DatasetJson {
    const state = this.received === size ? "DATASET_STATE_VALIDATING" : "DATASET_STATE_UPLOADING";
    return { name: "datasets/rows", state, upload: { receivedBytes: String(this.received) } };
  }

  services(size: number): Services {
    return {
      create: async () => {
        this.created += 1;
        return this.dataset(size);
      },
      find: async () => this.dataset(size),
      discard: async (name) => this.discarded.push(name),
      put: (_, body, { headers, signal, onSent }) => {
        if (this.refusal) return Promise.reject(this.refusal);
        this.ranges.push(headers["Content-Range"]!);
        const cut = this.cuts.shift();
        if (cut === Infinity) return new Promise((_, reject) => signal.addEventListener("abort", () => reject(away())));
        onSent(cut ?? body.size);
        this.received += cut === undefined ? body.size : Math.floor(cut / 10) * 10;
        return cut === undefined ? Promise.resolve({ dataset: this.dataset(size) }) : Promise.reject(away());
      },
      sleep: () => Promise.resolve(),
      now: () => 0,
      memory: { getItem: (key) => this.memory.get(key) ?? null, setItem: (key, value) => void this.memory.set(key, value) },
    };
  }
}

const settled = async (uploads: Uploads, state: string) => {
  for (let turn = 0; turn < 200; turn++) {
    if (uploads.snapshot()[0]?.state === state) return uploads.snapshot()[0]!;
    await Promise.resolve();
  }
  throw new Error(`still ${uploads.snapshot()[0]?.state}`);
};

describe("Uploads", () => {
  const file = new File(["x".repeat(95)], "rows.jsonl");
  let server: Server;
  beforeEach(() => {
    server = new Server();
  });

  it("sends everything in one request where nothing goes wrong", async () => {
    const uploads = new Uploads(server.services(95));
    uploads.start(file, FORMAT);
    expect(await settled(uploads, "arrived")).toMatchObject({ dataset: "datasets/rows", sent: 95 });
    expect(server.ranges).toEqual(["bytes 0-94/95"]);
  });

  it("goes on after each cut from what the server has stored", async () => {
    server.cuts = [37, 25];
    const uploads = new Uploads(server.services(95));
    uploads.start(file, FORMAT);
    await settled(uploads, "arrived");
    expect(server.ranges).toEqual(["bytes 0-94/95", "bytes 30-94/95", "bytes 50-94/95"]);
    expect(server.created).toBe(1);
  });

  it("rests while paused and then goes on", async () => {
    server.cuts = [Infinity];
    const uploads = new Uploads(server.services(95));
    const key = uploads.start(file, FORMAT);
    await settled(uploads, "sending");
    uploads.pause(key);
    server.received = 20;
    expect(uploads.snapshot()[0]?.state).toBe("paused");
    uploads.resume(key);
    await settled(uploads, "arrived");
    expect(server.ranges.at(-1)).toBe("bytes 20-94/95");
  });

  it("goes on after a reload when the same file is given again, by name and size", async () => {
    server.cuts = [Infinity];
    const before = new Uploads(server.services(95));
    before.start(file, FORMAT);
    for (let turn = 0; turn < 20; turn++) await Promise.resolve();
    server.received = 40;
    const after = new Uploads(server.services(95));
    expect(after.snapshot()[0]).toMatchObject({ state: "lost", fileName: "rows.jsonl", dataset: "datasets/rows" });
    after.start(new File(["x".repeat(95)], "rows.jsonl"), FORMAT);
    await settled(after, "arrived");
    expect(server.ranges.at(-1)).toBe("bytes 40-94/95");
    expect(new Uploads(server.services(95)).snapshot()).toEqual([]);
  });

  it("begins anew with a file of another size", async () => {
    server.memory.set("tuneyard.uploads", JSON.stringify([{ key: "k", fileName: "rows.jsonl", size: 7, format: FORMAT, dataset: "datasets/old" }]));
    const uploads = new Uploads(server.services(95));
    uploads.start(file, FORMAT);
    expect(uploads.snapshot()).toHaveLength(2);
  });

  it("stops where the server refuses, and says why", async () => {
    server.refusal = new ApiError({ title: "", status: 400, detail: "too big", reason: "INVALID_FIELD" });
    const uploads = new Uploads(server.services(95));
    uploads.start(file, FORMAT);
    expect((await settled(uploads, "failed")).error?.problem.detail).toBe("too big");
  });

  it("sends nothing where the file is here already, and leaves that one there", async () => {
    server.received = 95;
    const uploads = new Uploads(server.services(95));
    const key = uploads.start(file, FORMAT);
    expect(await settled(uploads, "arrived")).toMatchObject({ dataset: "datasets/rows", wasHere: true });
    await uploads.dismiss(key);
    expect([server.ranges, server.discarded]).toEqual([[], []]);
  });

  it("deletes at the server what is dismissed before it arrived", async () => {
    server.cuts = [Infinity];
    const uploads = new Uploads(server.services(95));
    const key = uploads.start(file, FORMAT);
    for (let turn = 0; turn < 20; turn++) await Promise.resolve();
    await uploads.dismiss(key);
    expect(server.discarded).toEqual(["datasets/rows"]);
    expect(uploads.snapshot()).toEqual([]);
  });
});

describe("Rate", () => {
  it("counts the last five seconds only", () => {
    const rate = new Rate(0, 0);
    rate.at(1_000, 1_000);
    rate.at(6_000, 1_000);
    expect(rate.at(7_000, 3_000)).toBeCloseTo(2_000);
  });
});

describe("idFor", () => {
  it("makes ids of file names", () => {
    expect(idFor("My pictures (1).zip")).toBe("My-pictures-1");
    expect(idFor("rows.jsonl.gz")).toBe("rows");
    expect(idFor("图片.zip")).toBe("");
  });
});
