/** Presets as buttons: the first press shows what would change, the second applies it; then it can be undone. */

import { useState } from "react";

import type { TrainingSpecJson } from "../gen/tuneyard/v1/training_pb";
import { useT } from "../i18n";
import { Button } from "../ui/parts";
import { textOf, valueAt, type Action, type Draft } from "./draft";
import { summaryOf } from "./estimate";
import { presetsOf, type Preset, type PresetId } from "./presets";
import { useEstimate } from "./queries";
import { labelOf, valueText } from "./words";

interface Props {
  draft: Draft;
  resolved: TrainingSpecJson | undefined;
  /** The spec with changes; undefined while nothing can be said of it. */
  specWith: (changes: Preset["changes"]) => TrainingSpecJson | undefined;
  dispatch: (action: Action) => void;
}

export function PresetBar({ draft, resolved, specWith, dispatch }: Props) {
  const t = useT();
  const words = t.training.presets;
  const [open, setOpen] = useState<PresetId | null>(null);
  const presets = presetsOf(draft.task, resolved);
  const shown = presets.find((preset) => preset.id === open);
  return (
    <div className="stack tight">
      <div className="row presets" role="group" aria-label={words.title}>
        <span className="small muted">{words.title}</span>
        {presets.map((preset) => (
          <button
            key={preset.id}
            type="button"
            className="chip"
            aria-expanded={open === preset.id}
            onClick={() => setOpen(open === preset.id ? null : preset.id)}
          >
            {words[preset.id]}
          </button>
        ))}
      </div>
      {shown && (
        <Changes
          preset={shown}
          draft={draft}
          resolved={resolved}
          spec={specWith(shown.changes)}
          onApply={() => {
            dispatch({ type: "apply", label: words[shown.id], changes: shown.changes });
            setOpen(null);
          }}
        />
      )}
      {draft.before && (
        <p className="row small" role="status">
          {words.applied(draft.before.label)}
          <Button onClick={() => dispatch({ type: "undo" })}>{words.undo}</Button>
        </p>
      )}
    </div>
  );
}

interface ChangesProps {
  preset: Preset;
  draft: Draft;
  resolved: TrainingSpecJson | undefined;
  spec: TrainingSpecJson | undefined;
  onApply: () => void;
}

function Changes({ preset, draft, resolved, spec, onApply }: ChangesProps) {
  const t = useT();
  const words = t.training.presets;
  const { data: estimate } = useEstimate(spec);
  const changes = Object.entries(preset.changes).filter(([path, text]) => (draft.values[path] ?? textOf(valueAt(resolved, path))) !== text);
  const before = (path: string) => {
    const value = draft.values[path] ?? valueAt(resolved, path);
    return value === undefined ? words.unset : valueText(t, value);
  };
  return (
    <div className="panel stack tight" role="group" aria-label={words[preset.id]}>
      <p>{words.texts[preset.id]}</p>
      {changes.length === 0 ? (
        <p className="muted">{words.nothing}</p>
      ) : (
        <>
          <dl className="facts small">
            {changes.map(([path, text]) => (
              <div key={path} className="fact">
                <dt>{labelOf(t, path)}</dt>
                <dd>
                  {before(path)} → <strong>{valueText(t, text)}</strong>
                </dd>
              </div>
            ))}
          </dl>
          <p className="row">
            <Button onClick={onApply}>{words.apply}</Button>
            {spec && estimate?.memory && <span className="small muted">{words.needs(summaryOf(t, estimate))}</span>}
          </p>
        </>
      )}
    </div>
  );
}
