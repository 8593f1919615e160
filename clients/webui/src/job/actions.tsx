/** What can be done with a job in its state: one primary action at most. */

import { useState } from "react";
import { useLocation } from "wouter";

import { ApiError, idOf, post, remove, newId } from "../api/http";
import { forgetJob } from "../api/jobs";
import type { JobJson, JobSpecJson } from "../gen/tuneyard/v1/job_pb";
import type { RerunJobResponseJson } from "../gen/tuneyard/v1/training_service_pb";
import { useT } from "../i18n";
import { jobTitle } from "../job";
import { isEnded, kindOf } from "../states";
import { Button, Confirm, Failure } from "../ui/parts";

/** Runs a job again, with another spec where one is given; returns the new job's name. */
export async function rerun(job: JobJson, spec?: JobSpecJson): Promise<string | undefined> {
  const body = { requestId: newId(), ...(spec ? { spec } : {}) };
  return (await post<RerunJobResponseJson>(`/v1/${job.name}:rerun`, body)).job?.name;
}

export function JobActions({ job }: { job: JobJson }) {
  const t = useT();
  const [, go] = useLocation();
  const [asked, setAsked] = useState<"cancel" | "delete" | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const [busy, setBusy] = useState(false);
  const act = (work: Promise<unknown>) => {
    setError(null);
    return work.catch((failed: unknown) => setError(failed instanceof ApiError ? failed : null));
  };
  const again = () => {
    // A second press makes no second job.
    if (busy) return;
    setBusy(true);
    void act(rerun(job).then((made) => go(`/jobs/${idOf(made)}`))).then(() => setBusy(false));
  };
  const ended = isEnded(job.state);
  const leaving = ["JOB_STATE_PAUSING", "JOB_STATE_CANCELLING", "JOB_STATE_FINALIZING"].includes(job.state ?? "");
  const paused = kindOf(job.state) === "paused";
  const name = job.name ?? "";
  return (
    <div className="row">
      {!ended && !paused && !leaving && <Button onClick={() => void act(post(`/v1/${name}:pause`, {}))}>{t.actions.pause}</Button>}
      {paused && (
        <Button look="primary" onClick={() => void act(post(`/v1/${name}:resume`, {}))}>
          {t.actions.resume}
        </Button>
      )}
      {!ended && job.state !== "JOB_STATE_CANCELLING" && <Button onClick={() => setAsked("cancel")}>{t.actions.cancel}</Button>}
      {ended && (
        <Button busy={busy} onClick={again}>
          {t.actions.rerun}
        </Button>
      )}
      {ended && <Button onClick={() => setAsked("delete")}>{t.actions.delete}</Button>}
      {error && <Failure error={error} />}
      {asked === "cancel" && (
        <Confirm
          title={t.jobs.cancelTitle(jobTitle(t, job))}
          text={t.jobs.cancelText}
          yes={t.actions.cancel}
          no={t.actions.keepRunning}
          onYes={() => void act(post(`/v1/${name}:cancel`, {}))}
          onClose={() => setAsked(null)}
        />
      )}
      {asked === "delete" && (
        <Confirm
          title={t.jobs.deleteTitle(jobTitle(t, job))}
          text={t.jobs.deleteText}
          yes={t.actions.delete}
          no={t.actions.close}
          onYes={() => {
            const drop = async () => {
              await remove(`/v1/${name}`);
              forgetJob(name);
              go("/jobs");
            };
            act(drop());
          }}
          onClose={() => setAsked(null)}
        />
      )}
    </div>
  );
}
