import { create, toBinary } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { GetJobMetricsResponseSchema } from "../gen/tuneyard/v1/training_service_pb";
import { JobStore } from "./store";

const PAGE = 5000;
const job = { name: "jobs/a", state: "JOB_STATE_SUCCEEDED", lastSequence: String(PAGE + 1) };
const events = Array.from({ length: PAGE + 1 }, (_, index) => ({
  sequence: String(index + 1),
  time: "2026-11-01T00:00:00Z",
  log: { message: `line ${index + 1}` },
}));
const withResult = [{ sequence: "1", result: { summary: "It is done." } }, ...events.slice(1)];
const metrics = toBinary(
  GetJobMetricsResponseSchema,
  create(GetJobMetricsResponseSchema, {
    columns: [{ name: "train/loss", steps: [1n, 2n], values: [2, 1], epochs: [0.5, 1], timesMs: [0n, 1n] }],
    lastSequence: BigInt(PAGE + 1),
  }),
);

let refusals = 0;
/** How many of the next answers with curves break off in their middle. */
let cuts = 0;
/** What the server does when the curves are asked for. */
let onCurves: () => void = () => undefined;
let state = job.state;
let kept: readonly object[] = events;
const json = (body: unknown, status = 200) => new Response(JSON.stringify(body), { status });
const answer = (path: string): Response => {
  if (path === "/v1/jobs/a") return json({ job: { ...job, state } });
  if (path === "/v1/jobs/a/metrics") {
    onCurves();
    if (cuts-- > 0) return new Response(new ReadableStream({ start: (body) => body.error(new TypeError("network error")) }));
    return new Response(metrics as BodyInit);
  }
  const after = Number(new URL(path, "http://here").searchParams.get("afterSequence"));
  if (after > 0 && refusals > 0) {
    refusals -= 1;
    return json({ title: "away", status: 503, detail: "The gateway is away." }, 503);
  }
  const page = kept.slice(after, after + PAGE);
  const isLast = after + PAGE >= events.length;
  return json({ events: page, ...(!isLast && { nextAfterSequence: String(after + page.length) }) });
};

beforeEach(() => {
  [refusals, cuts, state, kept, onCurves] = [0, 0, job.state, events, () => undefined];
  vi.useFakeTimers();
  vi.stubGlobal("fetch", (path: string) => Promise.resolve(answer(path)));
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const numbers = (store: JobStore) => store.snapshot().lines.map((line) => Number(line.sequence));
const each = events.map((event) => Number(event.sequence));

test("a reading that breaks off and begins again has each event once", async () => {
  refusals = 1;
  const store = new JobStore("a");
  const leave = store.subscribe(() => undefined);
  await vi.advanceTimersByTimeAsync(10);
  expect(store.snapshot().error?.problem.status).toBe(503);
  await vi.advanceTimersByTimeAsync(5000);
  expect(store.snapshot()).toMatchObject({ loaded: true, error: undefined });
  expect(numbers(store)).toEqual(each);
  expect([...store.snapshot().curves.get("train/loss")!.values]).toEqual([2, 1]);
  leave();
});

test("who leaves and comes back while it is read sees each event once", async () => {
  const store = new JobStore("a");
  store.subscribe(() => undefined)();
  const leave = store.subscribe(() => undefined);
  await vi.advanceTimersByTimeAsync(100);
  expect(numbers(store)).toEqual(each);
  leave();
});

test("curves that break off in the middle are read again", async () => {
  cuts = 1;
  const store = new JobStore("a");
  const leave = store.subscribe(() => undefined);
  await vi.advanceTimersByTimeAsync(10);
  expect(store.snapshot().error?.problem.status).toBe(0);
  await vi.advanceTimersByTimeAsync(5000);
  expect(store.snapshot()).toMatchObject({ loaded: true, error: undefined });
  leave();
});

test("a job that ends while its page is opened is shown as ended", async () => {
  state = "JOB_STATE_RUNNING";
  onCurves = () => {
    state = "JOB_STATE_SUCCEEDED";
  };
  const store = new JobStore("a");
  const leave = store.subscribe(() => undefined);
  await vi.advanceTimersByTimeAsync(100);
  expect(store.snapshot().job?.state).toBe("JOB_STATE_SUCCEEDED");
  leave();
});

test("what the job says of its result is kept", async () => {
  kept = withResult;
  const store = new JobStore("a");
  const leave = store.subscribe(() => undefined);
  await vi.advanceTimersByTimeAsync(100);
  expect(store.snapshot().summary).toBe("It is done.");
  leave();
});
