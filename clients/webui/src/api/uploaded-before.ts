/** Whether a file is here already: the same bytes under the same name, as the SDK takes up what it has sent before. */

import type { ListDatasetsResponseJson } from "../gen/tuneyard/v1/dataset_service_pb";
import type { DatasetFormatJson, DatasetJson } from "../gen/tuneyard/v1/dataset_pb";
import { get } from "./http";

/** A browser hashes a file only as a whole, in memory: half a second for one of this size. Larger ones are sent again. */
const MOST_BYTES = 256e6;
/** How many datasets are looked through, newest first. */
const LOOKED_THROUGH = 200;

/** The dataset that a file has become before, where its check did not end badly. Nothing is read where none has its name and size. */
export async function uploadedBefore(file: File, format: DatasetFormatJson): Promise<DatasetJson | undefined> {
  // Browsers hash only for addresses that they trust.
  if (file.size > MOST_BYTES || !globalThis.crypto.subtle) return undefined;
  const query = new URLSearchParams({ format, pageSize: String(LOOKED_THROUGH) });
  const { datasets } = await get<ListDatasetsResponseJson>(`/v1/datasets?${query}`);
  const alike = (datasets ?? []).filter(
    ({ state, displayName, sizeBytes }) =>
      (state === "DATASET_STATE_READY" || state === "DATASET_STATE_VALIDATING") && displayName === file.name && Number(sizeBytes) === file.size,
  );
  if (!alike.length) return undefined;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await file.arrayBuffer()));
  const sha256 = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return alike.find((dataset) => dataset.sha256 === sha256);
}
