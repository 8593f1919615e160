/**
 * Everything about one job, from its record and its event log: the metrics as columns, the other events listed by
 * kind, then the stream from where the columns end. Each event is taken once and in order: its sequence says so.
 */

import { ApiError, get, idOf } from "../api/http";
import { jobMetrics } from "../api/metrics";
import { follow } from "../api/stream";
import type { CheckpointJson, JobEventJson, SampleEventJson } from "../gen/tuneyard/v1/event_pb";
import type { JobJson, ProgressEventJson } from "../gen/tuneyard/v1/job_pb";
import type { GetJobResponseJson, ListJobEventsResponseJson } from "../gen/tuneyard/v1/training_service_pb";
import { isEnded } from "../states";
import { Curve } from "./curves";
import { endsTold } from "./notices";

export interface Stage {
  name: string;
  detail: string;
  /** Seconds; undefined while it goes on. */
  took: number | undefined;
}

export interface Mark {
  step: number;
  kind: "checkpoint" | "best" | "attempt" | "oom" | "rollback";
  text: string;
}

export interface JobView {
  job: JobJson | undefined;
  error: ApiError | undefined;
  connected: boolean;
  loaded: boolean;
  curves: ReadonlyMap<string, Curve>;
  marks: readonly Mark[];
  stages: readonly Stage[];
  samples: readonly { step: number; sequence: string; sample: SampleEventJson }[];
  lines: readonly JobEventJson[];
  advice: readonly JobEventJson[];
  checkpoints: readonly CheckpointJson[];
  artifacts: number;
  /** What the job says of its result. */
  summary: string;
  sequence: number;
}

const LISTED = [
  "stage", "checkpoint", "sample", "log", "warning", "advice", "oom_recovered", "rolled_back", "state_change", "artifact", "result",
];
const PAGE = 5000;

/** Before anything was read. */
const NOTHING: JobView = {
  job: undefined,
  error: undefined,
  connected: true,
  loaded: false,
  curves: new Map(),
  marks: [],
  stages: [],
  samples: [],
  lines: [],
  advice: [],
  checkpoints: [],
  artifacts: 0,
  summary: "",
  sequence: 0,
};

export class JobStore {
  private readonly name: string;
  private view: JobView = NOTHING;
  private readonly listeners = new Set<() => void>();
  private stopFollowing: (() => void) | undefined;
  private opening = false;
  private told = 0;
  private telling = false;

  constructor(id: string) {
    this.name = `jobs/${id}`;
  }

  readonly snapshot = (): JobView => this.view;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    if (this.listeners.size === 1) void this.open();
    return () => {
      this.listeners.delete(listener);
      if (this.listeners.size === 0) this.close();
    };
  };

  private close() {
    this.stopFollowing?.();
    this.stopFollowing = undefined;
  }

  private async open(): Promise<void> {
    if (this.view.loaded) {
      this.followOn();
      return;
    }
    if (this.opening) return;
    this.opening = true;
    try {
      const metrics = await jobMetrics(this.name);
      const curves = new Map(metrics.columns.map((column) => [column.name, Curve.of(column)]));
      const reached = metrics.lastSequence;
      // Nothing of an earlier try that was cut short stays: its events would be there twice.
      this.view = { ...NOTHING, curves };
      // The record is asked for after the curves: an older one would miss changes that no later event tells.
      const record = get<GetJobResponseJson>(`/v1/${this.name}`);
      const past = this.takePast(reached);
      // Both are over before anything is tried again, whichever of them failed.
      await Promise.allSettled([record, past]);
      await past;
      this.view = { ...this.view, job: (await record).job, loaded: true, sequence: reached };
      this.tell();
      if (this.listeners.size > 0) this.followOn();
    } catch (error) {
      if (error instanceof ApiError) this.view = { ...this.view, error };
      else throw error;
      this.tell();
      if (error.passes && this.listeners.size > 0) setTimeout(() => this.listeners.size > 0 && void this.open(), 2000);
    } finally {
      this.opening = false;
    }
  }

  /** The events up to a sequence, but for progress and metrics. */
  private async takePast(reached: number): Promise<void> {
    const kinds = LISTED.map((kind) => `kinds=${kind}`).join("&");
    let after = 0;
    while (after < reached) {
      const page = await get<ListJobEventsResponseJson>(`/v1/${this.name}/events?${kinds}&afterSequence=${after}&pageSize=${PAGE}`);
      const events = (page.events ?? []).filter((event) => Number(event.sequence) <= reached);
      for (const event of events) this.take(event, true);
      if (!page.nextAfterSequence) return;
      after = Number(page.nextAfterSequence);
    }
  }

  private followOn() {
    if (this.stopFollowing || (this.view.job && isEnded(this.view.job.state) && this.view.sequence >= Number(this.view.job.lastSequence)))
      return;
    this.stopFollowing = follow({
      url: () => `/v1/${this.name}:watch?afterSequence=${this.view.sequence}`,
      isKept: () => endsTold.has(this.name),
      onEvents: (events) => {
        for (const event of events) this.takeLive(JSON.parse(event.data) as JobEventJson);
        this.tell();
      },
      onConnected: (connected) => {
        this.view = { ...this.view, connected };
        this.tell();
      },
      onRefused: (error) => {
        this.view = { ...this.view, error };
        this.tell();
      },
    });
  }

  private takeLive(event: JobEventJson) {
    const sequence = Number(event.sequence);
    // Smaller: seen already. Larger: something is missing, and the next connection begins at what is known.
    if (sequence !== this.view.sequence + 1) {
      if (sequence > this.view.sequence + 1) {
        this.close();
        this.followOn();
      }
      return;
    }
    this.view = { ...this.view, sequence };
    this.take(event, false);
  }

  private take(event: JobEventJson, past: boolean) {
    const view = this.view;
    if (event.metrics) this.takeMetrics(event);
    else if (event.progress) this.patch({ progress: event.progress });
    else if (event.stateChange) this.takeState(event, past);
    else if (event.stage) this.view = { ...view, stages: withStage(view.stages, event) };
    else if (event.checkpoint) this.takeCheckpoint(event);
    else if (event.sample)
      this.view = {
        ...view,
        samples: [...view.samples, { step: Number(event.sample.step ?? 0), sequence: event.sequence ?? "", sample: event.sample }],
      };
    else if (event.advice) this.view = { ...view, advice: [...view.advice, event] };
    else if (event.result) this.view = { ...view, summary: event.result.summary ?? "" };
    else if (event.artifact) this.view = { ...view, artifacts: view.artifacts + 1 };
    else if (event.oomRecovered)
      this.mark(Number(event.oomRecovered.step ?? 0), "oom", `${event.oomRecovered.oldBatchSize} → ${event.oomRecovered.newBatchSize}`);
    else if (event.rolledBack) {
      const step = Number(event.rolledBack.toStep ?? 0);
      if (!past) this.cut(step);
      this.mark(step, "rollback", `× ${event.rolledBack.learningRateFactor ?? ""}`);
    }
    if (event.log || event.warning || event.advice || event.stateChange || event.oomRecovered || event.rolledBack)
      this.view = { ...this.view, lines: [...this.view.lines, event] };
  }

  private takeMetrics(event: JobEventJson) {
    const curves = new Map(this.view.curves);
    const latest = { ...this.view.job?.metrics };
    const step = Number(event.metrics?.step ?? 0);
    const time = Date.parse(event.time ?? "");
    for (const [name, value] of Object.entries(event.metrics?.values ?? {})) {
      const curve = curves.get(name) ?? new Curve();
      curve.push(step, Number(value), Number(event.metrics?.epoch ?? 0), time);
      curves.set(name, curve);
      const best = Number(latest[name]?.best ?? value);
      const better = /(loss|perplexity)$/.test(name) ? Math.min(best, Number(value)) : Math.max(best, Number(value));
      latest[name] = { ...latest[name], latest: Number(value), best: better };
    }
    this.view = { ...this.view, curves };
    this.patch({ metrics: latest });
  }

  private takeState(event: JobEventJson, past: boolean) {
    const change = event.stateChange!;
    const from = change.resumedFromStep;
    if (!past) {
      this.patch({ state: change.to, attemptCount: Math.max(event.attempt ?? 0, this.view.job?.attemptCount ?? 0) });
      if (change.to === "JOB_STATE_STARTING") this.cut(Number(from ?? 0));
      if (isEnded(change.to) || change.to === "JOB_STATE_PAUSED") void this.refresh();
    }
    if (change.to === "JOB_STATE_STARTING" && (event.attempt ?? 1) > 1)
      this.mark(Number(from ?? 0), "attempt", String(event.attempt));
  }

  private takeCheckpoint(event: JobEventJson) {
    const checkpoint = event.checkpoint?.checkpoint;
    if (!checkpoint) return;
    this.view = { ...this.view, checkpoints: [...this.view.checkpoints, checkpoint] };
    this.mark(Number(checkpoint.step ?? 0), checkpoint.best ? "best" : "checkpoint", "");
  }

  private mark(step: number, kind: Mark["kind"], text: string) {
    this.view = { ...this.view, marks: [...this.view.marks, { step, kind, text }] };
  }

  private cut(afterStep: number) {
    for (const curve of this.view.curves.values()) curve.cut(afterStep);
  }

  private patch(change: Partial<JobJson> & { progress?: ProgressEventJson }) {
    this.view = { ...this.view, job: { ...this.view.job, ...change } };
  }

  /** The record anew: the end brings facts that no event carries. */
  private async refresh(): Promise<void> {
    try {
      const { job } = await get<GetJobResponseJson>(`/v1/${this.name}`);
      // What the stream told meanwhile is newer.
      if (Number(job?.lastSequence ?? 0) < this.view.sequence) return await this.refresh();
      this.view = { ...this.view, job };
      this.tell();
    } catch {
      // The stream tells what goes on; the record is asked for again when the page is opened anew.
    }
  }

  /** Tells the page, at most ten times a second. */
  private tell() {
    if (this.telling) return;
    this.telling = true;
    const wait = Math.max(0, 100 - (performance.now() - this.told));
    setTimeout(() => {
      this.telling = false;
      this.told = performance.now();
      for (const listener of this.listeners) listener();
    }, wait);
  }
}

function withStage(stages: readonly Stage[], event: JobEventJson): Stage[] {
  const stage = event.stage!;
  const took = stage.elapsed ? Number(stage.elapsed.slice(0, -1)) : undefined;
  const name = stage.name ?? "";
  const open = stages.findIndex((each) => each.name === name && each.took === undefined);
  const told = { name, detail: stage.detail ?? "", took: stage.done ? (took ?? 0) : undefined };
  if (open < 0) return [...stages, told];
  return stages.map((each, index) => (index === open ? told : each));
}

const stores = new Map<string, JobStore>();

/** The store of a job, kept while the app lives: going back to a page shows at once what was known. */
export function storeOf(id: string): JobStore {
  const found = stores.get(id) ?? new JobStore(idOf(`jobs/${id}`));
  stores.set(id, found);
  return found;
}
