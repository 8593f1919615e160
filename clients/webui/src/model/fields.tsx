/** The fields of the forms that import a model. */

import { useId } from "react";

import type { FamilyJson } from "../gen/tuneyard/v1/training_pb";
import { useT } from "../i18n";

const FAMILIES: readonly FamilyJson[] = ["FAMILY_LLM", "FAMILY_VISION", "FAMILY_DIFFUSION"];

export function FamilyField({ value, onChange }: { value: FamilyJson; onChange: (family: FamilyJson) => void }) {
  const t = useT();
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{t.models.family}</label>
      <select id={id} className="input" value={value} onChange={(event) => onChange(event.target.value as FamilyJson)}>
        {FAMILIES.map((each) => (
          <option key={each} value={each}>
            {t.models.families[each]}
          </option>
        ))}
      </select>
    </div>
  );
}

export function TextField({
  label,
  hint,
  value,
  violation,
  required = false,
  onChange,
}: {
  label: string;
  hint: string;
  value: string;
  violation: string | undefined;
  required?: boolean;
  onChange: (value: string) => void;
}) {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <input
        id={id}
        className="input"
        value={value}
        required={required}
        aria-invalid={violation ? true : undefined}
        aria-describedby={`${id}-hint`}
        onChange={(event) => onChange(event.target.value)}
      />
      <span id={`${id}-hint`} className={violation ? "violation" : "hint"}>
        {violation ?? hint}
      </span>
    </div>
  );
}
