import { expect, test } from "vitest";

import type { JobEventJson } from "../gen/tuneyard/v1/event_pb";
import { en } from "../i18n/en";
import { zh } from "../i18n/zh";
import { lineOf, textOf } from "./lines";

const to = (state: string, reason = "", more: object = {}) => ({ stateChange: { to: `JOB_STATE_${state}`, reason, ...more } }) as JobEventJson;
const saidIn = (t: typeof en, event: JobEventJson) => textOf(lineOf(t, event));

test("a change of state is said once, with its reason", () => {
  expect(saidIn(en, to("RUNNING", "running on cpu"))).toBe("Running on cpu");
  expect(saidIn(en, to("QUEUED", "accepted"))).toBe("Queued: accepted");
  expect(saidIn(en, to("PAUSED", "paused at step 12"))).toBe("Paused at step 12");
  expect(saidIn(en, to("PAUSING", "paused by request"))).toBe("Pausing: paused by request");
  expect(saidIn(en, to("FINALIZING"))).toBe("Finalizing");
});

test("a failure is told once, though the change carries it twice", () => {
  const message = "The loss of step 7 is nan.";
  const failed = to("FAILED", message, { error: { message } });
  expect(saidIn(en, failed)).toBe(`Failed: ${message}`);
  expect(lineOf(en, failed).level).toBe("error");
});

test("the gateway's reasons are said in Chinese, and those of others stay apart as they are", () => {
  expect(saidIn(zh, to("RUNNING", "running on cpu"))).toBe("运行中：设备 cpu");
  expect(saidIn(zh, to("STARTING", "attempt 2 goes on from step 40"))).toBe("启动中：第 2 次尝试，从第 40 步继续");
  expect(lineOf(zh, to("SUCCEEDED", "Accuracy 97.5 %."))).toMatchObject({ own: "已完成：", told: "Accuracy 97.5 %." });
});

test("an advice is said by its kind in Chinese, before the server's words", () => {
  const advice = { kind: "ADVICE_KIND_SLOW_TRAINING" as const, observation: "3 images/s.", remedies: ["Use bf16."] };
  expect(lineOf(zh, { advice })).toMatchObject({ own: "当前设置没有用上更快的设备或精度。 ", told: "3 images/s. → Use bf16." });
  expect(saidIn(en, { advice })).toBe("3 images/s. → Use bf16.");
});

test("how training went back is said in the reader's language, why in the server's", () => {
  const rolledBack = { fromStep: "40", toStep: "20", reason: "The loss is nan." };
  expect(lineOf(zh, { rolledBack })).toMatchObject({ level: "warning", own: "从第 40 步退回到第 20 步。 ", told: "The loss is nan." });
});
