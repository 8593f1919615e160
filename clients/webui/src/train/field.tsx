/** One setting: empty it shows what is recommended, typed it shows the way back; what it means stands below. */

import { memo, type ReactNode } from "react";

import { useT } from "../i18n";
import { isLines } from "./draft";
import type { Field } from "./schema";
import { Warning } from "./warning";
import { elementId, hintOf, isUnusual, labelOf, unitOf, usualRange, valueText } from "./words";

export interface Told {
  violation?: string | undefined;
  warning?: string | undefined;
}

interface Props extends Told {
  field: Field;
  text: string;
  /** What the server takes where nothing is typed. */
  resolved: unknown;
  /** What it would take, typed or not. */
  recommended: unknown;
  onChange: (path: string, text: string) => void;
}

export const SettingField = memo(function SettingField({ field, text, resolved, recommended, violation, warning, onChange }: Props) {
  const t = useT();
  const id = elementId(field.path);
  const best = recommended === undefined ? "" : valueText(t, recommended);
  const shown = resolved === undefined ? best : valueText(t, resolved);
  const range = usualRange(t, field);
  const unusual = isUnusual(field, text) ? t.training.unusual(range) : warning && <Warning told={warning} />;
  const set = (value: string) => onChange(field.path, value);
  return (
    <div className="field setting">
      <div className="row spread">
        <label htmlFor={id}>
          {labelOf(t, field.path)} <span className="small muted">{unitOf(t, field)}</span>
        </label>
        <span className="small muted">
          {text ? (
            <>
              {best && `${t.training.recommendedValue(best)} · `}
              <button type="button" className="textlink" onClick={() => set("")}>
                {t.training.reset}
                <span className="visually-hidden"> {labelOf(t, field.path)}</span>
              </button>
            </>
          ) : (
            shown && field.kind !== "choice" && field.kind !== "boolean" && t.training.recommended
          )}
        </span>
      </div>
      <Control field={field} id={id} text={text} shown={shown} invalid={violation !== undefined} onChange={set} />
      <p className="hint" id={`${id}-hint`}>
        {hintOf(t, field.path)}
        {range && ` ${t.training.usual(range)}${t.training.fullStop}`}
        {field.guide && (
          <>
            {" "}
            <a href={`${t.guideAddress}#${field.guide}`}>
              {t.training.learnMore}
              <span className="visually-hidden"> {labelOf(t, field.path)}</span>
            </a>
          </>
        )}
      </p>
      {unusual && !violation && <Note id={`${id}-note`} className="hint unusual" text={unusual} />}
      {violation && <Note id={`${id}-note`} className="hint violation" text={violation} />}
    </div>
  );
});

const Note = ({ id, className, text }: { id: string; className: string; text: ReactNode }): ReactNode => (
  <p id={id} className={className}>
    {text}
  </p>
);

interface ControlProps {
  field: Field;
  id: string;
  text: string;
  shown: string;
  invalid: boolean;
  onChange: (text: string) => void;
}

function Control({ field, id, text, shown, invalid, onChange }: ControlProps) {
  const t = useT();
  const shared = {
    id,
    className: "input",
    value: text,
    "aria-invalid": invalid,
    "aria-describedby": `${id}-hint ${id}-note`,
  };
  if (field.kind === "choice" || field.kind === "boolean") {
    const options = field.kind === "choice" ? field.options : ["true", "false"];
    return (
      <select {...shared} onChange={(event) => onChange(event.target.value)}>
        <option value="">{shown ? t.training.recommendedValue(shown) : t.training.recommended}</option>
        {options.map((option) => (
          <option key={option} value={option}>
            {valueText(t, option)}
          </option>
        ))}
      </select>
    );
  }
  if (isLines(field)) return <textarea {...shared} rows={3} placeholder={shown} onChange={(event) => onChange(event.target.value)} />;
  const isNumber = field.kind === "integer" || field.kind === "number";
  return (
    <input
      {...shared}
      type="text"
      inputMode={isNumber ? "decimal" : "text"}
      autoComplete="off"
      spellCheck={false}
      placeholder={shown}
      onChange={(event) => onChange(event.target.value)}
    />
  );
}
