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

test.each([
  [
    "resnet18, 100 training and 1 validation image of 10 classes at 32 px; weights: random; fp32 on cpu with 2 threads.",
    "resnet18：100 张训练图片、1 张验证图片，10 个类别，32 像素；权重：随机；fp32，设备 cpu，2 个线程。",
  ],
  [
    "qlora of models/tiny: 1792 weights are trained, on 51 samples (1459 tokens); 9 held out. Chat template: tokenizer; bf16 on cpu with 2 threads.",
    "qlora，基础模型 models/tiny：训练 1792 个权重，51 条样本（1459 个词元），留出 9 条。对话模板：tokenizer；bf16，设备 cpu，2 个线程。",
  ],
  [
    "LoRA of models/sd: 8192 weights of unet, text_encoder are trained, on 8 images and 3 class images in 1 bucket; 2 held out. bf16 on cpu with 1 thread.",
    "LoRA，基础模型 models/sd：训练 unet, text_encoder 的 8192 个权重，8 张图片和 3 张类别图片，1 个分桶，留出 2 张。bf16，设备 cpu，1 个线程。",
  ],
])("what a trainer writes at the beginning is said in Chinese: %s", (message, said) => {
  expect(lineOf(zh, { log: { message } })).toMatchObject({ own: said, told: "" });
  expect(lineOf(en, { log: { message } })).toMatchObject({ own: "", told: message });
});

test.each([
  ["97.5% of 20 validation images are recognised (weights of step 133 of 210).", "20 张验证图片中识别正确 97.5%（第 133 / 210 步的权重）。"],
  ["mAP50 0.512 and mAP50-95 0.31 on 6 validation images (weights of step 5 of 6).", "6 张验证图片：mAP50 0.512，mAP50-95 0.31（第 5 / 6 步的权重）。"],
  ["Perplexity on 9 held-out samples is 975.8; the base's was 982.1 (weights of step 4 of 4).", "9 条留出样本的困惑度为 975.8；基础模型为 982.1（第 4 / 4 步的权重）。"],
  [
    "The loss on 2 held-out images is 1.091 (weights of step 2 of 2). The CLIP score of the samples is 27.1; the base's was 25.",
    "2 张留出图片的损失为 1.091（第 2 / 2 步的权重）。样例的 CLIP 分数为 27.1；基础模型为 25。",
  ],
])("what a trainer writes at the end is said in Chinese: %s", (reason, said) => {
  expect(lineOf(zh, to("SUCCEEDED", reason))).toMatchObject({ own: `已完成：${said}`, told: "" });
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
