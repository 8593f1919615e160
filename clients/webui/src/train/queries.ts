/** What a form asks of the server: fields, base models, datasets, devices, and the estimate of what was typed. */

import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useEffect, useMemo, useState } from "react";

import { clipModels } from "../api/models";
import { ApiError, get, idOf, post, type FieldViolation } from "../api/http";
import type { GetDatasetResponseJson, ListDatasetsResponseJson } from "../gen/tuneyard/v1/dataset_service_pb";
import type { DatasetFormatJson, DatasetJson } from "../gen/tuneyard/v1/dataset_pb";
import type { EstimateJson } from "../gen/tuneyard/v1/job_pb";
import type { ListBaseModelsResponseJson, ListModelsResponseJson } from "../gen/tuneyard/v1/model_service_pb";
import type { DeviceJson } from "../gen/tuneyard/v1/system_pb";
import type { ListTrainersResponseJson } from "../gen/tuneyard/v1/system_service_pb";
import type { EstimateResponseJson } from "../gen/tuneyard/v1/training_service_pb";
import type { FamilyJson, TrainingSpecJson } from "../gen/tuneyard/v1/training_pb";
import { fieldsOf, type OpenApi } from "./schema";
import { TASK_OF, type Task } from "./tasks";

/** The server's description of itself, which tells what settings there are. */
export const useDescription = () =>
  useQuery({ queryKey: ["openapi"], queryFn: ({ signal }) => get<OpenApi>("/openapi.json", signal), staleTime: Infinity });

export function useFields(task: Task) {
  const { data, error, refetch } = useDescription();
  const fields = useMemo(() => data && fieldsOf(data, task), [data, task]);
  return { fields, error, refetch };
}

/** The catalogue's models for a task, and those of the store; those that score what its trainer draws are no bases. */
export function useBaseModels(task: Task) {
  const { kind, family } = TASK_OF[task];
  const catalogue = useQuery({
    queryKey: ["base-models", kind],
    queryFn: ({ signal }) => get<ListBaseModelsResponseJson>(`/v1/baseModels?task=${kind}&pageSize=1000`, signal),
  });
  const store = useQuery({
    queryKey: ["models", family],
    queryFn: ({ signal }) => get<ListModelsResponseJson>(`/v1/models?family=${family}&pageSize=1000`, signal),
  });
  const stored = store.data?.models ?? [];
  const own = stored.filter((model) => model.state === "MODEL_STATE_READY" && model.tasks?.includes(kind));
  return { ...catalogue, models: catalogue.data?.baseModels ?? [], own, clips: clipModels(stored), store };
}

export function useDatasets(format: DatasetFormatJson) {
  return useQuery({
    queryKey: ["datasets", format],
    queryFn: ({ signal }) => get<ListDatasetsResponseJson>(`/v1/datasets?format=${format}&pageSize=200`, signal),
  });
}

const isMoving = (dataset: DatasetJson | undefined) =>
  dataset?.state === "DATASET_STATE_UPLOADING" || dataset?.state === "DATASET_STATE_VALIDATING";

/** One dataset, asked again while it is being received and checked. */
export function useDataset(name: string) {
  return useQuery({
    queryKey: ["dataset", name],
    queryFn: async ({ signal }) => (await get<GetDatasetResponseJson>(`/v1/datasets/${idOf(name)}`, signal)).dataset ?? null,
    enabled: name !== "",
    refetchInterval: ({ state }) => (isMoving(state.data ?? undefined) ? 700 : false),
  });
}

export function useDevices(family: FamilyJson): readonly DeviceJson[] | undefined {
  const { data } = useQuery({
    queryKey: ["trainers"],
    queryFn: ({ signal }) => get<ListTrainersResponseJson>("/v1/trainers", signal),
  });
  return data && (data.trainers ?? []).filter((trainer) => trainer.family === family).flatMap((trainer) => trainer.devices ?? []);
}

/** A value once it has rested for a while. */
export function useRested<V>(value: V, milliseconds = 300): V {
  const [rested, setRested] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setRested(value), milliseconds);
    return () => clearTimeout(timer);
  }, [value, milliseconds]);
  return rested;
}

/** What the server makes of a spec; the older call is given up when the spec changes, its answer shown until then. */
export function useEstimate(spec: TrainingSpecJson | undefined) {
  const text = spec ? JSON.stringify(spec) : "";
  return useQuery({
    queryKey: ["estimate", text],
    queryFn: ({ signal }) => estimated(text, signal),
    enabled: text !== "",
    placeholderData: keepPreviousData,
    staleTime: 30_000,
    // A browser that says it is offline still reaches a server on the same machine.
    networkMode: "always",
  });
}

async function estimated(text: string, signal: AbortSignal): Promise<EstimateJson> {
  try {
    return (await post<EstimateResponseJson>("/v1/jobs:estimate", { spec: JSON.parse(text) as unknown }, signal)).estimate ?? {};
  } catch (error) {
    const violations = violationsOf(error);
    if (violations.length) return { violations };
    throw error;
  }
}

export const violationsOf = (error: unknown): FieldViolation[] => (error instanceof ApiError ? (error.problem.violations ?? []) : []);
