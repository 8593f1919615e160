/** Importing a model: from this computer, from a hub, or from a folder of the server. */

import { useState } from "react";
import { useLocation } from "wouter";

import { ApiError, idOf, post, newId } from "../api/http";
import type { ImportModelResponseJson } from "../gen/tuneyard/v1/model_service_pb";
import type { FamilyJson } from "../gen/tuneyard/v1/training_pb";
import { useT } from "../i18n";
import { Button, Failure, Segmented } from "../ui/parts";
import { FamilyField, TextField } from "./fields";
import { UploadModel } from "./upload";

/** The request's fields as the server names them in violations. */
const FIELDS = { source: "source", revision: "revision", architecture: "architecture", displayName: "display_name" } as const;
type Field = keyof typeof FIELDS;

export function ImportModel() {
  const t = useT();
  const [from, setFrom] = useState<"here" | "elsewhere">("here");
  return (
    <section className="panel stack" aria-label={t.models.importTitle}>
      <h2>{t.models.importTitle}</h2>
      <Segmented
        label={t.models.importFrom}
        value={from}
        options={[
          { value: "here", label: t.models.fromHere },
          { value: "elsewhere", label: t.models.fromElsewhere },
        ]}
        onChange={setFrom}
      />
      {from === "here" ? <UploadModel /> : <FetchModel />}
    </section>
  );
}

function FetchModel() {
  const t = useT();
  const [, go] = useLocation();
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
    <TextField
      label={label}
      hint={hint}
      required={required}
      value={values[field]}
      violation={violations.find((each) => each.field === FIELDS[field])?.description}
      onChange={(value) => setValues({ ...values, [field]: value })}
    />
  );
  return (
    <form
      className="stack"
      onSubmit={(event) => {
        event.preventDefault();
        void start();
      }}
    >
      <FamilyField value={kind} onChange={setKind} />
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
  );
}
