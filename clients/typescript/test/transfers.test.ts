import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { LOST, refusal, serve } from "./gateway.js";
import {
  type Artifact,
  ArtifactSchema,
  ArtifactService,
  ChecksumMismatch,
  type Client,
  CreateDatasetRequestSchema,
  DatasetFormat,
  DatasetSchema,
  DatasetService,
  DatasetState,
  ErrorReason,
  TuneyardError,
  UploadSchema,
} from "../src/index.js";
import { targetPath } from "../src/transfers.js";

const MIB = 1 << 20;
// Three chunks and a bit.
const CONTENT = Buffer.alloc(3 * MIB + 8, "tuneyard");
const SHA256 = createHash("sha256").update(CONTENT).digest("hex");

function folder(t: TestContext): string {
  const made = mkdtempSync(join(tmpdir(), "tuneyard-"));
  t.after(() => rmSync(made, { recursive: true }));
  return made;
}

function written(t: TestContext, content: Buffer): string {
  const path = join(folder(t), "my flowers.zip");
  writeFileSync(path, content);
  return path;
}

/** A gateway that takes the bytes of whatever is created; its calls end as told after so many bytes, in turn. */
async function uploading(
  t: TestContext,
  breaks: [after: number, error: Error][] = [],
  created = (): void => undefined,
) {
  const dataset = create(DatasetSchema);
  const stored: Buffer[] = [];
  const offsets: number[] = [];
  const held = (): number => stored.reduce((sum, each) => sum + each.length, 0);
  const client = await serve(t, (router) =>
    router.service(DatasetService, {
      createDataset({ datasetId, sizeBytes, format }) {
        created();
        Object.assign(dataset, {
          name: `datasets/${datasetId}`,
          sizeBytes,
          format,
          state: DatasetState.UPLOADING,
        });
        return { dataset };
      },
      getDataset: () => {
        dataset.upload = create(UploadSchema, { receivedBytes: BigInt(held()) });
        return { dataset };
      },
      async uploadDataset(requests) {
        const broken = breaks[offsets.length];
        for await (const { part } of requests) {
          if (part.case === "header") {
            offsets.push(Number(part.value.offset));
          } else if (part.case === "chunk") {
            stored.push(Buffer.from(part.value));
          }
          if (broken && held() >= broken[0]) {
            throw broken[1];
          }
        }
        dataset.state = DatasetState.VALIDATING;
        return { dataset };
      },
    }),
  );
  return { client, stored, offsets };
}

test("an upload goes on with what the server lacks", async (t) => {
  const { client, stored, offsets } = await uploading(t, [
    [MIB, LOST],
    [2 * MIB, refusal(Code.Aborted, "UPLOAD_OFFSET_MISMATCH")],
  ]);
  const told: number[] = [];
  const request = create(CreateDatasetRequestSchema, { format: DatasetFormat.IMAGE_FOLDER });
  const dataset = await client.uploadDataset(written(t, CONTENT), request, {
    onProgress: (done) => told.push(done),
  });
  assert.equal(dataset.name, `datasets/my-flowers-${SHA256.slice(0, 12)}`);
  assert.equal(dataset.state, DatasetState.VALIDATING);
  assert.ok(Buffer.concat(stored).equals(CONTENT));
  assert.deepEqual(offsets, [0, MIB, 2 * MIB]);
  assert.equal(told.at(-1), CONTENT.length);
  assert.equal(request.sha256, "", "the caller's request has changed");
});

test("the same bytes are not sent twice", async (t) => {
  const existing = {
    state: DatasetState.READY,
    format: DatasetFormat.IMAGE_FOLDER,
    sizeBytes: BigInt(CONTENT.length),
    sha256: SHA256,
  };
  const client = await serve(t, (router) =>
    router.service(DatasetService, {
      createDataset: () => {
        throw refusal(Code.AlreadyExists, "ALREADY_EXISTS");
      },
      getDataset: () => ({ dataset: existing }),
    }),
  );
  const request = { datasetId: "flowers", format: DatasetFormat.IMAGE_FOLDER };
  assert.equal((await client.uploadDataset(written(t, CONTENT), request)).state, DatasetState.READY);
  await assert.rejects(
    client.uploadDataset(written(t, Buffer.from("other")), request),
    (error) => error instanceof TuneyardError && error.reason === ErrorReason.ALREADY_EXISTS,
  );
});

test("a file that shrinks ends its upload", async (t) => {
  const path = written(t, CONTENT);
  const { client } = await uploading(t, [], () => truncateSync(path, 10));
  await assert.rejects(
    client.uploadDataset(path, { format: DatasetFormat.IMAGE_FOLDER }),
    /has changed while it was uploaded/,
  );
});

function artifact(path: string): Artifact {
  return create(ArtifactSchema, {
    name: `jobs/1/artifacts/${path}`,
    path,
    sizeBytes: BigInt(CONTENT.length),
    sha256: SHA256,
  });
}

/** A gateway with one artifact; its calls end as told at so many bytes, in turn. */
async function downloading(
  t: TestContext,
  content = CONTENT,
  breaks: [at: number, error?: Error][] = [],
): Promise<[Client, number[]]> {
  const offsets: number[] = [];
  const client = await serve(t, (router) =>
    router.service(ArtifactService, {
      listArtifacts: () => ({ artifacts: [artifact("plots/a.bin")] }),
      async *downloadArtifact({ offset }) {
        const [at, error] = breaks[offsets.length] ?? [content.length];
        offsets.push(Number(offset));
        yield { part: { case: "header" as const, value: {} } };
        yield { part: { case: "chunk" as const, value: content.subarray(Number(offset), at) } };
        if (error) {
          throw error;
        }
      },
    }),
  );
  return [client, offsets];
}

test("a download goes on where it was", async (t) => {
  const [client, offsets] = await downloading(t, CONTENT, [[1000, LOST], [2000]]);
  const into = folder(t);
  const [file] = await client.downloadArtifacts("jobs/1", into);
  assert.equal(file, join(into, "plots", "a.bin"));
  assert.ok(readFileSync(file).equals(CONTENT));
  assert.deepEqual(offsets, [0, 1000, 2000]);
  assert.deepEqual(readdirSync(join(into, "plots")), ["a.bin"]);
});

test("a file that is right is left alone", async (t) => {
  const [client, offsets] = await downloading(t);
  await client.downloadArtifact(artifact("a.bin"), written(t, CONTENT));
  assert.deepEqual(offsets, []);
});

test("a damaged rest is fetched anew", async (t) => {
  const [client, offsets] = await downloading(t);
  const into = folder(t);
  writeFileSync(join(into, `.a.bin.${SHA256.slice(0, 12)}.part`), "damaged");
  await client.downloadArtifact(artifact("a.bin"), join(into, "a.bin"));
  assert.deepEqual(offsets, [7, 0]);
});

test("wrong bytes never appear", async (t) => {
  const [client] = await downloading(t, Buffer.alloc(CONTENT.length, "x"));
  const into = folder(t);
  await assert.rejects(client.downloadArtifact(artifact("a.bin"), join(into, "a.bin")), ChecksumMismatch);
  assert.deepEqual(readdirSync(into), []);
});

test("no artifact leaves its folder", () => {
  for (const path of ["../a", "/etc/a", "a/../../b", "a\\b", ""]) {
    assert.throws(() => targetPath("folder", path), /not a path below a folder/);
  }
});
