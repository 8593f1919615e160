import { act, cleanup, renderHook } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import type { WatchJobsResponseJson } from "../gen/tuneyard/v1/training_service_pb";
import type { Following } from "./stream";

let following: Following | undefined;
vi.mock("./stream", () => ({
  follow: (options: Following) => {
    following = options;
    return () => undefined;
  },
}));

beforeEach(() => vi.resetModules());
afterEach(cleanup);

async function watching() {
  const { useJobs } = await import("./jobs");
  const { result } = renderHook(useJobs);
  const connect = (connected: boolean) => act(() => following!.onConnected!(connected));
  const tell = (...told: WatchJobsResponseJson[]) =>
    act(() => following!.onEvents(told.map((each) => ({ id: "", event: "message", data: JSON.stringify(each) }))));
  return { names: () => [...result.current.jobs.keys()], state: () => result.current, connect, tell };
}

const jobs = (...names: string[]) => names.map((name) => ({ name }));

test("jobs are loaded when all of them were told, and not when the stream begins", async () => {
  const { names, state, connect, tell } = await watching();
  connect(true);
  tell({ jobs: jobs("jobs/a") });
  expect(state().loaded).toBe(false);
  tell({ jobs: jobs("jobs/b"), snapshotComplete: true });
  expect(state().loaded).toBe(true);
  expect(names()).toEqual(["jobs/a", "jobs/b"]);
});

test("a stream that begins anew shows what was known until it has told all, then only what there is", async () => {
  const { names, state, connect, tell } = await watching();
  connect(true);
  tell({ jobs: jobs("jobs/a", "jobs/b"), snapshotComplete: true });
  connect(false);
  expect(state().connected).toBe(false);
  connect(true);
  expect(names()).toEqual(["jobs/a", "jobs/b"]);
  tell({ jobs: jobs("jobs/b"), snapshotComplete: true });
  expect(names()).toEqual(["jobs/b"]);
});

test("a job that is deleted elsewhere goes", async () => {
  const { names, connect, tell } = await watching();
  connect(true);
  tell({ jobs: jobs("jobs/a", "jobs/b"), snapshotComplete: true });
  tell({ deleted: ["jobs/a"] }, {});
  expect(names()).toEqual(["jobs/b"]);
});
