/** What this installation is made of: trainers, their devices and what runs on them; the server. */

import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";

import { get, idOf } from "../api/http";
import { useJobs } from "../api/jobs";
import { bytes } from "../format";
import type { TrainerJson } from "../gen/tuneyard/v1/system_pb";
import type { GetServerInfoResponseJson, ListTrainersResponseJson } from "../gen/tuneyard/v1/system_service_pb";
import { useT } from "../i18n";
import { jobTitle } from "../job";
import { kindOf } from "../states";
import { Failure, Loading, Page, Progress } from "../ui/parts";

export default function SystemPage() {
  const t = useT();
  const trainers = useQuery({
    queryKey: ["trainers"],
    queryFn: ({ signal }) => get<ListTrainersResponseJson>("/v1/trainers", signal),
    refetchInterval: 2_000,
  });
  const server = useQuery({
    queryKey: ["server"],
    queryFn: ({ signal }) => get<GetServerInfoResponseJson>("/v1/serverInfo", signal),
  });
  return (
    <Page title={t.system.title}>
      <div className="stack">
        <h2>{t.system.trainers}</h2>
        {trainers.isError && !trainers.data && <Failure error={trainers.error} retry={() => void trainers.refetch()} />}
        {trainers.isPending && <Loading />}
        {trainers.data && !trainers.data.trainers?.length && <p>{t.system.none}</p>}
        {trainers.data?.trainers?.map((trainer) => <Trainer key={trainer.address} trainer={trainer} />)}
        {server.isError && !server.data && <Failure error={server.error} retry={() => void server.refetch()} />}
        {server.data && (
          <section className="panel stack">
            <h3>{t.system.server}</h3>
            <dl className="facts">
              <dt>{t.system.version}</dt>
              <dd>{server.data.version}</dd>
              <dt>{t.system.store}</dt>
              <dd>
                {t.system.kinds[server.data.storeKind ?? ""] ?? server.data.storeKind}
                {Number(server.data.storeFreeBytes ?? 0) > 0 && ` · ${t.system.free(bytes(server.data.storeFreeBytes))}`}
              </dd>
              <dt>{t.system.database}</dt>
              <dd>{t.system.kinds[server.data.databaseKind ?? ""] ?? server.data.databaseKind}</dd>
              <dt>{t.system.access}</dt>
              <dd>{server.data.authRequired ? t.system.token : t.system.open}</dd>
            </dl>
          </section>
        )}
      </div>
    </Page>
  );
}

const LOOKS: Record<string, string> = {
  TRAINER_HEALTH_READY: "succeeded",
  TRAINER_HEALTH_STARTING: "running",
  TRAINER_HEALTH_DEGRADED: "paused",
};

function Trainer({ trainer }: { trainer: TrainerJson }) {
  const t = useT();
  const { jobs } = useJobs();
  const titleOf = (name: string) => {
    const job = jobs.get(name);
    return job ? jobTitle(t, job) : idOf(name);
  };
  const queued = [...jobs.values()].filter((job) => job.family === trainer.family && kindOf(job.state) === "queued").length;
  return (
    <section className="panel stack">
      <div className="row">
        <h3>{t.models.families[trainer.family ?? "FAMILY_UNSPECIFIED"]}</h3>
        <span className={`badge ${LOOKS[trainer.health ?? ""] ?? "failed"}`}>
          {t.system.health[trainer.health ?? ""] ?? trainer.health}
        </span>
        <span className="mono muted">{trainer.address}</span>
      </div>
      {trainer.problem && <p className="note warning">{trainer.problem}</p>}
      {trainer.devices?.map((device) => (
        <div key={device.id} className="stack">
          <div className="row spread">
            <span>
              <span className="mono">{device.id}</span> {device.displayName}
            </span>
            <span>
              {t.system.memoryOf(bytes(device.memoryUsedBytes), bytes(device.memoryTotalBytes))}
            </span>
          </div>
          <Progress
            label={t.system.memory}
            value={Number(device.memoryUsedBytes ?? 0) / Math.max(1, Number(device.memoryTotalBytes ?? 1))}
          />
          <span className="small muted">
            {t.system.runs}:{" "}
            {device.job ? <Link href={`/jobs/${idOf(device.job)}`}>{titleOf(device.job)}</Link> : t.system.idle}
          </span>
        </div>
      ))}
      <dl className="facts small">
        <dt>{t.jobs.queued}</dt>
        <dd>{queued}</dd>
        <dt>{t.system.diskFree}</dt>
        <dd>{bytes(trainer.diskFreeBytes)}</dd>
        <dt>{t.system.version}</dt>
        <dd>{trainer.version}</dd>
      </dl>
    </section>
  );
}
