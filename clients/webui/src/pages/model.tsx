/** One model of the store: how its import stands, what was found in it, and what can be done with it. */

import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useLocation, useParams } from "wouter";

import { ApiError, idOf, remove } from "../api/http";
import { useModel } from "../api/models";
import { bytes, moment, percent } from "../format";
import type { ModelJson } from "../gen/tuneyard/v1/model_service_pb";
import { useT } from "../i18n";
import { ModelBadge } from "../model/parts";
import { Button, Confirm, Failure, Loading, Page, Progress } from "../ui/parts";

export default function ModelPage() {
  const t = useT();
  const { id = "" } = useParams();
  const found = useModel(id);
  const model = found.data;
  const gone = found.error instanceof ApiError && found.error.problem.status === 404;
  return (
    <Page
      title={model?.displayName || id}
      aside={model && !gone && <Actions model={model} />}
      crumb={{ href: "/models", label: t.models.title }}
    >
      {found.isPending && <Loading lines={5} />}
      {gone && <p>{t.models.noLonger}</p>}
      {found.isError && !gone && !model && <Failure error={found.error} retry={() => void found.refetch()} />}
      {model && !gone && <Facts model={model} />}
    </Page>
  );
}

function Actions({ model }: { model: ModelJson }) {
  const t = useT();
  const [, go] = useLocation();
  const cache = useQueryClient();
  const [asked, setAsked] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const drop = async () => {
    try {
      await remove(`/v1/${model.name}`);
      await cache.invalidateQueries({ queryKey: ["models"] });
      go("/models");
    } catch (failed) {
      setError(failed);
    }
  };
  const page = model.family === "FAMILY_LLM" ? "/finetune" : "/train";
  return (
    <div className="row">
      <ModelBadge model={model} />
      {model.state === "MODEL_STATE_READY" && (
        <Link href={`${page}?base=${encodeURIComponent(model.name ?? "")}`} className="button primary">
          {t.models.train}
        </Link>
      )}
      <Button onClick={() => setAsked(true)}>{t.actions.delete}</Button>
      {error !== null && <Failure error={error} />}
      {asked && (
        <Confirm
          title={t.models.deleteTitle(model.displayName || idOf(model.name))}
          text={t.models.deleteText(bytes(model.sizeBytes))}
          yes={t.models.delete}
          no={t.actions.close}
          onYes={() => void drop()}
          onClose={() => setAsked(false)}
        />
      )}
    </div>
  );
}

function Facts({ model }: { model: ModelJson }) {
  const t = useT();
  const share = Number(model.progress ?? 0);
  const facts: [string, React.ReactNode][] = [
    [t.models.family, t.models.families[model.family ?? "FAMILY_UNSPECIFIED"]],
    [t.models.architecture, model.architecture],
    [t.models.sourceOf, model.source],
    [t.models.revision, model.revision],
    [t.models.columns.size, Number(model.sizeBytes ?? 0) > 0 && bytes(model.sizeBytes)],
    [t.models.columns.created, moment(model.createTime)],
    [t.models.job, model.job?.name && <Link href={`/jobs/${idOf(model.job.name)}`}>{idOf(model.job.name)}</Link>],
    ["SHA-256", model.sha256 && <span className="mono">{model.sha256}</span>],
  ];
  return (
    <div className="stack">
      {model.state === "MODEL_STATE_IMPORTING" && (
        <>
          <p role="status">{t.models.importing(percent(share))}</p>
          <Progress value={share} label={t.models.importing(percent(share))} />
        </>
      )}
      {model.state === "MODEL_STATE_UPLOADING" && (
        <>
          <p>{t.models.arriving(bytes(model.upload?.receivedBytes ?? 0), bytes(model.sizeBytes))}</p>
          <Progress
            value={Number(model.upload?.receivedBytes ?? 0) / Math.max(1, Number(model.sizeBytes))}
            label={t.models.states.MODEL_STATE_UPLOADING}
          />
        </>
      )}
      {model.error && (
        <p className="note danger" role="alert">
          {model.error}
        </p>
      )}
      {model.detail && <p>{model.detail}</p>}
      <dl className="facts">
        {facts.map(
          ([name, value]) =>
            value && (
              <div key={name} className="fact">
                <dt>{name}</dt>
                <dd className="break">{value}</dd>
              </div>
            ),
        )}
      </dl>
    </div>
  );
}
