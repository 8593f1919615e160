/** What the address of a form asks for: the settings of a job, a dataset, a base model. */

import { useEffect, useState } from "react";
import { useSearchParams } from "wouter";

import { get } from "../api/http";
import type { GetJobResponseJson } from "../gen/tuneyard/v1/training_service_pb";
import { jobTitle } from "../job";
import { emptyDraft, taskOf, valuesOf, type Action } from "./draft";
import { useDescription } from "./queries";
import { fieldsOf } from "./schema";
import { TASK_OF, type Task } from "./tasks";

/** Takes it up once, and takes it out of the address; says whose settings were taken. */
export function useAsked(tasks: readonly Task[], dispatch: (action: Action) => void): string {
  const [search, setSearch] = useSearchParams();
  const [taken, setTaken] = useState("");
  const { data: description } = useDescription();
  const [from, dataset, base, kind] = ["from", "dataset", "base", "task"].map((name) => search.get(name) ?? "");
  useEffect(() => {
    if (from || !(dataset || base || kind)) return;
    const task = tasks.find((each) => each === kind || TASK_OF[each].kind === kind);
    if (task) dispatch({ type: "task", task });
    if (dataset) dispatch({ type: "dataset", text: dataset.startsWith("datasets/") ? dataset : `datasets/${dataset}` });
    if (base) dispatch({ type: "baseModel", text: base });
    setSearch({}, { replace: true });
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
        setTaken(jobTitle(job));
        setSearch({}, { replace: true });
      })
      .catch(() => undefined);
    return () => stop.abort();
  }, [from, description, tasks, dispatch, setSearch]);
  return taken;
}
