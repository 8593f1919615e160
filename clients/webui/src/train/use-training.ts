/** What a form knows: the draft, what the server makes of it, and everything that is wrong with it. */

import { useEffect, useMemo, useReducer, useState } from "react";

import type { ApiError, FieldViolation } from "../api/http";
import type { EstimateJson } from "../gen/tuneyard/v1/job_pb";
import type { FineTuningMethodJson } from "../gen/tuneyard/v1/training_pb";
import { useT } from "../i18n";
import { changed, keepDraft, recallDraft, reduce, specOf } from "./draft";
import { useBaseModels, useDataset, useDevices, useEstimate, useFields, useRested, violationsOf } from "./queries";
import { choosing, jsonPath } from "./schema";
import { applies, CLIP_MODEL, METHOD, TASK_OF, type Task } from "./tasks";
import { outsideOf } from "./words";

export function useTraining(page: string, first: Task) {
  const t = useT();
  const words = t.training;
  const [draft, dispatch] = useReducer(reduce, undefined, () => recallDraft(page, first));
  useEffect(() => keepDraft(page, draft), [page, draft]);
  const { task } = draft;
  const description = useFields(task);
  const { models, clips } = useBaseModels(task);
  const dataset = useDataset(draft.dataset).data ?? undefined;
  const devices = useDevices(TASK_OF[task].family);

  // A base model is needed to say anything: the recommended one stands until another is chosen.
  const baseModel = draft.baseModel || (models.find((model) => model.isRecommended)?.id ?? "");
  const catalogued = models.find((model) => model.id === baseModel)?.recommended;
  const bestMethod: FineTuningMethodJson = catalogued?.languageModel?.method ?? "FINE_TUNING_METHOD_LORA";
  const typedMethod = draft.values[METHOD];
  const method = task === "language_model" ? ((typedMethod ?? bestMethod) as FineTuningMethodJson) : undefined;
  const all = description.fields;
  const typedClip = draft.values[CLIP_MODEL];
  // What another job had is shown, whether it is still there or not.
  const clipNames = [...new Set([...clips.map(({ name }) => name ?? ""), ...(typedClip ? [typedClip] : [])])].join(" ");
  const fields = useMemo(
    () =>
      (all ?? [])
        .filter((field) => applies(field.path, method))
        .map((field) => (field.path === CLIP_MODEL ? choosing(field, clipNames.split(" ").filter(Boolean)) : field)),
    [all, method, clipNames],
  );
  const made = useMemo(() => specOf({ ...draft, baseModel }, fields, words.notANumber), [draft, baseModel, fields, words]);
  const bare = useMemo(
    () => specOf({ ...draft, baseModel, values: typedMethod ? { [METHOD]: typedMethod } : {} }, fields, "").spec,
    [draft, baseModel, typedMethod, fields],
  );

  const isReady = dataset?.state === "DATASET_STATE_READY";
  // While the dataset is not ready, the server can still say which settings break their bounds.
  const asked = useMemo(() => (isReady ? made.spec : { ...made.spec, dataset: undefined }), [isReady, made]);
  const current = baseModel ? asked : undefined;
  const rested = useRested(current);
  const estimate = useEstimate(rested);
  const plain = useEstimate(isReady && baseModel ? bare : undefined);
  const figures = isReady ? estimate.data : undefined;
  // Figures of before stay, dimmed, while something typed breaks its bounds.
  const [last, setLast] = useState<EstimateJson>();
  if (figures?.memory && figures !== last) setLast(figures);
  const recommended = (isReady ? plain.data?.resolvedSpec?.training : undefined) ?? catalogued;
  const resolved = figures?.resolvedSpec?.training ?? recommended;

  const [refused, setRefused] = useState<{ of: string; violations: FieldViolation[] } | null>(null);
  const violations = useMemo(() => {
    const told = [
      ...made.violations,
      ...(estimate.isPlaceholderData ? [] : fromServer(estimate.data, isReady)),
      ...(refused?.of === draft.requestId ? refused.violations : []),
    ];
    const said = new Map(fields.map((field) => [field.path, outsideOf(t, field, draft.values[field.path] ?? "")]));
    return told.map((each) => ({ ...each, description: said.get(each.field) ?? each.description }));
  }, [t, fields, made, estimate.data, estimate.isPlaceholderData, isReady, refused, draft.values, draft.requestId]);
  const missing = useMemo(
    () => [
      ...(baseModel ? [] : [{ field: "baseModel", description: words.start.modelNeeded }]),
      ...datasetMissing(draft.dataset, dataset?.state, words.start),
    ],
    [baseModel, draft.dataset, dataset?.state, words],
  );
  const warnings = useMemo(
    () => new Map((figures?.warnings ?? []).map((each) => [jsonPath(each.field ?? ""), each.description ?? ""])),
    [figures],
  );
  // What the server said of other settings than those that stand there now keeps nobody from starting: it is asked again.
  const isCurrent = rested === current && !estimate.isPlaceholderData;
  return {
    draft,
    dispatch,
    description,
    fields,
    baseModel,
    method,
    bestMethod,
    dataset,
    devices,
    isReady,
    spec: made.spec,
    /** The violations that are known of the settings as they are now. */
    blocking: isCurrent ? violations : made.violations,
    /** The spec a moment after the last key; undefined until the dataset is ready. */
    rested: isReady ? rested : undefined,
    /** The spec with changes; undefined while nothing can be said of it. */
    specWith: (changes: Readonly<Record<string, string>>) => {
      if (!isReady || !baseModel) return undefined;
      const other = changed({ ...draft, baseModel }, changes);
      const by = other.values[METHOD] ?? method;
      return specOf({ ...draft, ...other }, (all ?? []).filter((field) => applies(field.path, by)), "").spec;
    },
    estimate,
    figures: isReady && !figures?.memory ? last : figures,
    isOld: isReady && (estimate.isPlaceholderData || !figures?.memory),
    recommended,
    resolved,
    violations,
    missing,
    warnings,
    refuse: (error: ApiError) => setRefused({ of: draft.requestId, violations: violationsOf(error).map(named) }),
  };
}

const named = (violation: { field?: string; description?: string }): FieldViolation => ({
  field: jsonPath(violation.field ?? ""),
  description: violation.description ?? "",
});

/** Without a dataset the server says that it is missing: that is told only on the start. */
const fromServer = (estimate: EstimateJson | undefined, isReady: boolean): FieldViolation[] =>
  (estimate?.violations ?? []).map(named).filter(({ field }) => isReady || field !== "dataset");

function datasetMissing(
  name: string,
  state: string | undefined,
  words: { datasetNeeded: string; uploadFirst: string; datasetInvalid: string },
): FieldViolation[] {
  if (!name) return [{ field: "dataset", description: words.datasetNeeded }];
  if (state === "DATASET_STATE_UPLOADING") return [{ field: "dataset", description: words.uploadFirst }];
  if (state === "DATASET_STATE_INVALID") return [{ field: "dataset", description: words.datasetInvalid }];
  return [];
}
