/** Starting the job that a form describes. */

import { useState } from "react";
import { useLocation } from "wouter";

import { ApiError, post } from "../api/http";
import { ENDINGS, idFor } from "../api/upload";
import type { TrainResponseJson } from "../gen/tuneyard/v1/training_service_pb";
import type { TrainingSpecJson } from "../gen/tuneyard/v1/training_pb";
import { emptyDraft, keepDraft, type Draft } from "./draft";

/** A job is called after the ids of dataset and base model; this one where no letter of the dataset's title may stand in an id. */
export const nameAfter = (title = "", baseModel = ""): string =>
  title && !idFor(title) ? `${title.replace(ENDINGS, "")}-${baseModel.split("/").pop()}`.slice(0, 100) : "";

/**
 * Starts the job and goes to its page. A draft sends the same request id however often it is pressed. `title` is the
 * dataset's.
 */
export function useStart(draft: Draft, spec: TrainingSpecJson, page: string, title: string | undefined, onRefused: (error: ApiError) => void) {
  const [busy, setBusy] = useState(false);
  const [isSlow, setSlow] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const [, navigate] = useLocation();
  const begin = async () => {
    if (busy) return;
    setBusy(true);
    setError(null);
    const timer = setTimeout(() => setSlow(true), 300);
    try {
      const name = draft.name.trim() || nameAfter(title, spec.baseModel);
      const body = { spec, requestId: draft.requestId, ...(name ? { labels: { name } } : {}) };
      const { job } = await post<TrainResponseJson>("/v1/jobs:train", body);
      keepDraft(page, emptyDraft(draft.task));
      navigate(`/${job?.name ?? "jobs"}`);
    } catch (failed) {
      setError(failed);
      if (failed instanceof ApiError) onRefused(failed);
    } finally {
      clearTimeout(timer);
      setSlow(false);
      setBusy(false);
    }
  };
  return { begin, busy, isSlow, error };
}
