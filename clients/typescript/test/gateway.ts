// What tests share: a gateway on a real socket that answers by what a test sets.

import { type Http2SecureServer, type Http2Server, createServer } from "node:http2";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  ResourceInfoSchema,
  RetryInfoSchema,
} from "../src/gen/google/rpc/error_details_pb.js";
import type { JobEventSchema } from "../src/gen/tuneyard/v1/event_pb.js";
import { type Client, type ConnectOptions, JobState, connect } from "../src/index.js";

/** A client of a gateway that serves these routes until the test ends. */
export async function serve(
  t: TestContext,
  routes: (router: ConnectRouter) => void,
  options: ConnectOptions = {},
  make: (adapter: ReturnType<typeof connectNodeAdapter>) => Http2Server | Http2SecureServer = createServer,
): Promise<Client> {
  const server = make(connectNodeAdapter({ routes }));
  const sessions = new Set<{ destroy(): void }>();
  server.on("session", (session: { destroy(): void }) => sessions.add(session));
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const client = connect({
    server: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    patienceMs: 20_000,
    ...options,
  });
  t.after(() => {
    client.close();
    server.close();
    sessions.forEach((session) => session.destroy());
  });
  return client;
}

export type Event = MessageInitShape<typeof JobEventSchema>;

export function event(sequence: number): Event {
  return { sequence: BigInt(sequence) };
}

export function ended(sequence: number): Event {
  return { sequence: BigInt(sequence), body: { case: "stateChange", value: { to: JobState.SUCCEEDED } } };
}

/** What a gateway refuses a call with. */
export function refusal(code: Code, reason: string): ConnectError {
  return new ConnectError("what happened", code, undefined, [
    { desc: ErrorInfoSchema, value: { reason, domain: "tuneyard.v1", metadata: { key: "value" } } },
    {
      desc: BadRequestSchema,
      value: { fieldViolations: [{ field: "spec.seed", description: "too large" }] },
    },
    { desc: RetryInfoSchema, value: { retryDelay: { seconds: 0n, nanos: 1_000_000 } } },
    { desc: ResourceInfoSchema, value: { resourceName: "jobs/1" } },
  ]);
}

export const LOST = new ConnectError("connection reset", Code.Unavailable);
