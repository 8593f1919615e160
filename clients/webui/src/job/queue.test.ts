import { expect, test } from "vitest";

import { placeOf } from "./queue";

const job = (name: string, state: string, more: object = {}) =>
  ({ name, state: `JOB_STATE_${state}`, family: "FAMILY_VISION", ...more }) as never;

test("a queued job starts when what runs and what waits before it is done", () => {
  const mine = job("jobs/c", "QUEUED", { queuePosition: 2 });
  const place = placeOf(mine, [
    job("jobs/a", "RUNNING", { progress: { remaining: "60s" } }),
    job("jobs/b", "QUEUED", { queuePosition: 1, estimate: { duration: "30s" } }),
    mine,
    job("jobs/d", "QUEUED", { queuePosition: 3, estimate: { duration: "900s" } }),
    { ...(job("jobs/e", "RUNNING") as object), family: "FAMILY_LLM" } as never,
  ]);
  expect(place).toMatchObject({ position: 2, starts: 90 });
  expect(place.running.map((other) => other.name)).toEqual(["jobs/a"]);
});

test("no time is told where one is not known", () => {
  const mine = job("jobs/c", "QUEUED", { queuePosition: 1 });
  expect(placeOf(mine, [job("jobs/a", "RUNNING"), mine]).starts).toBeUndefined();
  expect(placeOf(mine, [mine]).starts).toBeUndefined();
});
