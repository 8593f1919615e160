/** Importing a model of this computer: a file, a ZIP or a folder; and the uploads that are on their way. */

import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useId, useState } from "react";
import { Link } from "wouter";

import { idOf } from "../api/http";
import { useModel } from "../api/models";
import { modelUploads, useModelUploads, type ModelUpload } from "../api/model-uploads";
import { bytes, duration, percent } from "../format";
import type { FamilyJson } from "../gen/tuneyard/v1/training_pb";
import { useT } from "../i18n";
import type { Messages } from "../i18n/en";
import { Button, Failure, Progress } from "../ui/parts";
import { FamilyField, TextField } from "./fields";
import { chosenOf, familyOf, filesOf, filesOfDrop, neededOf, type Chosen, type Fault } from "./folder";
import { ModelBadge } from "./parts";

const FAULTS: readonly string[] = ["gguf", "adapter", "nothing", "untrainable"] satisfies Fault[];

export function UploadModel() {
  const t = useT();
  const id = useId();
  const uploads = useModelUploads();
  const [chosen, setChosen] = useState<Chosen>();
  const [fault, setFault] = useState<Fault>();
  const [family, setFamily] = useState<FamilyJson>("FAMILY_LLM");
  const [called, setCalled] = useState("");
  const [architecture, setArchitecture] = useState("");
  const [begun, setBegun] = useState("");
  const [missing, setMissing] = useState(false);
  const failed = uploads.find((each) => each.key === begun && each.state === "failed");
  const said = (field: string) => failed?.error?.problem.violations?.find((each) => each.field === field)?.description;

  const take = async (given: Parameters<typeof chosenOf>[0]) => {
    const found = chosenOf(given);
    setMissing(false);
    setBegun("");
    setFault(undefined);
    setChosen(found);
    const told = found && (await familyOf(found));
    if (told && FAULTS.includes(told)) setFault(told as Fault);
    else if (told) setFamily(told as FamilyJson);
  };
  const start = () => {
    if (!chosen || fault) return setMissing(!chosen);
    const { name, isFolder } = chosen;
    setBegun(modelUploads.start({ name, isFolder, files: neededOf(family, chosen), family, called: called.trim(), architecture }));
  };
  const wrong = fault ? t.models.faults[fault] : missing ? t.models.chooseFirst : said("file_name");
  return (
    <form
      className="stack"
      onSubmit={(event) => {
        event.preventDefault();
        start();
      }}
    >
      {/* Dropping is a second way beside the labelled inputs. */}
      {/* eslint-disable-next-line jsx-a11y/no-static-element-interactions */}
      <div
        className="field"
        onDragOver={(event) => event.preventDefault()}
        onDrop={(event) => {
          event.preventDefault();
          void filesOfDrop(event.dataTransfer.items).then(take);
        }}
      >
        <div className={`drop-files${wrong ? " wrong" : ""}`}>
          {chosen ? <p className="break">{toldOf(t, chosen, family)}</p> : <p className="muted">{t.models.drop}</p>}
          <div className="row">
            <Pick label={t.models.chooseFile} described={`${id}-note`} wrong={!!wrong} onFiles={(files) => void take(filesOf(files))} />
            <Pick label={t.models.chooseFolder} described={`${id}-note`} wrong={!!wrong} folder onFiles={(files) => void take(filesOf(files))} />
          </div>
        </div>
        <span id={`${id}-note`} className={wrong ? "violation small" : "hint"} role={wrong ? "alert" : undefined}>
          {wrong ?? t.models.fileHint}
        </span>
      </div>
      <FamilyField
        value={family}
        onChange={(value) => {
          setFamily(value);
          // Who chooses one knows better, and the trainer has the last word.
          if (fault === "untrainable") setFault(undefined);
        }}
      />
      {family === "FAMILY_VISION" && (
        <TextField
          label={t.models.architecture}
          hint={t.models.architectureHint}
          value={architecture}
          violation={said("architecture")}
          onChange={setArchitecture}
        />
      )}
      <TextField label={t.models.name} hint={t.models.idHint} value={called} violation={said("model_id")} onChange={setCalled} />
      <p>
        <Button type="submit" look="primary">
          {t.models.upload}
        </Button>
      </p>
    </form>
  );
}

function toldOf(t: Messages, chosen: Chosen, family: FamilyJson): string {
  const needed = neededOf(family, chosen);
  const size = bytes(needed.reduce((sum, { file }) => sum + file.size, 0));
  return chosen.isFolder ? t.models.folderChosen(chosen.name, needed.length, size) : t.models.fileChosen(chosen.name, size);
}

function Pick({
  label,
  described,
  wrong,
  folder = false,
  onFiles,
}: {
  label: string;
  described: string;
  wrong: boolean;
  folder?: boolean;
  onFiles: (files: FileList) => void;
}) {
  return (
    <label className="button">
      <input
        type="file"
        className="visually-hidden"
        aria-invalid={wrong || undefined}
        aria-describedby={described}
        {...(folder ? { webkitdirectory: "" } : { multiple: true })}
        onChange={(event) => {
          if (event.target.files?.length) onFiles(event.target.files);
          // The same file can be chosen again.
          event.target.value = "";
        }}
      />
      {label}
    </label>
  );
}

/** What is on its way, also when it was begun before this page was opened. */
export function ModelsOnTheirWay() {
  return useModelUploads().map((upload) => <OnItsWay key={upload.key} upload={upload} />);
}

function OnItsWay({ upload }: { upload: ModelUpload }) {
  const t = useT();
  const { key, state } = upload;
  const isMoving = state === "packing" || state === "sending" || state === "waiting";
  return (
    <section className="panel stack" aria-label={upload.name}>
      <div className="row spread">
        <span className="break">
          {upload.name} <span className="muted">{state === "arrived" ? "" : t.models.uploadStates[state]}</span>
        </span>
        <Button onClick={() => void modelUploads.dismiss(key)}>{isMoving ? t.models.giveUp : t.models.putAway}</Button>
      </div>
      {isMoving && (
        <>
          <Progress value={upload.done / Math.max(1, upload.size)} label={upload.name} />
          <span className="small muted">{stateOf(t, upload)}</span>
        </>
      )}
      {state === "failed" && <Failure error={upload.error} />}
      {state === "arrived" && <Arrived id={idOf(upload.model)} />}
    </section>
  );
}

/** How the trainer's check of what arrived stands, and what it says against it. */
function Arrived({ id }: { id: string }) {
  const cache = useQueryClient();
  const { data: model } = useModel(id);
  useEffect(() => void cache.invalidateQueries({ queryKey: ["models"] }), [cache, model?.state]);
  if (!model) return null;
  return (
    <div className="stack tight">
      <p className="row">
        <ModelBadge model={model} />
        <Link href={`/models/${id}`}>{model.displayName || id}</Link>
        {model.detail && <span className="muted break">{model.detail}</span>}
      </p>
      {model.error && (
        <p className="note danger break" role="alert">
          {model.error}
        </p>
      )}
    </div>
  );
}

function stateOf(t: Messages, { state, done, size, rate }: ModelUpload): string {
  if (state === "waiting") return t.models.willGoOn;
  const share = percent(done / Math.max(1, size));
  const parts = [state === "packing" ? t.models.read(share) : t.models.sent(share)];
  if (rate > 0) parts.push(`${bytes(rate)}/s`, t.jobs.left(duration((size - done) / rate)));
  return parts.join(" · ");
}
