/** LLM Fine-tuning: language models, whole or by adapters. */

import { TrainingForm } from "../train/form";

const TASKS = ["language_model"] as const;

export default function FinetunePage() {
  return <TrainingForm key="finetune" page="finetune" tasks={TASKS} />;
}
