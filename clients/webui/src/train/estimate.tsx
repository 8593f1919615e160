/** What a training would need, beside the devices that there are; what is unusual; and what would fit instead. */

import type { ReactNode } from "react";

import { useSpeech, useT } from "../i18n";
import type { Messages } from "../i18n/en";
import { ApiError, type FieldViolation } from "../api/http";
import { bytes, count, duration, seconds } from "../format";
import type { AlternativeJson, EstimateJson, MemoryUseJson } from "../gen/tuneyard/v1/job_pb";
import type { DeviceJson } from "../gen/tuneyard/v1/system_pb";
import { Failure } from "../ui/parts";
import { textOf } from "./draft";
import { jsonPath } from "./schema";
import { Warning } from "./warning";
import { fieldName, labelOf, valueText } from "./words";

interface Props {
  estimate: EstimateJson | undefined;
  /** The figures are those of an older spec. */
  isOld: boolean;
  violations: readonly FieldViolation[];
  error: unknown;
  onRetry: () => void;
  /** Why there are no figures yet. */
  waiting: string;
  devices: readonly DeviceJson[] | undefined;
  hasAdapter: boolean;
  onApply: (label: string, changes: Record<string, string>) => void;
  onGo: (path: string) => void;
}

export function EstimatePanel({ estimate, isOld, violations, error, onRetry, waiting, devices, hasAdapter, onApply, onGo }: Props) {
  const words = useT().training.estimate;
  const known = estimate?.memory !== undefined;
  // Where the job fits, only what needs less is worth a choice.
  const better = (estimate?.alternatives ?? []).filter(
    ({ memory }) => estimate?.fits !== true || mainNeed(memory) < mainNeed(estimate.memory),
  );
  const isWaiting = error instanceof ApiError && error.problem.reason === "DATASET_NOT_READY";
  return (
    <div className="stack">
      {violations.length > 0 && (
        <Told
          className="violation"
          title={words.violations(violations.length)}
          told={violations.map(({ field, description }) => [field, description])}
          onGo={onGo}
        />
      )}
      {!known && <p className="muted">{waiting || (isWaiting ? words.needUpload : "")}</p>}
      {error !== null && !isWaiting && !known && <Failure error={error} retry={onRetry} />}
      {devices?.length === 0 && <p className="note warning">{words.noDevice}</p>}
      {known && (
        <div className={`stack ${isOld ? "old" : ""}`}>
          <Devices estimate={estimate} devices={devices ?? []} />
          <Facts estimate={estimate} hasAdapter={hasAdapter} />
        </div>
      )}
      {better.length > 0 && <Alternatives alternatives={better} onApply={onApply} />}
      {estimate?.warnings?.length ? (
        <Told
          className="unusual"
          title={words.warnings(estimate.warnings.length)}
          told={estimate.warnings.map(({ field, description }) => [jsonPath(field ?? ""), description ?? ""])}
          say={(text) => <Warning told={text} />}
          onGo={onGo}
        />
      ) : null}
    </div>
  );
}

interface ToldOf {
  className: string;
  title: string;
  told: readonly [path: string, text: string][];
  say?: (text: string) => ReactNode;
  onGo: Props["onGo"];
}

/** What is told of fields, each with a way to it. */
function Told({ className, title, told, say = (text) => text, onGo }: ToldOf) {
  const t = useT();
  return (
    <div className="stack tight small">
      <p className={className}>{title}</p>
      <ul className="stack tight">
        {told.map(([path, text]) => (
          <li key={`${path} ${text}`} className="break">
            <button type="button" className="textlink" onClick={() => onGo(path)}>
              {fieldName(t, path)}
            </button>
            {t.training.colon}
            {say(text)}
          </li>
        ))}
      </ul>
    </div>
  );
}

/** The bytes that count on a device, and those that the panel speaks of. */
const needOn = (device: DeviceJson, memory: MemoryUseJson | undefined) =>
  Number((device.id === "cpu" ? memory?.hostBytes : memory?.deviceBytes) ?? 0);
export const mainNeed = (memory: MemoryUseJson | undefined) => Number(memory?.deviceBytes ?? 0) || Number(memory?.hostBytes ?? 0);

export function largest(devices: readonly DeviceJson[], memory: MemoryUseJson | undefined): DeviceJson | undefined {
  const able = devices.filter((device) => needOn(device, memory) > 0);
  return able.sort((a, b) => Number(b.memoryTotalBytes ?? 0) - Number(a.memoryTotalBytes ?? 0))[0];
}

function Devices({ estimate, devices }: { estimate: EstimateJson; devices: readonly DeviceJson[] }) {
  const t = useT();
  const words = t.training.estimate;
  const biggest = largest([...devices], estimate.memory);
  const able = devices.filter((device) => needOn(device, estimate.memory) > 0);
  const label = Number(estimate.memory?.deviceBytes ?? 0) ? words.deviceMemory : words.memory;
  return (
    <div className="stack tight">
      {able.length === 0 && (
        <p className="row spread">
          <span className="text-2">{label}</span>
          <strong className="figure">{bytes(mainNeed(estimate.memory))}</strong>
        </p>
      )}
      {able.map((device) => {
        const need = needOn(device, estimate.memory);
        const total = Number(device.memoryTotalBytes ?? 0);
        return (
          <div key={device.id} className="stack tighter">
            <p className="row spread">
              <span className="text-2">
                {label} <span className="mono muted">{device.id}</span>
              </span>
              <strong className="figure">{words.of(bytes(need), bytes(total))}</strong>
            </p>
            <progress className={need > total ? "over" : undefined} max={total} value={need} aria-label={`${label} ${device.id}`} />
          </div>
        );
      })}
      {estimate.fits !== true && biggest && (
        <p className="note danger">
          {words.doesNotFit(bytes(mainNeed(estimate.memory)), biggest.id ?? "", bytes(biggest.memoryTotalBytes))}
        </p>
      )}
    </div>
  );
}

function Facts({ estimate, hasAdapter }: { estimate: EstimateJson; hasAdapter: boolean }) {
  const t = useT();
  const words = t.training.estimate;
  const time = seconds(estimate.duration);
  const rows: [string, string][] = [
    [words.time, time === undefined ? words.unknown : words.about(duration(time))],
    [words.steps, count(estimate.totalSteps)],
    [words.batch, count(estimate.effectiveBatchSize)],
    [words.samples, words.split(count(estimate.trainSamples), count(estimate.validationSamples))],
    [words.disk, bytes(estimate.diskBytes)],
    [hasAdapter ? words.adapter : words.artifacts, bytes(estimate.artifactBytes)],
  ];
  return (
    <dl className="figures">
      {rows.map(([name, value]) => (
        <div key={name} className="row spread">
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function Alternatives({ alternatives, onApply }: { alternatives: readonly AlternativeJson[]; onApply: Props["onApply"] }) {
  const { t, language } = useSpeech();
  return (
    <div className="stack tight">
      <p className="small muted">{t.training.estimate.alternatives}</p>
      {alternatives.map((alternative) => {
        const changes = changesOf(alternative);
        const told = Object.entries(changes).map(([path, text]) => `${labelOf(t, path)} ${valueText(t, text)}`);
        const label = language === "en" ? (alternative.description ?? told.join(", ")) : told.join("，");
        return (
          <button key={alternative.description} type="button" className="button spread" onClick={() => onApply(label, changes)}>
            <span className="break">{label}</span>
            <span className="muted">{bytes(mainNeed(alternative.memory))}</span>
          </button>
        );
      })}
    </div>
  );
}

const changesOf = (alternative: AlternativeJson) =>
  Object.fromEntries(Object.entries(alternative.changes ?? {}).map(([path, literal]) => [jsonPath(path), textOf(JSON.parse(literal))]));

/** "6.1 GB of 24 GB · about 12 min": an estimate in one line. */
export function summaryOf(t: Messages, estimate: EstimateJson | undefined, devices: readonly DeviceJson[] = []): string {
  const words = t.training.estimate;
  if (!estimate?.memory) return words.title;
  const device = largest([...devices], estimate.memory);
  const memory = bytes(mainNeed(estimate.memory));
  const time = seconds(estimate.duration);
  return [device ? words.of(memory, bytes(device.memoryTotalBytes)) : memory, time === undefined ? "" : words.about(duration(time))]
    .filter(Boolean)
    .join(" · ");
}
