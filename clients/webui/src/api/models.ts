/** What jobs can start from: the catalogue of base models, and the models of the store. */

import { useQuery } from "@tanstack/react-query";

import type {
  BaseModelJson,
  GetModelResponseJson,
  ListBaseModelsResponseJson,
  ListModelsResponseJson,
  ModelJson,
} from "../gen/tuneyard/v1/model_service_pb";
import { get } from "./http";

/** Every page of a list. */
async function collected<P extends { nextPageToken?: string }, T>(
  path: string,
  items: (page: P) => T[] | undefined,
  signal: AbortSignal,
): Promise<T[]> {
  const found: T[] = [];
  let token = "";
  do {
    const page = await get<P>(`${path}?${new URLSearchParams({ pageSize: "200", pageToken: token })}`, signal);
    found.push(...(items(page) ?? []));
    token = page.nextPageToken ?? "";
  } while (token);
  return found;
}

export function useBaseModels() {
  return useQuery({
    queryKey: ["base-models"],
    queryFn: ({ signal }) =>
      collected<ListBaseModelsResponseJson, BaseModelJson>("/v1/baseModels", (page) => page.baseModels, signal),
    staleTime: 30_000,
  });
}

export function useModels() {
  return useQuery({
    queryKey: ["models"],
    queryFn: ({ signal }) => collected<ListModelsResponseJson, ModelJson>("/v1/models", (page) => page.models, signal),
    refetchInterval: (query) => (query.state.data?.some(({ state }) => state === "MODEL_STATE_IMPORTING" || state === "MODEL_STATE_UPLOADING") ? 1_000 : 10_000),
  });
}

export function useModel(id: string) {
  return useQuery({
    queryKey: ["model", id],
    queryFn: async ({ signal }) => (await get<GetModelResponseJson>(`/v1/models/${id}`, signal)).model ?? {},
    refetchInterval: ({ state: { data } }) =>
      data?.state === "MODEL_STATE_IMPORTING" ? 500 : data?.state === "MODEL_STATE_UPLOADING" ? 2_000 : false,
  });
}

/** Those that score pictures: they are no base, and no training makes them. */
export const clipModels = (models: readonly ModelJson[]) =>
  models.filter((model) => model.state === "MODEL_STATE_READY" && model.architecture === "CLIPModel");
