/** What the address of a form asks for: the settings of a job, a dataset, a base model. */

import { useEffect, useState } from "react";
import { useSearchParams } from "wouter";

import { get } from "../api/http";
import type { GetDatasetResponseJson } from "../gen/tuneyard/v1/dataset_service_pb";
import type { JobJson } from "../gen/tuneyard/v1/job_pb";
import type { GetModelResponseJson, ListBaseModelsResponseJson } from "../gen/tuneyard/v1/model_service_pb";
import type { GetJobResponseJson } from "../gen/tuneyard/v1/training_service_pb";
import { useT } from "../i18n";
import { jobTitle } from "../job";
import { emptyDraft, taskOf, valuesOf, type Action } from "./draft";
import { useDescription } from "./queries";
import { fieldsOf } from "./schema";
import { TASK_OF, type Task } from "./tasks";

interface Wanted {
  kind: string;
  dataset: string;
  base: string;
}

/** What can be trained with what is asked for. */
async function kindsOf({ kind, dataset, base }: Wanted, signal: AbortSignal): Promise<string[]> {
  if (kind) return [kind];
  if (dataset) {
    const found = await get<GetDatasetResponseJson>(`/v1/datasets/${encodeURIComponent(dataset)}`, signal);
    return Object.values(TASK_OF).filter(({ format }) => format === found.dataset?.format).map((facts) => facts.kind);
  }
  if (base.startsWith("models/")) return (await get<GetModelResponseJson>(`/v1/${base}`, signal)).model?.tasks ?? [];
  const { baseModels } = await get<ListBaseModelsResponseJson>("/v1/baseModels?pageSize=1000", signal);
  return baseModels?.find((model) => model.id === base)?.tasks ?? [];
}

/** Takes it up once, and takes it out of the address; says whose settings were taken. */
export function useAsked(tasks: readonly Task[], dispatch: (action: Action) => void): string {
  const [search, setSearch] = useSearchParams();
  const t = useT();
  const [taken, setTaken] = useState<JobJson>();
  const { data: description } = useDescription();
  const asked = (name: string) => search.get(name) ?? "";
  const [from, dataset, base, kind] = [asked("from"), asked("dataset"), asked("base"), asked("task")] as const;
  useEffect(() => {
    if (from || !(dataset || base || kind)) return;
    const stop = new AbortController();
    void kindsOf({ kind, dataset, base }, stop.signal)
      .catch((): string[] => [])
      .then((kinds) => {
        if (stop.signal.aborted) return;
        const task = tasks.find((each) => kinds.includes(TASK_OF[each].kind));
        if (task) dispatch({ type: "task", task });
        if (dataset) dispatch({ type: "dataset", text: `datasets/${dataset}` });
        if (base) dispatch({ type: "baseModel", text: base });
        setSearch({}, { replace: true });
      });
    return () => stop.abort();
  }, [from, dataset, base, kind, tasks, dispatch, setSearch]);
  useEffect(() => {
    if (!from || !description) return;
    const stop = new AbortController();
    void get<GetJobResponseJson>(`/v1/jobs/${encodeURIComponent(from)}`, stop.signal)
      .then(({ job }) => {
        const spec = job?.spec?.training;
        const task = spec && taskOf(spec);
        if (!spec || !task || !tasks.includes(task)) return;
        const values = valuesOf(spec, fieldsOf(description, task));
        const draft = { ...emptyDraft(task), baseModel: spec.baseModel ?? "", dataset: spec.dataset ?? "", values };
        dispatch({ type: "load", draft });
        setTaken(job);
        setSearch({}, { replace: true });
      })
      .catch(() => undefined);
    return () => stop.abort();
  }, [from, description, tasks, dispatch, setSearch]);
  return taken ? jobTitle(t, taken) : "";
}
