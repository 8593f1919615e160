/** The base models of a task as a list to choose from, with a search that also takes ids that are not listed. */

import { useEffect, useRef, useState } from "react";

import { bytes, parameters } from "../format";
import type { BaseModelJson, ModelJson } from "../gen/tuneyard/v1/model_service_pb";
import type { DeviceJson } from "../gen/tuneyard/v1/system_pb";
import { useT } from "../i18n";
import { Failure, Loading } from "../ui/parts";
import { useBaseModels, useDevices } from "./queries";
import { TASK_OF, type Task } from "./tasks";
import { elementId } from "./words";

interface Row {
  id: string;
  name: string;
  badge: string;
  facts: string[];
  /** The catalogue's model that stands for it in the list. */
  listedAs?: string | undefined;
}

export function BaseModels({ task, value, violation, onChange }: { task: Task; value: string; violation?: string | undefined; onChange: (id: string) => void }) {
  const t = useT();
  const words = t.training.models;
  const found = useBaseModels(task);
  const rows = useRows(found.models, found.own, useDevices(TASK_OF[task].family) ?? []);
  const [search, setSearch] = useState("");
  const wanted = search.trim().toLowerCase();
  const shown = rows.filter((row) => !row.listedAs && `${row.name} ${row.id}`.toLowerCase().includes(wanted));
  const typed = search.trim();
  const isFree = typed.includes("/") || shown.length === 0;
  const free = isFree && typed.length > 2 && !rows.some((row) => row.id === typed) && /^[\w.-]+(\/[\w.-]+)?$/.test(typed) ? typed : "";
  // What is chosen is always to be seen, whether the search or the catalogue has it or not.
  const chosen = value && !shown.some((row) => row.id === value);
  const listed = chosen ? [rows.find((row) => row.id === value) ?? { id: value, name: value, badge: "", facts: [] }, ...shown] : shown;
  const id = elementId("baseModel");
  return (
    <div className="stack tight">
      <input
        id={id}
        className="input"
        type="search"
        aria-label={words.search}
        placeholder={words.search}
        aria-invalid={violation !== undefined}
        aria-describedby={`${id}-note`}
        value={search}
        onChange={(event) => setSearch(event.target.value)}
      />
      {found.isError && !found.data && <Failure error={found.error} retry={() => void found.refetch()} />}
      {found.store.isError && !found.store.data && (
        <Failure error={found.store.error} what={words.ownFailed} retry={() => void found.store.refetch()} />
      )}
      {found.isPending && <Loading lines={4} />}
      {found.data && <List rows={listed} value={value} onChange={onChange} />}
      {found.data && listed.length === 0 && (
        <p className="muted">{found.models.length === 0 ? words.noneOfTask : words.none}</p>
      )}
      {free && (
        <p>
          <button
            type="button"
            className="button"
            onClick={() => {
              onChange(free);
              setSearch("");
            }}
          >
            {words.use(free)}
          </button>
        </p>
      )}
      {violation && (
        <p id={`${id}-note`} className="small violation">
          {violation}
        </p>
      )}
    </div>
  );
}

function List({ rows, value, onChange }: { rows: readonly Row[]; value: string; onChange: (id: string) => void }) {
  const t = useT();
  const list = useRef<HTMLFieldSetElement>(null);
  const picked = useRef("");
  useEffect(() => {
    // What was chosen elsewhere comes into view; a list must not move below the pointer.
    if (value === picked.current) return;
    const chosen = list.current?.querySelector<HTMLElement>("label:has(input:checked)");
    if (chosen && list.current) list.current.scrollTop = chosen.offsetTop - list.current.offsetTop;
  }, [value]);
  const pick = (id: string) => {
    picked.current = id;
    onChange(id);
  };
  if (rows.length === 0) return null;
  return (
    <fieldset className="models" ref={list}>
      <legend className="visually-hidden">{t.training.models.list}</legend>
      {rows.map((row) => (
        <label key={row.id}>
          <input type="radio" name="base-model" value={row.id} checked={row.id === value} onChange={() => pick(row.id)} />
          <span className="grow break">
            {row.name} {row.badge && <span className="pick">{row.badge}</span>}
          </span>
          <span className="facts-line small muted">
            {row.facts.map((fact) => (
              <span key={fact}>{fact}</span>
            ))}
          </span>
        </label>
      ))}
    </fieldset>
  );
}

function useRows(models: readonly BaseModelJson[], own: readonly ModelJson[], devices: readonly DeviceJson[]): Row[] {
  const t = useT();
  const words = t.training.models;
  const largest = devices
    .filter((device) => device.id !== "cpu")
    .sort((a, b) => Number(b.memoryTotalBytes ?? 0) - Number(a.memoryTotalBytes ?? 0))[0];
  const fit = (model: BaseModelJson) => {
    if (!largest || !model.minimumMemoryBytes) return "";
    const fits = Number(model.minimumMemoryBytes) <= Number(largest.memoryTotalBytes);
    return fits ? words.fits(largest.id ?? "") : words.tooBig(largest.id ?? "");
  };
  const listed = models.map((model) => ({
    id: model.id ?? "",
    name: model.displayName || (model.id ?? ""),
    badge: model.isRecommended ? t.training.recommended : "",
    facts: [
      model.parameterCount ? words.parameters(parameters(model.parameterCount)) : "",
      model.minimumMemoryBytes ? words.memory(bytes(model.minimumMemoryBytes)) : "",
      fit(model),
      words.availability[model.availability ?? ""] ?? "",
    ].filter(Boolean),
  }));
  const stored = own.map((model) => ({
    id: model.name ?? "",
    name: model.displayName || (model.name ?? ""),
    badge: words.own,
    facts: [model.architecture ?? "", bytes(model.sizeBytes)].filter(Boolean),
    listedAs: models.find((each) => each.model && each.model === model.name)?.id,
  }));
  return [...listed.slice(0, 1), ...stored, ...listed.slice(1)];
}
