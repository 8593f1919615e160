/** Small parts of the pages about models. */

import type { ModelJson } from "../gen/tuneyard/v1/model_service_pb";
import { useT } from "../i18n";

const LOOKS = {
  MODEL_STATE_UNSPECIFIED: "queued",
  MODEL_STATE_IMPORTING: "running",
  MODEL_STATE_READY: "succeeded",
  MODEL_STATE_FAILED: "failed",
  MODEL_STATE_UPLOADING: "queued",
} as const;

export function ModelBadge({ model }: { model: ModelJson }) {
  const t = useT();
  const state = model.state ?? "MODEL_STATE_UNSPECIFIED";
  return <span className={`badge ${LOOKS[state]}`}>{t.models.states[state]}</span>;
}
