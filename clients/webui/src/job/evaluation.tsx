/** What a finished model is to be measured on, asked before its evaluation is made. */

import { useEffect, useId, useRef, useState } from "react";

import { idOf } from "../api/http";
import { clipModels, useModels } from "../api/models";
import type { TrainingSpecJson } from "../gen/tuneyard/v1/training_pb";
import { useT } from "../i18n";
import { useDatasets } from "../train/queries";
import { TASK_OF, type Task } from "../train/tasks";
import { Button, Failure } from "../ui/parts";

interface Props {
  task: Task;
  /** What the model was trained with. */
  training: TrainingSpecJson | undefined;
  /** Given what the evaluation's spec says beside the job. */
  onChoose: (spec: { dataset?: string; clipModel?: string }) => void;
  onClose: () => void;
}

export function Evaluation({ task, training, onChoose, onClose }: Props) {
  const t = useT();
  const words = t.job.evaluation;
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  const [dataset, setDataset] = useState("");
  const [clipModel, setClipModel] = useState("");
  const datasets = useDatasets(TASK_OF[task].format);
  const own = datasets.data?.datasets?.find((each) => each.name === training?.dataset)?.displayName || idOf(training?.dataset);
  const others = (datasets.data?.datasets ?? []).filter(
    (each) => each.state === "DATASET_STATE_READY" && each.name !== training?.dataset,
  );
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} aria-labelledby={`${id}-title`} onClose={onClose}>
      <div className="stack">
        <h2 id={`${id}-title`}>{words.title}</h2>
        <div className="field">
          <label htmlFor={`${id}-dataset`}>{t.training.dataset}</label>
          <select
            id={`${id}-dataset`}
            className="input"
            value={dataset}
            aria-describedby={`${id}-hint`}
            onChange={(event) => setDataset(event.target.value)}
          >
            <option value="">{words.asTrained(own)}</option>
            {others.map((each) => (
              <option key={each.name} value={each.name}>
                {each.displayName || idOf(each.name)}
              </option>
            ))}
          </select>
          <p id={`${id}-hint`} className="hint">
            {dataset ? words.ofAnother : words.ofItsOwn}
          </p>
          {datasets.isError && !datasets.data && <Failure error={datasets.error} retry={() => void datasets.refetch()} />}
        </div>
        {task === "text_to_image_lora" && (
          <ClipModel value={clipModel} trained={training?.textToImageLora?.clipModel ?? ""} onChange={setClipModel} />
        )}
        <div className="row">
          <Button
            look="primary"
            onClick={() => {
              onChoose({ ...(dataset && { dataset }), ...(clipModel && { clipModel }) });
              dialog.current?.close();
            }}
          >
            {words.go}
          </Button>
          <Button onClick={() => dialog.current?.close()}>{t.actions.close}</Button>
        </div>
      </div>
    </dialog>
  );
}

function ClipModel({ value, trained, onChange }: { value: string; trained: string; onChange: (name: string) => void }) {
  const t = useT();
  const words = t.job.evaluation;
  const id = useId();
  const models = useModels();
  const there = clipModels(models.data ?? []);
  const own = there.find((each) => each.name === trained);
  const named = (model: (typeof there)[number]) => model.displayName || idOf(model.name);
  return (
    <div className="field">
      <label htmlFor={id}>{words.clipModel}</label>
      <select id={id} className="input" value={value} aria-describedby={`${id}-hint`} onChange={(event) => onChange(event.target.value)}>
        <option value="">{own ? words.asTrained(named(own)) : words.noScore}</option>
        {there
          .filter((each) => each !== own)
          .map((each) => (
            <option key={each.name} value={each.name}>
              {named(each)}
            </option>
          ))}
      </select>
      <p id={`${id}-hint`} className="hint">
        {there.length || !models.data ? words.clipHint : words.clipNeeded}
      </p>
      {models.isError && !models.data && <Failure error={models.error} retry={() => void models.refetch()} />}
    </div>
  );
}
