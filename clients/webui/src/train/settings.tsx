/** The settings of a training: the few that matter open, all others one click away, in groups and with a filter. */

import { useState } from "react";

import type { TrainingSpecJson } from "../gen/tuneyard/v1/training_pb";
import { useT } from "../i18n";
import { valueAt, type Draft } from "./draft";
import { SettingField } from "./field";
import type { Field } from "./schema";
import { TASK_OF, METHOD } from "./tasks";
import { groupOf, hintOf, labelOf } from "./words";

export interface SettingsProps {
  draft: Draft;
  fields: readonly Field[];
  /** Every value that would be taken. */
  resolved: TrainingSpecJson | undefined;
  /** Every value that would be taken were nothing typed. */
  recommended: TrainingSpecJson | undefined;
  violations: ReadonlyMap<string, string>;
  warnings: ReadonlyMap<string, string>;
  onChange: (path: string, text: string) => void;
}

/** The value that is taken; JSON leaves out a switch that is off. */
const taken = (spec: TrainingSpecJson | undefined, field: Field) =>
  valueAt(spec, field.path) ?? (spec && field.kind === "boolean" ? false : undefined);

function Fields({ of, ...props }: SettingsProps & { of: readonly Field[] }) {
  return (
    <div className="settings">
      {of.map((field) => (
        <SettingField
          key={field.path}
          field={field}
          text={props.draft.values[field.path] ?? ""}
          resolved={taken(props.resolved, field)}
          recommended={taken(props.recommended, field)}
          violation={props.violations.get(field.path)}
          warning={props.warnings.get(field.path)}
          onChange={props.onChange}
        />
      ))}
    </div>
  );
}

/** Whether a field stands among the open ones; a QLoRA training has its quantization there. */
const isBasic = (draft: Draft, path: string) =>
  TASK_OF[draft.task].basic.includes(path) || path.startsWith("languageModel.quantization.");

export function BasicSettings(props: SettingsProps) {
  const { basic } = TASK_OF[props.draft.task];
  const at = (path: string) => (basic.includes(path) ? basic.indexOf(path) : basic.length);
  const shown = props.fields.filter((field) => isBasic(props.draft, field.path)).sort((a, b) => at(a.path) - at(b.path));
  return <Fields {...props} of={shown} />;
}

interface AdvancedProps extends SettingsProps {
  open: boolean;
  onToggle: (open: boolean) => void;
}

export function AdvancedSettings({ open, onToggle, ...props }: AdvancedProps) {
  const t = useT();
  const [filter, setFilter] = useState("");
  const rest = props.fields.filter((field) => !isBasic(props.draft, field.path) && field.path !== METHOD);
  const typed = rest.filter((field) => props.draft.values[field.path]).length;
  const wanted = filter.trim().toLowerCase();
  const shown = rest.filter((field) =>
    `${field.path} ${labelOf(t, field.path)} ${hintOf(t, field.path)}`.toLowerCase().includes(wanted),
  );
  const found = [...new Set(shown.map((field) => groupOf(field.path)))];
  const groups = [...found.filter((group) => group !== "other"), ...found.filter((group) => group === "other")];
  return (
    <details className="advanced" open={open} onToggle={(event) => onToggle(event.currentTarget.open)}>
      <summary>
        <span className="h2">{t.training.advanced}</span> {typed > 0 && <span className="pick">{typed}</span>}
      </summary>
      {open && (
        <div className="stack">
          <input
            className="input"
            type="search"
            aria-label={t.training.filterSettings}
            placeholder={t.training.filterSettings}
            value={filter}
            onChange={(event) => setFilter(event.target.value)}
          />
          {shown.length === 0 && <p className="muted">{t.training.noSetting}</p>}
          {groups.map((group) => (
            <section key={group} className="stack">
              <h3>{t.training.groups[group] ?? group}</h3>
              <Fields {...props} of={shown.filter((field) => groupOf(field.path) === group)} />
            </section>
          ))}
        </div>
      )}
    </details>
  );
}
