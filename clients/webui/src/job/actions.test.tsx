import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { Speaking } from "../i18n";
import { JobActions } from "./actions";
import { Results } from "./results";

const JOB = { name: "jobs/a", state: "JOB_STATE_SUCCEEDED", labels: { name: "ours" }, spec: { training: { languageModel: {} } } } as const;
const posted: { path: string; body: { labels?: object } }[] = [];

beforeEach(() => {
  posted.length = 0;
  vi.stubGlobal("fetch", (path: string, { body }: { body: string }) => {
    posted.push({ path, body: JSON.parse(body) as object });
    return new Promise(() => undefined);
  });
});
afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
});

const shown = (part: React.ReactNode) => render(<Speaking>{part}</Speaking>);

async function pressTwice(name: string) {
  const button = await screen.findByRole("button", { name });
  fireEvent.click(button);
  fireEvent.click(button);
}

test("a job that is run again by two presses is run once", async () => {
  shown(<JobActions job={JOB} />);
  await pressTwice("Rerun");
  expect(posted.map(({ path }) => path)).toEqual(["/v1/jobs/a:rerun"]);
});

test("two presses make one merge, called after its job", async () => {
  shown(<Results job={JOB} />);
  await pressTwice("Merge & Export Full Model");
  expect(posted.map(({ path, body }) => [path, body.labels])).toEqual([["/v1/jobs:merge", { name: "Merge · ours" }]]);
});
