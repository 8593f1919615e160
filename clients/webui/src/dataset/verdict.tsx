/** What a check came to: a badge for lists, a sentence for the dataset's page. */

import { bytes, percent } from "../format";
import type { DatasetJson } from "../gen/tuneyard/v1/dataset_pb";
import { useT } from "../i18n";
import { Progress } from "../ui/parts";
import { severities } from "./findings";

const LOOKS = {
  DATASET_STATE_UNSPECIFIED: "queued",
  DATASET_STATE_UPLOADING: "queued",
  DATASET_STATE_VALIDATING: "running",
  DATASET_STATE_READY: "succeeded",
  DATASET_STATE_INVALID: "failed",
} as const;

export function DatasetBadge({ dataset }: { dataset: DatasetJson }) {
  const t = useT();
  const state = dataset.state ?? "DATASET_STATE_UNSPECIFIED";
  return <span className={`badge ${LOOKS[state]}`}>{t.datasets.states[state]}</span>;
}

export function Verdict({ dataset }: { dataset: DatasetJson }) {
  const t = useT();
  if (dataset.state === "DATASET_STATE_UPLOADING") {
    const received = Number(dataset.upload?.receivedBytes ?? 0);
    const told = t.datasets.uploading(bytes(received), bytes(dataset.sizeBytes));
    return <Moving told={told} share={received / Math.max(1, Number(dataset.sizeBytes ?? 1))} />;
  }
  if (dataset.state === "DATASET_STATE_VALIDATING") {
    const share = Number(dataset.validationProgress ?? 0);
    return <Moving told={t.datasets.checking(percent(share))} share={share} />;
  }
  const found = severities(dataset.report);
  const words = (["error", "warning", "info"] as const)
    .filter((kind) => found[kind] > 0)
    .map((kind) => t.datasets.severities[kind](found[kind]))
    .join(t.datasets.comma);
  const invalid = dataset.state === "DATASET_STATE_INVALID";
  const look = invalid ? "danger" : found.warning ? "warning" : "success";
  return (
    <p className={`note ${look}`} role="status">
      {invalid ? t.datasets.verdict.invalid(words) : words ? t.datasets.verdict.ready(words) : t.datasets.verdict.clean}
    </p>
  );
}

function Moving({ told, share }: { told: string; share: number }) {
  return (
    <div className="stack">
      <p role="status">{told}</p>
      <Progress value={share} label={told} />
    </div>
  );
}
