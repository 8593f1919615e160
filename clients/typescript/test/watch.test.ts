import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Code } from "@connectrpc/connect";
import { type Event, LOST, ended, event, refusal, serve } from "./gateway.js";
import {
  type Client,
  type ConnectOptions,
  ErrorReason,
  EventGap,
  JobState,
  TrainingService,
  TuneyardError,
} from "../src/index.js";

/** What one WatchJob call sends, and then throws. */
type Call = readonly [events: Event[], error?: Error];

/** A client of a gateway whose WatchJob calls do this in turn, the last one for all that follow; and what they asked. */
async function watching(
  t: TestContext,
  calls: Call[],
  options: ConnectOptions = {},
  job = {},
): Promise<[Client, bigint[]]> {
  const asked: bigint[] = [];
  const client = await serve(
    t,
    (router) =>
      router.service(TrainingService, {
        async *watchJob({ afterSequence }) {
          const [events, error] = calls[Math.min(asked.length, calls.length - 1)]!;
          asked.push(afterSequence);
          // The first message keeps the stream alive and holds nothing.
          yield {};
          yield { events };
          if (error) {
            throw error;
          }
        },
        getJob: () => ({ job }),
      }),
    options,
  );
  return [client, asked];
}

async function sequences(client: Client, after = 0n): Promise<bigint[]> {
  const found: bigint[] = [];
  for await (const each of client.watchJob("jobs/1", { after })) {
    found.push(each.sequence);
  }
  return found;
}

test("a watch goes on after the last sequence", async (t) => {
  const [client, asked] = await watching(t, [
    [[event(1), event(2)], LOST],
    [[], LOST],
    [[event(3), ended(4)]],
  ]);
  assert.deepEqual(await sequences(client), [1n, 2n, 3n, 4n]);
  assert.deepEqual(asked, [0n, 2n, 2n]);
});

for (const got of [3, 4, 6]) {
  test(`event ${got} does not follow event 4`, async (t) => {
    const [client] = await watching(t, [[[event(4), event(got)]]]);
    await assert.rejects(sequences(client, 3n), (error) => {
      assert.ok(error instanceof EventGap);
      assert.deepEqual([error.job, error.after, error.got], ["jobs/1", 4n, BigInt(got)]);
      return true;
    });
  });
}

test("a stream that ends early is taken up again", async (t) => {
  const [client] = await watching(t, [[[event(1)]], [[ended(2)]]], {}, { state: JobState.RUNNING });
  assert.deepEqual(await sequences(client), [1n, 2n]);
});

test("a watch after the last event ends at once", async (t) => {
  const [client] = await watching(t, [[[]]], {}, { state: JobState.FAILED, lastSequence: 9n });
  assert.deepEqual(await sequences(client, 9n), []);
});

test("a refused watch is not repeated", async (t) => {
  const [client, asked] = await watching(t, [[[], refusal(Code.NotFound, "JOB_NOT_FOUND")]]);
  await assert.rejects(
    sequences(client),
    (error) => error instanceof TuneyardError && error.reason === ErrorReason.JOB_NOT_FOUND,
  );
  assert.equal(asked.length, 1);
});

test("a watch of a server that stays away ends", async (t) => {
  const [client] = await watching(t, [[[], LOST]], { patienceMs: 0 });
  await assert.rejects(
    sequences(client),
    (error) => error instanceof TuneyardError && error.code === Code.Unavailable,
  );
});

test("leaving the loop closes the stream", async (t) => {
  let left = (): void => undefined;
  const closed = new Promise<void>((resolve) => (left = resolve));
  const client = await serve(t, (router) =>
    router.service(TrainingService, {
      async *watchJob(_, context) {
        context.signal.addEventListener("abort", left);
        yield { events: [event(1)] };
        await closed;
      },
    }),
  );
  for await (const each of client.watchJob("jobs/1")) {
    assert.equal(each.sequence, 1n);
    break;
  }
  await closed;
});
