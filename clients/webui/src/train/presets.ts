/** Sets of changes to try, each made of the settings that hold now; what it changes is told before it is applied. */

import type { TrainingSpecJson } from "../gen/tuneyard/v1/training_pb";
import { METHOD, TASK_OF, type Task } from "./tasks";

export type PresetId = "size7" | "size13" | "lessMemory" | "faster" | "subset";

export interface Preset {
  id: PresetId;
  changes: Readonly<Record<string, string>>;
}

const BATCH = "hyperparameters.batchSize";
const ACCUMULATION = "hyperparameters.gradientAccumulationSteps";
const EPOCHS = "hyperparameters.epochs";
const RATE = "hyperparameters.learningRate";

const bySize = (rank: number, alpha: number, batch: number, accumulation: number, rate: string) => ({
  "languageModel.lora.loraR": String(rank),
  "languageModel.lora.loraAlpha": String(alpha),
  "languageModel.lora.loraDropout": "0.05",
  [BATCH]: String(batch),
  [ACCUMULATION]: String(accumulation),
  [RATE]: rate,
  [EPOCHS]: "3",
});

/** The presets of a task; `now` is the spec with every value that would be taken. */
export function presetsOf(task: Task, now: TrainingSpecJson | undefined): Preset[] {
  const presets: Preset[] = [
    { id: "lessMemory", changes: lessMemory(task, now) },
    { id: "faster", changes: faster(task, now) },
    { id: "subset", changes: { "dataSplit.maxTrainSamples": "200", [EPOCHS]: "1" } },
  ];
  if (task !== "language_model") return presets;
  return [{ id: "size7", changes: bySize(8, 16, 4, 4, "2e-4") }, { id: "size13", changes: bySize(16, 32, 2, 8, "1e-4") }, ...presets];
}

/** A quarter of the micro-batch, as many samples a step. */
function lessMemory(task: Task, now: TrainingSpecJson | undefined): Record<string, string> {
  const batch = now?.hyperparameters?.batchSize ?? 4;
  const accumulation = now?.hyperparameters?.gradientAccumulationSteps ?? 1;
  const smaller = Math.max(1, Math.floor(batch / 4));
  const changes: Record<string, string> = { [BATCH]: String(smaller) };
  // A detector's engine chooses its accumulation itself, and trades no compute for memory.
  if (task === "object_detector") return changes;
  changes[ACCUMULATION] = String(Math.ceil((batch * accumulation) / smaller));
  changes[`${TASK_OF[task].field}.gradientCheckpointing`] = "true";
  if (task === "language_model" && now?.languageModel?.method !== "FINE_TUNING_METHOD_QLORA") changes[METHOD] = "FINE_TUNING_METHOD_QLORA";
  return changes;
}

function faster(task: Task, now: TrainingSpecJson | undefined): Record<string, string> {
  switch (task) {
    case "image_classifier":
      return { "imageClassifier.imageSize": "160", "imageClassifier.freezeBackbone": "true" };
    case "object_detector":
      return { "objectDetector.imageSize": "416" };
    case "text_to_image_lora":
      return { "textToImageLora.resolution": "512", "textToImageLora.cacheLatents": "true" };
    default: {
      const length = now?.languageModel?.maxLength ?? 1024;
      return { "languageModel.maxLength": String(Math.max(256, Math.floor(length / 2))), [EPOCHS]: "1" };
    }
  }
}
