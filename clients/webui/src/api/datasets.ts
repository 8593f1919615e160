/** Datasets as the pages ask for them: lists, one with its report, its files and lines. */

import { useQuery } from "@tanstack/react-query";

import type { DatasetJson } from "../gen/tuneyard/v1/dataset_pb";
import type {
  GetDatasetResponseJson,
  ListDatasetFilesResponseJson,
  ListDatasetsResponseJson,
  ReadDatasetLinesResponseJson,
} from "../gen/tuneyard/v1/dataset_service_pb";
import { get, idOf } from "./http";

const isMoving = (dataset: DatasetJson) =>
  dataset.state === "DATASET_STATE_UPLOADING" || dataset.state === "DATASET_STATE_VALIDATING";

export function useDatasets() {
  return useQuery({
    queryKey: ["datasets"],
    queryFn: async ({ signal }) => {
      const found: DatasetJson[] = [];
      let token = "";
      do {
        const query = new URLSearchParams({ pageSize: "200", pageToken: token });
        const page = await get<ListDatasetsResponseJson>(`/v1/datasets?${query}`, signal);
        found.push(...(page.datasets ?? []));
        token = page.nextPageToken ?? "";
      } while (token);
      return found;
    },
    refetchInterval: (query) => (query.state.data?.some(isMoving) ? 1_000 : 10_000),
  });
}

export function useDataset(id: string) {
  return useQuery({
    queryKey: ["dataset", id],
    queryFn: async ({ signal }) => (await get<GetDatasetResponseJson>(`/v1/datasets/${id}`, signal)).dataset ?? {},
    refetchInterval: (query) => (query.state.data && isMoving(query.state.data) ? 500 : false),
  });
}

export function useDatasetFiles(dataset: DatasetJson, prefix: string, pageSize: number, enabled = true) {
  return useQuery({
    queryKey: ["dataset-files", dataset.name, dataset.sha256, prefix, pageSize],
    queryFn: ({ signal }) => {
      const query = new URLSearchParams({ prefix, pageSize: String(pageSize) });
      return get<ListDatasetFilesResponseJson>(`/v1/${dataset.name}/files?${query}`, signal);
    },
    enabled,
    staleTime: Infinity,
  });
}

export function useDatasetLines(dataset: DatasetJson, path: string, firstLine: number, maxLines: number, enabled = true) {
  return useQuery({
    queryKey: ["dataset-lines", dataset.name, dataset.sha256, path, firstLine, maxLines],
    queryFn: async ({ signal }) => {
      const query = new URLSearchParams({ path, firstLine: String(firstLine), maxLines: String(maxLines) });
      return (await get<ReadDatasetLinesResponseJson>(`/v1/${dataset.name}:readLines?${query}`, signal)).lines ?? [];
    },
    enabled,
    staleTime: Infinity,
  });
}

/** Where a file's bytes are. The hash takes care that another dataset of this id is not shown from a cache. */
export const fileUrl = (dataset: DatasetJson, path: string) =>
  `/v1/datasets/${idOf(dataset.name)}/files/${path.split("/").map(encodeURIComponent).join("/")}:download?of=${(dataset.sha256 ?? "").slice(0, 12)}`;

/** Extensions of pictures that browsers show. */
export const isPicture = (path: string) => /\.(png|jpe?g|webp|gif|bmp)$/i.test(path);
