/** Model Training: models that see and models that draw. */

import { TrainingForm } from "../train/form";

const TASKS = ["image_classifier", "object_detector", "text_to_image_lora"] as const;

export default function TrainPage() {
  return <TrainingForm key="train" page="train" tasks={TASKS} />;
}
