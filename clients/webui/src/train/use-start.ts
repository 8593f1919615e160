/** Starting the job that a form describes. */

import { useState } from "react";
import { useLocation } from "wouter";

import { ApiError, post } from "../api/http";
import type { TrainResponseJson } from "../gen/tuneyard/v1/training_service_pb";
import type { TrainingSpecJson } from "../gen/tuneyard/v1/training_pb";
import { emptyDraft, keepDraft, type Draft } from "./draft";

/** Starts the job and goes to its page. A draft sends the same request id however often it is pressed. */
export function useStart(draft: Draft, spec: TrainingSpecJson, page: string, onRefused: (error: ApiError) => void) {
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
      const name = draft.name.trim();
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
