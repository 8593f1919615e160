/** What trainers write of a training at its beginning and its end, and of an evaluation's result; the rest stays in their words. */

import { saidBy, type Phrases } from "./phrases";

const of = (step?: string, steps?: string) => `（第 ${step} / ${steps} 步的权重）`;
const before = (value?: string) => (value === undefined ? "" : `；基础模型为 ${value}`);
const sourceOf = (weights?: string) => (weights === "random" ? "随机" : weights);

const SAID: Phrases = [
  [
    /^(\S+), (\d+) training and (\d+).* of (\d+).* at (\d+) px; weights: (.+); (\S+) on (\S+) with (\d+)/,
    (network, training, validation, classes, side, weights, precision, device, threads) =>
      `${network}：${training} 张训练图片、${validation} 张验证图片，${classes} 个类别，${side} 像素；权重：${sourceOf(weights)}；${precision}，设备 ${device}，${threads} 个线程。`,
  ],
  [
    /^(\S+) of (\S+): (\d+) weights are trained, on (\d+).* \((\d+) tokens\); (\d+) held out\. Chat template: (.+); (\S+) on (\S+) with (\d+)/,
    (method, base, weights, samples, tokens, held, template, precision, device, threads) =>
      `${method}，基础模型 ${base}：训练 ${weights} 个权重，${samples} 条样本（${tokens} 个词元），留出 ${held} 条。对话模板：${template}；${precision}，设备 ${device}，${threads} 个线程。`,
  ],
  [
    /^LoRA of (\S+): (\d+) weights of (.+) are trained, on (\d+)(?: images?)?(?: and (\d+) class images?)? in (\d+).*; (\d+) held out\. (\S+) on (\S+) with (\d+)/,
    (base, weights, parts, images, prior, buckets, held, precision, device, threads) =>
      `LoRA，基础模型 ${base}：训练 ${parts} 的 ${weights} 个权重，${images} 张图片${prior ? `和 ${prior} 张类别图片` : ""}，${buckets} 个分桶，留出 ${held} 张。${precision}，设备 ${device}，${threads} 个线程。`,
  ],
  [
    /^(\S+) of (\d+) validation images are recognised \(weights of step (\d+) of (\d+)\)\.$/,
    (share, images, step, steps) => `${images} 张验证图片中识别正确 ${share}${of(step, steps)}。`,
  ],
  [
    /^mAP50 (\S+) and mAP50-95 (\S+) on (\d+) validation images \(weights of step (\d+) of (\d+)\)\.$/,
    (half, all, images, step, steps) => `${images} 张验证图片：mAP50 ${half}，mAP50-95 ${all}${of(step, steps)}。`,
  ],
  [
    /^Perplexity on (\d+).* is (\S+?)(?:; the base's was (\S+))? \(weights of step (\d+) of (\d+)\)\.$/,
    (samples, value, base, step, steps) => `${samples} 条留出样本的困惑度为 ${value}${before(base)}${of(step, steps)}。`,
  ],
  [
    /^The loss on (\d+).* is (\S+?)(?:; the base's was (\S+))? \(weights of step (\d+) of (\d+)\)\.(?: The CLIP score of the samples is (\S+?)(?:; the base's was (\S+))?\.)?$/,
    (images, loss, base, step, steps, score, baseScore) =>
      `${images} 张留出图片的损失为 ${loss}${before(base)}${of(step, steps)}。${score ? `样例的 CLIP 分数为 ${score}${before(baseScore)}。` : ""}`,
  ],
  [
    /^(\S+) of (\d+) images of the (\S+) split of (\S+) are recognised(?: \(base model: (\S+)\)|\d)?\.$/,
    (share, images, split, set, base) => `${set} 的 ${split} 部分，${images} 张图片中识别正确 ${share}${before(base)}。`,
  ],
  [
    /^mAP50 (\S+)(?: \(base model: (\S+)\))? and mAP50-95 (\S+) on (\d+).* of the (\S+) split of (\S+)\.$/,
    (half, base, all, images, split, set) => `${set} 的 ${split} 部分，${images} 张图片：mAP50 ${half}${before(base)}，mAP50-95 ${all}。`,
  ],
  [
    /^Perplexity on (\d+).* of the (\S+) split of (\S+) is (\S+?)(?: \(base model: (\S+)\))?\.$/,
    (rows, split, set, value, base) => `${set} 的 ${split} 部分，${rows} 行的困惑度为 ${value}${before(base)}。`,
  ],
  [
    /^The loss on (\d+).* of the (\S+) split of (\S+) is (\S+?)(?: \(base model: (\S+)\))?\.$/,
    (images, split, set, value, base) => `${set} 的 ${split} 部分，${images} 张图片的损失为 ${value}${before(base)}。`,
  ],
];

export const trainerZh = saidBy(SAID);
