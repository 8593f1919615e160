import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { refusal, serve } from "./gateway.js";
import { ErrorReason, SystemService, TuneyardError } from "../src/index.js";

test("an error says which field is wrong", async (t) => {
  const client = await serve(t, (router) =>
    router.service(SystemService, {
      getServerInfo: () => {
        throw refusal(Code.InvalidArgument, "INVALID_FIELD");
      },
    }),
  );
  await assert.rejects(client.system.getServerInfo({}), (error) => {
    assert.ok(error instanceof TuneyardError);
    assert.equal(error.reason, ErrorReason.INVALID_FIELD);
    assert.equal(error.code, Code.InvalidArgument);
    assert.deepEqual(error.violations, [{ field: "spec.seed", description: "too large" }]);
    assert.deepEqual([error.retryAfterMs, error.resource, error.metadata.key], [1, "jobs/1", "value"]);
    assert.equal(String(error), "TuneyardError: INVALID_FIELD: what happened; spec.seed: too large");
    return true;
  });
});

test("every reason of the protos is read", () => {
  for (const [name, value] of Object.entries(ErrorReason).filter(([, value]) => typeof value === "number")) {
    assert.equal(new TuneyardError(refusal(Code.Unknown, name)).reason, value);
  }
});

test("what may be over in a moment", () => {
  const cases: [string, ConnectError, boolean][] = [
    ["a broken connection", new ConnectError("connect ECONNREFUSED", Code.Unavailable), true],
    ["a stream that is cut", new ConnectError("protocol error: missing status", Code.Internal), true],
    ["a gateway that stops", refusal(Code.Unavailable, "SHUTTING_DOWN"), true],
    ["a reason of a newer server", refusal(Code.Unavailable, "MOON_PHASE"), false],
    ["a wrong request", refusal(Code.InvalidArgument, "INVALID_FIELD"), false],
    ["a fault of the server's own", refusal(Code.Internal, "INTERNAL"), false],
    ["a bare refusal", new ConnectError("no", Code.PermissionDenied), false],
  ];
  for (const [name, error, expected] of cases) {
    assert.equal(new TuneyardError(error).transient, expected, name);
  }
});

test("what the caller ends is not transient", async (t) => {
  const client = await serve(t, () => undefined);
  await assert.rejects(client.system.getServerInfo({}, { signal: AbortSignal.abort() }), (error) => {
    assert.ok(error instanceof TuneyardError);
    assert.deepEqual([error.code, error.transient], [Code.Canceled, false]);
    return true;
  });
});
