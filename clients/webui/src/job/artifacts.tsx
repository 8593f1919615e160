/** What the job left behind: files with size and hash, one by one or all as a ZIP. */

import { useQuery } from "@tanstack/react-query";

import { artifactUrl, get } from "../api/http";
import { bytes } from "../format";
import type { ListArtifactsResponseJson } from "../gen/tuneyard/v1/artifact_service_pb";
import type { JobJson } from "../gen/tuneyard/v1/job_pb";
import { useT } from "../i18n";
import { Failure, Loading } from "../ui/parts";

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
      {job.state !== "JOB_STATE_SUCCEEDED" && (
        // A finished job has it among its results, above.
        <div className="row">
          <a className="button" href={`/v1/${job.name}/artifacts:download`}>
            {t.job.downloadAll}
          </a>
        </div>
      )}
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
                <div className="small muted">
                  <WhatItIs path={artifact.path} told={artifact.description} />
                </div>
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

/** What a file is: in the reader's language where that has words for its path, else in the server's words. */
export function WhatItIs({ path, told }: { path: string | undefined; told: string | undefined }) {
  const t = useT();
  return t.job.artifactOf(path ?? "") ?? <span lang="en">{told}</span>;
}
