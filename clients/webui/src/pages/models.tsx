/** What jobs can start from, what was imported, and what jobs have made. */

import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useSearchParams } from "wouter";

import { get, idOf } from "../api/http";
import { useJobs } from "../api/jobs";
import { useBaseModels, useModels } from "../api/models";
import { bytes, moment, parameters } from "../format";
import type { JobJson } from "../gen/tuneyard/v1/job_pb";
import type { BaseModelJson, ModelJson } from "../gen/tuneyard/v1/model_service_pb";
import type { DeviceJson } from "../gen/tuneyard/v1/system_pb";
import type { ListTrainersResponseJson } from "../gen/tuneyard/v1/system_service_pb";
import { useT } from "../i18n";
import { jobTitle, kindOfJob } from "../job";
import { ImportModel } from "../model/import";
import { ModelBadge } from "../model/parts";
import { ModelsOnTheirWay } from "../model/upload";
import { MAIN, metricName, metricValue } from "../metrics";
import { Button, Failure, Loading, Page } from "../ui/parts";

export default function ModelsPage() {
  const t = useT();
  const [search, setSearch] = useSearchParams();
  const [adding, setAdding] = useState(search.has("import"));
  const filter = (search.get("filter") ?? "").toLowerCase();
  return (
    <Page
      title={t.models.title}
      aside={
        <Button look="primary" aria-expanded={adding} onClick={() => setAdding(!adding)}>
          {t.models.import}
        </Button>
      }
    >
      <div className="stack wide">
        {adding && <ImportModel />}
        <ModelsOnTheirWay />
        <input
          className="input"
          type="search"
          aria-label={t.models.filter}
          placeholder={t.models.filter}
          value={search.get("filter") ?? ""}
          onChange={(event) => setSearch(event.target.value ? { filter: event.target.value } : {}, { replace: true })}
        />
        <Trained filter={filter} />
        <Stored filter={filter} />
        <Base filter={filter} />
      </div>
    </Page>
  );
}

const holds = (filter: string, ...words: (string | undefined)[]) => words.join(" ").toLowerCase().includes(filter);

/** Jobs whose result is a model. */
function Trained({ filter }: { filter: string }) {
  const t = useT();
  const { jobs, loaded } = useJobs();
  const made = [...jobs.values()]
    .filter((job) => job.state === "JOB_STATE_SUCCEEDED" && (job.spec?.training ?? job.spec?.merge))
    .filter((job) => holds(filter, jobTitle(t, job), job.spec?.training?.baseModel))
    .sort((a, b) => (b.name ?? "").localeCompare(a.name ?? ""));
  return (
    <section className="stack">
      <h2>{t.models.trained}</h2>
      {loaded && made.length === 0 && <p className="muted">{filter ? t.models.none : t.models.noTrained}</p>}
      {made.length > 0 && (
        <div className="panel">
          <table className="folds">
            <thead>
              <tr>
                <th>{t.models.columns.model}</th>
                <th className="number">{t.models.columns.metric}</th>
                <th>{t.models.columns.created}</th>
                <th>
                  <span className="visually-hidden">{t.jobs.columns.actions}</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {made.map((job) => (
                <TrainedRow key={job.name} job={job} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function TrainedRow({ job }: { job: JobJson }) {
  const t = useT();
  const kind = kindOfJob(job);
  const metric = MAIN.find((name) => job.metrics?.[name]);
  return (
    <tr>
      <td>
        <Link href={`/jobs/${idOf(job.name)}`} className="break">
          {jobTitle(t, job)}
        </Link>
        <div className="small muted break">
          {[kind && t.kinds[kind], job.spec?.training?.baseModel].filter(Boolean).join(" · ")}
        </div>
      </td>
      <td className="number">
        {metric && metricValue(metric, Number(job.metrics?.[metric]?.best ?? 0))}
        {metric && <div className="small muted">{metricName(t, metric)}</div>}
      </td>
      <td className="muted">{moment(job.endTime)}</td>
      <td>
        <div className="row">
          <Link href={`/jobs/${idOf(job.name)}/try`} className="button">
            {t.models.try}
          </Link>
          <Link href={`/jobs/${idOf(job.name)}/artifacts`} className="button">
            {t.actions.download}
          </Link>
        </div>
      </td>
    </tr>
  );
}

function Stored({ filter }: { filter: string }) {
  const t = useT();
  const models = useModels();
  const shown = (models.data ?? []).filter((model) => holds(filter, model.displayName, model.name, model.source, model.architecture));
  return (
    <section className="stack">
      <h2>{t.models.stored}</h2>
      {models.isPending && <Loading />}
      {models.isError && !models.data && <Failure error={models.error} retry={() => void models.refetch()} />}
      {models.data && shown.length === 0 && <p className="muted">{models.data.length ? t.models.none : t.models.noStored}</p>}
      {shown.length > 0 && (
        <div className="panel">
          <table className="folds">
            <thead>
              <tr>
                <th>{t.models.columns.model}</th>
                <th>{t.models.columns.state}</th>
                <th className="number">{t.models.columns.size}</th>
                <th>{t.models.columns.created}</th>
              </tr>
            </thead>
            <tbody>
              {shown.map((model) => (
                <StoredRow key={model.name} model={model} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function StoredRow({ model }: { model: ModelJson }) {
  return (
    <tr>
      <td>
        <Link href={`/models/${idOf(model.name)}`} className="break">
          {model.displayName || idOf(model.name)}
        </Link>
        <div className="small muted break">{model.detail || model.architecture || model.source}</div>
      </td>
      <td>
        <ModelBadge model={model} />
      </td>
      <td className="number">{bytes(model.sizeBytes)}</td>
      <td className="muted">{moment(model.createTime)}</td>
    </tr>
  );
}

function Base({ filter }: { filter: string }) {
  const t = useT();
  const models = useBaseModels();
  const trainers = useQuery({
    queryKey: ["trainers"],
    queryFn: ({ signal }) => get<ListTrainersResponseJson>("/v1/trainers", signal),
  });
  const shown = (models.data ?? []).filter((model) => holds(filter, model.displayName, model.id, model.description));
  const devices = (family: string | undefined) =>
    (trainers.data?.trainers ?? []).filter((trainer) => trainer.family === family).flatMap((trainer) => trainer.devices ?? []);
  return (
    <section className="stack">
      <h2>
        {t.models.base} {models.data && <span className="muted">{shown.length}</span>}
      </h2>
      {models.isPending && <Loading lines={6} />}
      {models.isError && !models.data && <Failure error={models.error} retry={() => void models.refetch()} />}
      {models.data && shown.length === 0 && <p className="muted">{models.data.length ? t.models.none : t.models.noBase}</p>}
      {shown.length > 0 && (
        <div className="panel">
          <table className="folds">
            <thead>
              <tr>
                <th>{t.models.columns.model}</th>
                <th className="number">{t.models.columns.parameters}</th>
                <th>{t.models.columns.memory}</th>
                <th>{t.models.columns.state}</th>
                <th>
                  <span className="visually-hidden">{t.jobs.columns.actions}</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {shown.map((model) => (
                <BaseRow key={`${model.family}/${model.id}`} model={model} devices={devices(model.family)} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function BaseRow({ model, devices }: { model: BaseModelJson; devices: DeviceJson[] }) {
  const t = useT();
  const needed = Number(model.minimumMemoryBytes ?? 0);
  const fitting = devices.find((device) => Number(device.memoryTotalBytes ?? 0) >= needed);
  const language = model.family === "FAMILY_LLM";
  const away = model.availability === "AVAILABILITY_IMPORT_NEEDED";
  return (
    <tr>
      <td>
        <span className="row">
          <span className="break">{model.displayName || model.id}</span>
          {model.isRecommended && <span className="tag">{t.models.recommended}</span>}
        </span>
        <div className="small muted break">
          {model.displayName !== model.id && <span className="mono">{model.id} · </span>}
          {model.license}
        </div>
      </td>
      <td className="number" data-label={t.models.columns.parameters}>
        {model.parameterCount && Number(model.parameterCount) > 0 ? parameters(model.parameterCount) : "–"}
      </td>
      <td>
        {needed > 0 ? t.models.atLeast(bytes(needed)) : "–"}
        {devices.length > 0 && needed > 0 && (
          <div className="small muted">{fitting ? t.models.fits(fitting.id ?? "") : t.models.fitsNot}</div>
        )}
      </td>
      <td>
        {model.model ? (
          <Link href={`/models/${idOf(model.model)}`}>{t.models.availability[model.availability ?? "AVAILABILITY_UNSPECIFIED"]}</Link>
        ) : (
          t.models.availability[model.availability ?? "AVAILABILITY_UNSPECIFIED"]
        )}
      </td>
      <td>
        {!away && (
          <Link href={`${language ? "/finetune" : "/train"}?base=${encodeURIComponent(model.id ?? "")}`} className="button">
            {t.models.train}
          </Link>
        )}
      </td>
    </tr>
  );
}

