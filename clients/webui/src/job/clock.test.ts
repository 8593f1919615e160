import { expect, test } from "vitest";

import type { JobStateJson } from "../gen/tuneyard/v1/job_pb";
import { clockOf } from "./clock";

const start = Date.parse("2026-11-01T00:00:00Z");
const change = (second: number, to: JobStateJson) => ({ time: new Date(start + second * 1000).toISOString(), stateChange: { to } });

test("a job's clock stands while it waits and pauses", () => {
  const clock = clockOf([
    change(0, "JOB_STATE_QUEUED"),
    change(10, "JOB_STATE_STARTING"),
    change(20, "JOB_STATE_RUNNING"),
    { time: new Date(start + 50_000).toISOString(), log: { message: "a line" } },
    change(100, "JOB_STATE_PAUSING"),
    change(110, "JOB_STATE_PAUSED"),
    change(1000, "JOB_STATE_QUEUED"),
    change(1010, "JOB_STATE_STARTING"),
    change(1020, "JOB_STATE_RUNNING"),
  ]);
  const seconds = [0, 10, 70, 110, 500, 1010, 1110].map((second) => clock(start + second * 1000));
  expect(seconds).toEqual([0, 0, 60, 100, 100, 100, 200]);
});

test("without a change of state nothing has run", () => {
  expect(clockOf([])(start)).toBe(0);
});
