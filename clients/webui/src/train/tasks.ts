/** What can be trained, and what belongs to each: its part of the spec, its trainer, and how its datasets are laid out. */

import type { DatasetFormatJson } from "../gen/tuneyard/v1/dataset_pb";
import type { FamilyJson, TaskKindJson } from "../gen/tuneyard/v1/training_pb";

export type Task = "image_classifier" | "object_detector" | "text_to_image_lora" | "language_model";

interface TaskFacts {
  field: "imageClassifier" | "objectDetector" | "textToImageLora" | "languageModel";
  kind: TaskKindJson;
  family: FamilyJson;
  format: DatasetFormatJson;
  /** What a file of such a dataset may be called. */
  endings: readonly string[];
  /** Settings that stand open, in their order. */
  basic: readonly string[];
  guide: string;
}

export const TASK_OF: Record<Task, TaskFacts> = {
  image_classifier: {
    field: "imageClassifier",
    kind: "TASK_KIND_IMAGE_CLASSIFIER",
    family: "FAMILY_VISION",
    format: "DATASET_FORMAT_IMAGE_FOLDER",
    endings: [".zip"],
    basic: ["hyperparameters.epochs", "hyperparameters.batchSize", "hyperparameters.learningRate", "imageClassifier.imageSize"],
    guide: "image-classifier-training",
  },
  object_detector: {
    field: "objectDetector",
    kind: "TASK_KIND_OBJECT_DETECTOR",
    family: "FAMILY_VISION",
    format: "DATASET_FORMAT_YOLO",
    endings: [".zip"],
    basic: ["hyperparameters.epochs", "hyperparameters.batchSize", "hyperparameters.learningRate", "objectDetector.imageSize"],
    guide: "object-detector-training",
  },
  text_to_image_lora: {
    field: "textToImageLora",
    kind: "TASK_KIND_TEXT_TO_IMAGE_LORA",
    family: "FAMILY_DIFFUSION",
    format: "DATASET_FORMAT_CAPTIONED_IMAGES",
    endings: [".zip"],
    basic: [
      "hyperparameters.epochs",
      "hyperparameters.batchSize",
      "hyperparameters.learningRate",
      "textToImageLora.resolution",
      "textToImageLora.lora.loraR",
      "textToImageLora.lora.loraAlpha",
      "textToImageLora.instancePrompt",
      "textToImageLora.triggerWords",
    ],
    guide: "overview",
  },
  language_model: {
    field: "languageModel",
    kind: "TASK_KIND_LANGUAGE_MODEL",
    family: "FAMILY_LLM",
    format: "DATASET_FORMAT_JSONL",
    endings: [".jsonl", ".ndjson", ".json", ".gz", ".zip"],
    basic: [
      "languageModel.lora.loraR",
      "languageModel.lora.loraAlpha",
      "languageModel.lora.loraDropout",
      "languageModel.lora.targetModules",
      "hyperparameters.epochs",
      "hyperparameters.batchSize",
      "hyperparameters.gradientAccumulationSteps",
      "hyperparameters.learningRate",
      "languageModel.maxLength",
    ],
    guide: "llm-fine-tuning-with-lora",
  },
};

export const CLIP_MODEL = "textToImageLora.clipModel";
export const METHOD = "languageModel.method";

/** Whether a field has a meaning with a method of fine-tuning. */
export function applies(path: string, method: string | undefined): boolean {
  if (path.startsWith("languageModel.lora.")) return method !== "FINE_TUNING_METHOD_FULL";
  if (path.startsWith("languageModel.quantization.")) return method === "FINE_TUNING_METHOD_QLORA";
  return true;
}
