/** What artifacts are, by the end of their path; what is not listed is said in the server's words. */

import { saidBy, type Phrases } from "./phrases";

const STORED: Phrases = [
  [/(^|\/)README\.md$/, () => "模型卡：模型是什么、效果如何、怎样使用"],
  [/^manifest\.json$/, () => "清单：请求、来源、版本与结果"],
  [/^metrics\.json$/, () => "各次评估的全部指标"],
  [/^report\.json$/, () => "测得的全部数值"],
  [/^report\.html$/, () => "评估报告"],
  [/^config\.json$/, () => "结构、类别与预处理"],
  [/^model\.safetensors$/, () => "模型权重"],
  [/^model\/.*\.safetensors$/, () => "模型权重，由 transformers 或 diffusers 加载"],
  [/^adapter\/adapter_model\.safetensors$/, () => "适配器权重，由 peft 加载"],
  [/^pytorch_lora_weights\.safetensors$/, () => "LoRA 权重，由 diffusers 加载"],
  [/^kohya\/.*\.safetensors$/, () => "LoRA 权重，由 ComfyUI 和 A1111 加载"],
  [/^confusion_matrix\.png$/, () => "混淆矩阵：哪些类别被认成哪些类别"],
  [/^loss_curve\.png$/, () => "各步的损失与指标"],
  [/^predictions\.png$/, () => "验证图片与模型的预测"],
  [/^precision_recall_curve\.png$/, () => "精确率与召回率的关系"],
  [/^f1_curve\.png$/, () => "F1 与最低分数的关系"],
  [/^labels\.png$/, () => "训练标注框的类别、位置与大小"],
  [/^reliability\.png$/, () => "各置信度下模型实际正确的比例"],
  [/^most_wrong\.png$/, () => "模型错得最多的图片"],
  [/^samples\/first-batch\.png$/, () => "模型看到的第一个训练批次"],
  [/^samples\/predictions-\d+\.png$/, () => "验证图片与模型的预测"],
  [/^samples\/proof\.png$/, () => "基础模型、加上 LoRA、合并之后"],
  [/^token-report\.json$/, () => "样本的词元数，哪些被截断或未使用"],
  [/^training-sample\.html$/, () => "模型读到的内容与学习生成的内容，按颜色区分"],
  [/^caption-report\.json$/, () => "描述的词元数，哪些被截断"],
];

export const artifactZh = saidBy(STORED);
