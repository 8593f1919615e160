/** A page that starts a training: model, dataset, settings, and beside them what it would need and the start. */

import { useCallback, useEffect, useMemo, useRef, useState, type ReactNode } from "react";

import { ApiError, type FieldViolation } from "../api/http";
import { useT } from "../i18n";
import type { Messages } from "../i18n/en";
import { Button, Failure, Loading, Page, Segmented } from "../ui/parts";
import { BaseModels } from "./base-models";
import { DatasetChoice } from "./dataset";
import { emptyDraft, type Action, type Draft } from "./draft";
import { EstimatePanel, summaryOf } from "./estimate";
import { MethodChoice } from "./method";
import { PresetBar } from "./preset-bar";
import { Preview, useHead } from "./preview";
import { violationsOf } from "./queries";
import { AdvancedSettings, BasicSettings } from "./settings";
import { TASK_OF, type Task } from "./tasks";
import { TokenPreview } from "./token-preview";
import { useAsked } from "./use-asked";
import { useStart } from "./use-start";
import { useTraining } from "./use-training";
import { elementId, fieldName } from "./words";

interface Props {
  page: "train" | "finetune";
  tasks: readonly [Task, ...Task[]];
}

export function TrainingForm({ page, tasks }: Props) {
  const t = useT();
  const words = t.training;
  const training = useTraining(page, tasks[0]);
  const { draft, dispatch, fields, violations, missing } = training;
  const { task } = draft;
  const taken = useAsked(tasks, dispatch);
  const [file, setFile] = useState<File | null>(null);
  const head = useHead(draft.dataset, file);
  const [open, setOpen] = useState(false);
  const [summary, setSummary] = useState(0);
  const go = useGo(setOpen);
  const set = useCallback((path: string, text: string) => dispatch({ type: "set", path, text }), [dispatch]);
  const chooseDataset = useCallback(
    (text: string) => {
      dispatch({ type: "dataset", text });
      setSummary(0);
    },
    [dispatch],
  );
  const chooseModel = useCallback((text: string) => dispatch({ type: "baseModel", text }), [dispatch]);
  const start = useStart(draft, training.spec, page, training.dataset?.displayName, (error) => {
    training.refuse(error);
    setSummary((times) => times + 1);
  });
  const press = () => {
    const wrong = [...missing, ...training.blocking];
    setSummary((times) => (wrong.length ? times + 1 : 0));
    if (wrong.some(({ field }) => isFolded(field, task, fields))) setOpen(true);
    if (wrong.length === 0) void start.begin();
  };
  const told = useMemo(
    () => new Map([...(summary ? missing : []), ...violations].map((each) => [each.field, each.description])),
    [summary, missing, violations],
  );
  const settings = {
    draft,
    fields,
    resolved: training.resolved,
    recommended: training.recommended,
    violations: told,
    warnings: training.warnings,
    onChange: set,
  };
  const { fields: described, error: undescribed, refetch } = training.description;
  const isText = task === "language_model";
  return (
    <Page
      title={page === "finetune" ? t.nav.finetune : t.nav.train}
      aside={!isEmpty(draft) && <Clear onClick={() => dispatch({ type: "load", draft: emptyDraft(task) })} />}
    >
      {taken && <p className="note spaced">{words.from(taken)}</p>}
      {summary > 0 && <Summary key={summary} violations={[...missing, ...violations]} onGo={go} />}
      <div className="train">
        <div className="train-form">
          {tasks.length > 1 && (
            <Section title={words.modelType}>
              <Segmented
                label={words.modelType}
                value={task}
                options={tasks.map((each) => ({ value: each, label: t.kinds[each] }))}
                onChange={(chosen) => dispatch({ type: "task", task: chosen })}
              />
            </Section>
          )}
          <Section title={words.baseModel}>
            <BaseModels key={task} task={task} value={training.baseModel} violation={told.get("baseModel")} onChange={chooseModel} />
          </Section>
          {training.method && (
            <Section title={words.method}>
              <MethodChoice
                value={training.method}
                recommended={training.bestMethod}
                spec={training.rested}
                onChange={set}
              />
            </Section>
          )}
          <Section title={words.dataset}>
            <DatasetChoice
              key={task}
              task={task}
              value={draft.dataset}
              violation={told.get("dataset")}
              onChange={chooseDataset}
              onFile={setFile}
            />
            {isText && training.rested && <TokenPreview key={draft.dataset} spec={training.rested} />}
            {isText && head && !training.rested && <Preview head={head} all={draft.values["languageModel.trainOn"] === "TRAIN_ON_ALL"} />}
          </Section>
          <Section title={words.settings}>
            {undescribed && !described && <Failure error={undescribed} retry={() => void refetch()} />}
            {!described && !undescribed && <Loading lines={6} />}
            {described && (
              <>
                <PresetBar draft={draft} resolved={training.resolved} specWith={training.specWith} dispatch={dispatch} />
                <BasicSettings {...settings} />
              </>
            )}
            <NameField name={draft.name} dispatch={dispatch} />
          </Section>
          {described && <AdvancedSettings {...settings} open={open} onToggle={setOpen} />}
        </div>
        <Aside training={training} onGo={go} page={page}>
          {start.error !== null && violationsOf(start.error).length === 0 && (
            <p className="note danger break" role="alert">
              {words.start.failed} {start.error instanceof ApiError && start.error.problem.detail}
            </p>
          )}
          <Button look="primary" busy={start.busy} onClick={press}>
            {page === "finetune" ? words.start.finetune : words.start.train}
            {start.isSlow && <span className="spinner" aria-hidden="true" />}
          </Button>
        </Aside>
      </div>
    </Page>
  );
}

const isEmpty = (draft: Draft) =>
  !draft.dataset && !draft.baseModel && !draft.name && Object.keys(draft.values).length === 0;

/** Whether a field stands below "Advanced settings". */
const isFolded = (path: string, task: Task, fields: readonly { path: string }[]) =>
  fields.some((field) => field.path === path) && !TASK_OF[task].basic.includes(path);

/** Goes to a field by its path; one of the advanced settings is shown first. */
function useGo(setOpen: (open: boolean) => void) {
  return useCallback(
    (path: string) => {
      if (!document.getElementById(elementId(path))) setOpen(true);
      // After the section has opened.
      setTimeout(() => {
        const element = document.getElementById(elementId(path));
        element?.scrollIntoView({ block: "center" });
        (element?.matches("fieldset") ? element.querySelector<HTMLElement>("input:checked") : element)?.focus();
      }, 50);
    },
    [setOpen],
  );
}

function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section className="stack tight step">
      <h2>{title}</h2>
      {children}
    </section>
  );
}

function Clear({ onClick }: { onClick: () => void }) {
  const t = useT();
  return (
    <button type="button" className="textlink" onClick={onClick}>
      {t.training.clear}
    </button>
  );
}

function NameField({ name, dispatch }: { name: string; dispatch: (action: Action) => void }) {
  const t = useT();
  const id = elementId("name");
  return (
    <div className="field setting">
      <label htmlFor={id}>
        {t.training.jobName} <span className="small muted">{t.training.optional}</span>
      </label>
      <input
        id={id}
        className="input"
        autoComplete="off"
        maxLength={100}
        value={name}
        aria-describedby={`${id}-hint`}
        onChange={(event) => dispatch({ type: "name", text: event.target.value })}
      />
      <p className="hint" id={`${id}-hint`}>
        {t.training.jobNameHint}
      </p>
    </div>
  );
}

/** The estimate and the start: beside the form, or a bar at its foot that opens upwards where there is little room. */
function Aside({
  training,
  page,
  onGo,
  children,
}: {
  training: ReturnType<typeof useTraining>;
  page: Props["page"];
  onGo: (path: string) => void;
  children: ReactNode;
}) {
  const t = useT();
  const words = t.training;
  const { draft, dispatch, figures, estimate, isReady, devices, dataset } = training;
  const [unfolded, setUnfolded] = useState(false);
  const inShort = summaryOf(t, figures, devices ?? []);
  const hasAdapter = draft.task === "text_to_image_lora" || (page === "finetune" && training.method !== "FINE_TUNING_METHOD_FULL");
  return (
    <aside className={`estimate ${unfolded ? "open" : ""}`} aria-label={words.estimate.title}>
      <button type="button" className="fold" aria-expanded={unfolded} aria-label={`${inShort}: ${words.estimate.show}`} onClick={() => setUnfolded(!unfolded)}>
        {inShort}
      </button>
      <div className="unfolds stack">
        <h2>{words.estimate.title}</h2>
        <EstimatePanel
          estimate={figures}
          isOld={training.isOld}
          violations={training.violations}
          error={isReady ? estimate.error : null}
          onRetry={() => void estimate.refetch()}
          waiting={isReady ? "" : whyNoFigures(words, draft.dataset, dataset?.state)}
          devices={devices}
          hasAdapter={hasAdapter}
          onApply={(label, changes) => dispatch({ type: "apply", label, changes })}
          onGo={onGo}
        />
      </div>
      {dataset?.state === "DATASET_STATE_VALIDATING" && <p className="small muted">{words.start.waits}</p>}
      {children}
    </aside>
  );
}

function whyNoFigures(words: Messages["training"], dataset: string, state: string | undefined): string {
  if (!dataset) return words.estimate.needDataset;
  return state === "DATASET_STATE_INVALID" ? words.start.datasetInvalid : words.estimate.needUpload;
}

/** Everything that is wrong, with a way to each field; it takes the focus. */
function Summary({ violations, onGo }: { violations: readonly FieldViolation[]; onGo: (path: string) => void }) {
  const t = useT();
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => box.current?.focus(), []);
  if (violations.length === 0) return null;
  return (
    <div className="note danger stack tight spaced" role="alert" tabIndex={-1} ref={box}>
      <p>{t.training.estimate.violations(violations.length)}</p>
      <ul>
        {violations.map(({ field, description }) => (
          <li key={`${field} ${description}`} className="break">
            <button type="button" className="textlink" onClick={() => onGo(field)}>
              {fieldName(t, field)}
            </button>
            {t.training.colon}
            {description}
          </li>
        ))}
      </ul>
    </div>
  );
}
