/** What the job left behind: files with size and hash, one by one or all as a ZIP; and what can be made of them. */

import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useLocation } from "wouter";

import { ApiError, artifactUrl, get, idOf, post } from "../api/http";
import { bytes } from "../format";
import type { ListArtifactsResponseJson } from "../gen/tuneyard/v1/artifact_service_pb";
import type { JobJson } from "../gen/tuneyard/v1/job_pb";
import type { MergeResponseJson } from "../gen/tuneyard/v1/training_service_pb";
import { useT } from "../i18n";
import { Button, Failure, Loading } from "../ui/parts";

export function Artifacts({ job, count }: { job: JobJson; count: number }) {
  const t = useT();
  const found = useQuery({
    queryKey: ["artifacts", job.name, count],
    queryFn: ({ signal }) => get<ListArtifactsResponseJson>(`/v1/${job.name}/artifacts?pageSize=1000`, signal),
  });
  if (found.isPending) return <Loading />;
  if (found.isError) return <Failure error={found.error} retry={() => void found.refetch()} />;
  const artifacts = found.data.artifacts ?? [];
  if (!artifacts.length) return <p className="muted">{t.job.noArtifacts}</p>;
  return (
    <div className="stack">
      <div className="row">
        <a className="button" href={`/v1/${job.name}/artifacts:download`}>
          {t.job.downloadAll}
        </a>
        <Derived job={job} isAdapter={artifacts.some((each) => each.path?.endsWith("adapter_model.safetensors"))} />
      </div>
      <table>
        <thead>
          <tr>
            <th>{t.job.file}</th>
            <th className="number">{t.job.size}</th>
            <th>SHA-256</th>
          </tr>
        </thead>
        <tbody>
          {artifacts.map((artifact) => (
            <tr key={artifact.path}>
              <td className="break">
                <a href={`${artifactUrl(job.name, artifact.path)}?download`}>{artifact.path}</a>
                <div className="small muted">{artifact.description}</div>
              </td>
              <td className="number">{bytes(artifact.sizeBytes)}</td>
              <td className="mono small muted">{artifact.sha256?.slice(0, 12)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** The guide's buttons: the adapter as a ZIP, and the merged model as a job of its own. */
function Derived({ job, isAdapter }: { job: JobJson; isAdapter: boolean }) {
  const t = useT();
  const [, navigate] = useLocation();
  const [error, setError] = useState<unknown>(null);
  if (job.state !== "JOB_STATE_SUCCEEDED" || !job.spec?.training) return null;
  const make = async (verb: "merge" | "evaluate") => {
    try {
      const made = await post<MergeResponseJson>(`/v1/jobs:${verb}`, {
        spec: { sourceJob: job.name },
        requestId: crypto.randomUUID(),
      });
      navigate(`/jobs/${idOf(made.job?.name)}`);
    } catch (failed) {
      if (!(failed instanceof ApiError)) throw failed;
      setError(failed);
    }
  };
  return (
    <>
      {isAdapter && (
        <>
          <a className="button primary" href={`/api/llm-finetuning/export/${idOf(job.name)}`}>
            {t.job.exportAdapter}
          </a>
          <Button onClick={() => void make("merge")}>{t.job.merge}</Button>
        </>
      )}
      <Button onClick={() => void make("evaluate")}>{t.job.evaluate}</Button>
      {error !== null && <Failure error={error} />}
    </>
  );
}
