/** What the check of a dataset found, from the figures of the case; without an entry the title and the server's words say it. */

type Say = (figures: Readonly<Record<string, string | undefined>>) => string;

const broken =
  (unit: string, counter: string): Say =>
  ({ broken, total, share, most }) =>
    `${total} ${counter}${unit}中有 ${broken} ${counter}（${share}）无法使用；允许 ${most}。`;
const same: Say = ({ other }) => `与 ${other} 是同一个文件。`;

export const messagesZh: Readonly<Record<string, Say>> = {
  CLASS_SMALL: (of) => `类别 ${of.class} 只有 ${of.samples} 个训练样本，少于 ${of.least} 个。`,
  CLASS_IMBALANCE: (of) => `类别 ${of.largest} 有 ${of.most} 个，${of.smallest} 只有 ${of.least} 个：超过 ${of.ratio} 比 1。`,
  SPLIT_SHARE_UNUSUAL: ({ samples, total, share }) => `${total} 个样本中有 ${samples} 个（${share}）用于验证。`,
  IMAGES_BROKEN: broken("图片", "张"),
  IMAGES_SKIPPED: broken("图片", "张"),
  IMAGES_FEW: ({ images, least }) => `只有 ${images} 张训练图片，少于 ${least} 张。`,
  IMAGE_BELOW_RESOLUTION: ({ width, height, least }) => `${width} × ${height} 像素，小于 ${least} × ${least}。`,
  LINES_BROKEN: broken("", "行"),
  LINES_SKIPPED: broken("", "行"),
  EXAMPLES_FEW: ({ examples, least }) => `只有 ${examples} 条训练样本，少于 ${least} 条。`,
  DUPLICATE_IMAGE: same,
  DUPLICATE_ACROSS_SPLITS: (of) => `与 ${of.other} 是同一个文件：一个在 ${of.split}，一个在 ${of.other_split}。`,
  DUPLICATE_IN_CLASSES: (of) => `与 ${of.other} 是同一个文件：一个属于 ${of.class}，一个属于 ${of.other_class}。`,
};
