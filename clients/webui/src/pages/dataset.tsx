/** One dataset: the verdict first, then what was found, by kind and by file; then what is in it. */

import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useLocation, useParams } from "wouter";

import { useDataset, useDatasets } from "../api/datasets";
import { ApiError, idOf, remove } from "../api/http";
import { useJobs } from "../api/jobs";
import { Browser } from "../dataset/browser";
import { Classes } from "../dataset/classes";
import { Findings } from "../dataset/groups";
import { Sizes } from "../dataset/sizes";
import { DatasetBadge, Verdict } from "../dataset/verdict";
import { bytes, count, moment, percent } from "../format";
import type { DatasetJson } from "../gen/tuneyard/v1/dataset_pb";
import { useT } from "../i18n";
import { jobTitle } from "../job";
import { Button, Confirm, Failure, Loading, Page } from "../ui/parts";

export default function DatasetPage() {
  const t = useT();
  const { id = "" } = useParams();
  const found = useDataset(id);
  const dataset = found.data;
  const title = dataset?.displayName || id;
  return (
    <Page title={title} aside={dataset && <Actions dataset={dataset} />} crumb={{ href: "/datasets", label: t.datasets.title }}>
      {found.isPending && <Loading lines={8} />}
      {found.isError && !dataset && <Failure error={found.error} retry={() => void found.refetch()} />}
      {dataset && (
        <div className="stack wide">
          <Verdict dataset={dataset} />
          <Facts dataset={dataset} />
          {(dataset.report?.findings?.length ?? 0) > 0 && <Findings dataset={dataset} />}
          <Classes report={dataset.report} />
          <Sizes report={dataset.report} />
          {dataset.state !== "DATASET_STATE_UPLOADING" && <Browser dataset={dataset} />}
        </div>
      )}
    </Page>
  );
}

function Actions({ dataset }: { dataset: DatasetJson }) {
  const t = useT();
  const [, go] = useLocation();
  const cache = useQueryClient();
  const [asked, setAsked] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const lines = dataset.format === "DATASET_FORMAT_JSONL";
  const drop = async () => {
    try {
      await remove(`/v1/${dataset.name}`);
      await cache.invalidateQueries({ queryKey: ["datasets"] });
      go("/datasets");
    } catch (failed) {
      setError(failed instanceof ApiError ? failed : String(failed));
    }
  };
  return (
    <div className="row">
      <DatasetBadge dataset={dataset} />
      {dataset.state === "DATASET_STATE_READY" && (
        <Link href={`${lines ? "/finetune" : "/train"}?dataset=${idOf(dataset.name)}`} className="button primary">
          {lines ? t.datasets.finetune : t.datasets.train}
        </Link>
      )}
      <Button onClick={() => setAsked(true)}>{t.actions.delete}</Button>
      {error !== null && <Failure error={error} />}
      {asked && (
        <Confirm
          title={t.datasets.deleteTitle(dataset.displayName || idOf(dataset.name))}
          text={t.datasets.deleteText(bytes(dataset.sizeBytes))}
          yes={t.datasets.delete}
          no={t.actions.close}
          onYes={() => void drop()}
          onClose={() => setAsked(false)}
        />
      )}
    </div>
  );
}

function Facts({ dataset }: { dataset: DatasetJson }) {
  const t = useT();
  const { jobs } = useJobs();
  const all = useDatasets().data ?? [];
  const { report } = dataset;
  const samples = Number(report?.samples ?? 0);
  const versions = all.filter((each) => each.parent === dataset.name);
  const users = [...jobs.values()].filter(({ spec }) => spec?.training?.dataset === dataset.name);
  return (
    <section className="stack">
      <dl className="tiles">
        <Tile name={t.datasets.format}>{t.datasets.formats[dataset.format ?? "DATASET_FORMAT_UNSPECIFIED"]}</Tile>
        {samples > 0 && <Tile name={t.datasets.samples}>{count(samples)}</Tile>}
        {(report?.classes?.length ?? 0) > 0 && <Tile name={t.datasets.classes}>{count(report?.classes?.length)}</Tile>}
        {(report?.splits?.length ?? 0) > 1 && (
          <Tile name={t.datasets.splits}>
            {report?.splits?.map(({ split, samples: n }) => `${split} ${percent(Number(n ?? 0) / Math.max(1, samples))}`).join(" · ")}
          </Tile>
        )}
        {(report?.medianWidth ?? 0) > 0 && (
          <Tile name={t.datasets.imageSize}>
            {report?.medianWidth} × {report?.medianHeight} px
          </Tile>
        )}
        <Tile name={t.datasets.size}>{bytes(dataset.sizeBytes)}</Tile>
      </dl>
      <dl className="facts small">
        <dt>{t.datasets.columns.created}</dt>
        <dd>{moment(dataset.createTime)}</dd>
        {dataset.parent && (
          <>
            <dt>{t.datasets.parent}</dt>
            <dd>
              <Link href={`/datasets/${idOf(dataset.parent)}`}>{idOf(dataset.parent)}</Link>{" "}
              {(report?.excluded?.length ?? 0) > 0 && t.datasets.leavesOut(report?.excluded?.length ?? 0)}
            </dd>
          </>
        )}
        {versions.length > 0 && (
          <>
            <dt>{t.datasets.versions}</dt>
            <dd className="row">
              {versions.map((each) => (
                <Link key={each.name} href={`/datasets/${idOf(each.name)}`}>
                  {each.displayName || idOf(each.name)}
                </Link>
              ))}
            </dd>
          </>
        )}
        <dt>{t.datasets.usedBy}</dt>
        <dd className="row">
          {users.length === 0 && t.datasets.unused}
          {users.map((job) => (
            <Link key={job.name} href={`/jobs/${idOf(job.name)}`}>
              {jobTitle(t, job)}
            </Link>
          ))}
        </dd>
        {dataset.sha256 && (
          <>
            <dt>SHA-256</dt>
            <dd className="mono break">{dataset.sha256}</dd>
          </>
        )}
      </dl>
    </section>
  );
}

function Tile({ name, children }: { name: string; children: React.ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
