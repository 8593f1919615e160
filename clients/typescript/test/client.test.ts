import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { type SecureServerOptions, createSecureServer } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { DescFile } from "@bufbuild/protobuf";
import type { ConnectRouter, HandlerContext } from "@connectrpc/connect";
import { ended, serve } from "./gateway.js";
import * as tuneyard from "../src/index.js";
import { SystemService, TrainingService, TuneyardError, connect } from "../src/index.js";

const PROTOS = readdirSync(new URL("../src/gen/tuneyard/v1", import.meta.url))
  .filter((name) => name.endsWith("_pb.js"))
  .map((name) => name.slice(0, -"_pb.js".length));

test("every message and every public service of the protos can be had", () => {
  const client = connect();
  assert.ok(PROTOS.length > 10);
  for (const proto of PROTOS) {
    const file = (tuneyard as unknown as Record<string, DescFile | undefined>)[`file_tuneyard_v1_${proto}`];
    assert.ok(file, `index.ts does not export ${proto}_pb.js`);
    // The trainers' own is between the gateway and them.
    for (const service of file.services.filter((found) => found.name !== "TrainerService")) {
      const held = Object.values(client).find((value) =>
        service.methods.every((method) => typeof value?.[method.localName] === "function"),
      );
      assert.ok(held, `no client for ${service.name}`);
    }
  }
  client.close();
});

test("a token comes with every call and stream", async (t) => {
  const seen: (string | null)[] = [];
  const heard = (_: unknown, context: HandlerContext) =>
    seen.push(context.requestHeader.get("authorization"));
  const client = await serve(
    t,
    (router) =>
      router
        .service(SystemService, {
          getServerInfo(request, context) {
            heard(request, context);
            return {};
          },
        })
        .service(TrainingService, {
          async *watchJob(request, context) {
            heard(request, context);
            yield { events: [ended(1)] };
          },
        }),
    { token: "secret" },
  );
  await client.system.getServerInfo({});
  for await (const each of client.watchJob("jobs/1")) {
    assert.equal(each.sequence, 1n);
  }
  assert.deepEqual(seen, ["Bearer secret", "Bearer secret"]);
});

test("a token that no call can carry is refused at once", () => {
  assert.throws(() => connect({ token: "naïve\n" }), TuneyardError);
});

/** A certificate for localhost, signed by itself; undefined where there is no openssl. */
function certificate(): Required<Pick<SecureServerOptions, "key" | "cert">> | undefined {
  const folder = mkdtempSync(join(tmpdir(), "tuneyard-"));
  const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  try {
    const made = spawnSync("openssl", [
      ..."req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost".split(
        " ",
      ),
      ...["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
    ]);
    return made.status === 0 ? { key: readFileSync(key), cert: readFileSync(cert) } : undefined;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("TLS encrypts, and trusts what it is told to", async (t) => {
  const own = certificate();
  if (!own) {
    t.skip("there is no openssl");
    return;
  }
  const made = (adapter: Parameters<typeof createSecureServer>[1]) => createSecureServer(own, adapter);
  const routes = (router: ConnectRouter): void =>
    void router.service(SystemService, { getServerInfo: () => ({}) });
  const trusting = await serve(t, routes, { tls: { ca: own.cert } }, made);
  await trusting.system.getServerInfo({});
  const strict = await serve(t, routes, { tls: true }, made);
  await assert.rejects(strict.system.getServerInfo({}), /self-signed certificate/);
});
