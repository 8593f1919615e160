/** Importing a model from a hub or from a folder of the server. */

import { useId, useState } from "react";
import { useLocation } from "wouter";

import { ApiError, idOf, post, newId } from "../api/http";
import type { ImportModelResponseJson } from "../gen/tuneyard/v1/model_service_pb";
import type { FamilyJson } from "../gen/tuneyard/v1/training_pb";
import { useT } from "../i18n";
import { Button, Failure } from "../ui/parts";

const FAMILIES: readonly FamilyJson[] = ["FAMILY_LLM", "FAMILY_VISION", "FAMILY_DIFFUSION"];
/** The request's fields as the server names them in violations. */
const FIELDS = { source: "source", revision: "revision", architecture: "architecture", displayName: "display_name" } as const;
type Field = keyof typeof FIELDS;

export function ImportModel() {
  const t = useT();
  const [, go] = useLocation();
  const family = useId();
  const [kind, setKind] = useState<FamilyJson>("FAMILY_LLM");
  const [values, setValues] = useState<Record<Field, string>>({ source: "", revision: "", architecture: "", displayName: "" });
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const violations = error instanceof ApiError ? (error.problem.violations ?? []) : [];
  const start = async () => {
    setBusy(true);
    setError(null);
    try {
      const given = Object.fromEntries(Object.entries(values).filter(([, value]) => value));
      const told = await post<ImportModelResponseJson>("/v1/models:import", { ...given, family: kind, requestId: newId() });
      go(`/models/${idOf(told.model?.name)}`);
    } catch (failed) {
      setError(failed);
    } finally {
      setBusy(false);
    }
  };
  const text = (field: Field, label: string, hint: string, required = false) => (
    <Text
      label={label}
      hint={hint}
      required={required}
      value={values[field]}
      violation={violations.find((each) => each.field === FIELDS[field])?.description}
      onChange={(value) => setValues({ ...values, [field]: value })}
    />
  );
  return (
    <section className="panel" aria-label={t.models.importTitle}>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          void start();
        }}
      >
        <h2>{t.models.importTitle}</h2>
        <div className="field">
          <label htmlFor={family}>{t.models.family}</label>
          <select id={family} className="input" value={kind} onChange={(event) => setKind(event.target.value as FamilyJson)}>
            {FAMILIES.map((each) => (
              <option key={each} value={each}>
                {t.models.families[each]}
              </option>
            ))}
          </select>
        </div>
        {text("source", t.models.source, t.models.sourceHint, true)}
        {text("revision", t.models.revision, t.models.revisionHint)}
        {kind === "FAMILY_VISION" && text("architecture", t.models.architecture, t.models.architectureHint)}
        {text("displayName", t.models.name, t.models.nameHint)}
        {error !== null && <Failure error={error} />}
        <p>
          <Button type="submit" look="primary" busy={busy} disabled={busy}>
            {t.models.start}
          </Button>
        </p>
      </form>
    </section>
  );
}

function Text({
  label,
  hint,
  value,
  violation,
  required,
  onChange,
}: {
  label: string;
  hint: string;
  value: string;
  violation: string | undefined;
  required: boolean;
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
