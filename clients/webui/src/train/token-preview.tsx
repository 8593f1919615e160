/** What a fine-tuning trains on, token by token, as its own tokenizer and template make it. */

import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { post } from "../api/http";
import { count, percent } from "../format";
import type { PreviewJson, PreviewRowJson, PreviewTotalsJson } from "../gen/tuneyard/v1/preview_pb";
import type { TrainingSpecJson } from "../gen/tuneyard/v1/training_pb";
import type { PreviewResponseJson } from "../gen/tuneyard/v1/training_service_pb";
import { useT } from "../i18n";
import { Button, Failure, Loading } from "../ui/parts";
import { Histogram, trimmed, type Bin } from "../ui/histogram";

const ROWS = 5;

/** The preview of a spec: of what makes its tokens, so that other settings do not ask again. */
export function usePreview(spec: TrainingSpecJson | undefined, firstRow = 0) {
  const { dataset, baseModel, baseModelRevision, languageModel } = spec ?? {};
  const asked = { dataset, baseModel, baseModelRevision, languageModel: languageModel ?? {} };
  return useQuery({
    queryKey: ["preview", JSON.stringify(asked), firstRow],
    queryFn: async ({ signal }) =>
      (await post<PreviewResponseJson>("/v1/jobs:preview", { spec: asked, firstRow: String(firstRow), maxRows: ROWS }, signal)).preview ?? {},
    enabled: Boolean(dataset && baseModel),
    placeholderData: keepPreviousData,
    staleTime: 60_000,
  });
}

export function TokenPreview({ spec }: { spec: TrainingSpecJson }) {
  const t = useT();
  const words = t.training.preview;
  const [first, setFirst] = useState(0);
  const found = usePreview(spec, first);
  const preview = found.data;
  return (
    <details className="preview" open>
      <summary>{words.tokens}</summary>
      <div className="stack tight" aria-busy={found.isFetching}>
        {found.isPending && <Loading lines={4} />}
        {found.isError && <Failure error={found.error} retry={() => void found.refetch()} />}
        {preview && !found.isError && (
          <div className={`stack tight${found.isPlaceholderData ? " dimmed" : ""}`}>
            <Totals preview={preview} />
            {preview.rows?.map((row) => (
              <Row key={`${row.path}:${row.line}`} row={row} />
            ))}
            <Pages first={first} rows={Number(preview.rowCount ?? 0)} onGo={setFirst} />
          </div>
        )}
      </div>
    </details>
  );
}

/** "42 % of tokens are trained on. 3 of 80 rows are cut at 2,048 tokens." */
function Totals({ preview }: { preview: PreviewJson }) {
  const t = useT();
  const words = t.training.preview;
  const totals = preview.totals ?? {};
  const number = (name: keyof PreviewTotalsJson) => Number(totals[name] ?? 0);
  const limit = preview.maxLength ?? 0;
  const told = [
    words.trainedShare(percent(number("trainedTokens") / Math.max(1, number("keptTokens")))),
    number("cutRows") > 0 && words.cut(number("cutRows"), count(limit)),
    number("maskedRows") > 0 && words.masked(number("maskedRows")),
    number("refusedRows") > 0 && words.refused(number("refusedRows")),
    number("rows") < Number(preview.rowCount ?? 0) && words.part(count(number("rows")), count(preview.rowCount)),
  ].filter(Boolean);
  const isUnusual = number("cutRows") + number("maskedRows") + number("refusedRows") > 0;
  return (
    <>
      <p className={isUnusual ? "unusual" : undefined}>{told.join(" ")}</p>
      <p className="small muted">
        {words.template(preview.chatTemplate === "tokenizer" ? words.ownTemplate : (preview.chatTemplate ?? "–"), preview.endToken ?? "")}
      </p>
      {preview.notices?.map((notice) => (
        <p key={notice.code} className="note warning">
          {notice.message}
        </p>
      ))}
      <TokenLengths preview={preview} />
    </>
  );
}

function TokenLengths({ preview }: { preview: PreviewJson }) {
  const t = useT();
  const title = t.training.preview.lengths(count(preview.totals?.longestTokens));
  const bins = binsOf(preview);
  if (!bins.length) return null;
  return (
    <details>
      <summary className="small">{title}</summary>
      <Histogram label={title} bins={bins} />
    </details>
  );
}

/** Rows by their length; those that are surely cut stand out. */
export function binsOf(preview: PreviewJson): readonly Bin[] {
  const buckets = preview.totals?.histogram ?? [];
  const bins = buckets.map((bucket, index) => {
    const upTo = Number(bucket.upToTokens ?? 0);
    const before = Number(buckets[index - 1]?.upToTokens ?? 0);
    return {
      label: upTo ? `≤ ${count(upTo)}` : `> ${count(before)}`,
      count: Number(bucket.rows ?? 0),
      isOver: before >= (preview.maxLength || Infinity),
    };
  });
  return trimmed(bins);
}

function Row({ row }: { row: PreviewRowJson }) {
  const t = useT();
  const words = t.training.preview;
  const title = `${row.path} · ${words.line(Number(row.line ?? 0))}`;
  return (
    <article className="turns" aria-label={title}>
      <p className="small muted">
        {title} · {words.ofTokens(count(row.trainedTokens), count(row.tokens))}
        {Number(row.cutTokens ?? 0) > 0 && ` · ${words.cutTokens(count(row.cutTokens))}`}
      </p>
      {row.refusal && <p className="violation">{row.refusal}</p>}
      <p className="tokens">
        {row.texts?.map((part, index) => {
          const looks = [part.isTrained && "trained", part.isControl && "control", part.isCut && "cut"].filter(Boolean).join(" ");
          return looks ? (
            <span key={index} className={looks}>
              {part.text}
            </span>
          ) : (
            part.text
          );
        })}
        {row.isShortened && <span className="muted"> {words.shortened}</span>}
      </p>
    </article>
  );
}

function Pages({ first, rows, onGo }: { first: number; rows: number; onGo: (first: number) => void }) {
  const t = useT();
  const words = t.training.preview;
  if (rows <= ROWS) return null;
  return (
    <p className="row small">
      <Button disabled={first === 0} onClick={() => onGo(Math.max(0, first - ROWS))} aria-label={words.before}>
        ←
      </Button>
      {words.rows(count(first + 1), count(Math.min(rows, first + ROWS)), count(rows))}
      <Button disabled={first + ROWS >= rows} onClick={() => onGo(first + ROWS)} aria-label={words.after}>
        →
      </Button>
    </p>
  );
}
