/** What is unusual about a training's settings, after what the trainers' estimates say; the rest stays in their words. */

import { saidBy, type Phrases } from "./phrases";

const WARNINGS: Phrases = [
  [/^(\S+); (\S+) to (\S+) (?:is|are) usual\b/, (value, least, most) => `常用范围 ${least}–${most}，现在是 ${value}。`],
  [/^(\S+); (?:about )?(\S+) (?:is|are) usual\b/, (value, usual) => `常用 ${usual} 左右，现在是 ${value}。`],
  [/^The dataset brings its own validation split, which is used\.$/, () => "数据集自带验证集，将使用它。"],
  [/^An effective batch of (\S+) is larger than the (\S+) training/, (batch, samples) => `有效批量 ${batch} 大于训练样本数 ${samples}。`],
  [/^All (\S+) steps are warm-up: /, (steps) => `全部 ${steps} 步都是预热：学习率不会下降。`],
  [/batch norm, whose statistics of (\S+) images are poor\.$/, (images) => `模型含批归一化，每批 ${images} 张图片的统计量不可靠。`],
  [
    /^The images are about (\S+) px wide or high and would be enlarged to (\S+) px: /,
    (side, size) => `图片边长约 ${side} 像素，会被放大到 ${size} 像素：较小的图像尺寸训练更快，效果可能相当。`,
  ],
  [
    /^The recommended batch of (\S+) needs about (.+), more than (\S+) has to spare: with batch (\S+) x accumulation (\S+?)( and gradient checkpointing)? the effective batch stays (\S+), in about (.+)\.$/,
    (wanted, need, device, batch, accumulation, checkpoints, effective, less) =>
      `推荐的批量 ${wanted} 约需 ${need}，超出 ${device} 的可用内存：改用批量 ${batch} × 梯度累积 ${accumulation}${checkpoints ? " 并开启梯度检查点" : ""}，有效批量仍为 ${effective}，约需 ${less}。`,
  ],
  [/^The adapter will have about (\S+) MB; /, (size) => `适配器约 ${size} MB；小于 100 MB 便于分享。减小秩或目标模块可使其变小。`],
  [/^On the processor there is nothing to page: /, () => "在处理器上没有可分页的内容：等同于 8 位 AdamW。"],
  [/^(\S+) px, and the base draws (\S+) px: /, (side, native) => `分辨率 ${side} 像素，而基础模型生成 ${native} 像素：相差太远，效果会很差。`],
  [/^Random crops differ each time: /, () => "随机裁剪每次不同：每一步都要重新计算潜变量，耗时更长。"],
];

export const warningZh = saidBy(WARNINGS);
