/** How a language model is fine-tuned: each method with the memory that it would need here. */

import { useState } from "react";

import { bytes } from "../format";
import type { EstimateJson } from "../gen/tuneyard/v1/job_pb";
import type { FineTuningMethodJson, TrainingSpecJson } from "../gen/tuneyard/v1/training_pb";
import { useT } from "../i18n";
import { useEstimate } from "./queries";
import { elementId } from "./words";
import { METHOD } from "./tasks";

const METHODS = ["FINE_TUNING_METHOD_FULL", "FINE_TUNING_METHOD_LORA", "FINE_TUNING_METHOD_QLORA"] as const;

interface Props {
  /** The method in force, typed or recommended. */
  value: FineTuningMethodJson;
  recommended: FineTuningMethodJson;
  /** What is to be trained; undefined until a dataset is known. */
  spec: TrainingSpecJson | undefined;
  onChange: (path: string, text: string) => void;
}

export function MethodChoice({ value, recommended, spec, onChange }: Props) {
  const t = useT();
  return (
    <fieldset className="methods" id={elementId(METHOD)}>
      <legend className="visually-hidden">{t.training.method}</legend>
      {METHODS.map((method) => (
        <label key={method}>
          <input type="radio" name="method" value={method} checked={method === value} onChange={() => onChange(METHOD, method)} />
          <span>
            <strong>{t.training.methods[method].name}</strong>{" "}
            {method === recommended && <span className="pick">{t.training.recommended}</span>}
          </span>
          <span className="small text-2">{t.training.methods[method].text}</span>
          <Memory method={method} spec={spec} />
        </label>
      ))}
    </fieldset>
  );
}

function Memory({ method, spec }: { method: FineTuningMethodJson; spec: TrainingSpecJson | undefined }) {
  const t = useT();
  const { data } = useEstimate(spec && of(spec, method));
  // The figure of before stays while something typed breaks its bounds.
  const [last, setLast] = useState<EstimateJson>();
  if (data?.memory && data !== last) setLast(data);
  return <span className="small muted">{spec && last ? needed(last, t.training.doesNotFit) : t.training.memoryLater}</span>;
}

function needed(estimate: EstimateJson, tooMuch: (size: string) => string): string {
  const size = bytes(Number(estimate.memory?.deviceBytes ?? 0) || estimate.memory?.hostBytes);
  return estimate.fits ? size : tooMuch(size);
}

/** The same spec by another method, without settings that have no meaning there. */
function of(spec: TrainingSpecJson, method: FineTuningMethodJson): TrainingSpecJson {
  const { lora, quantization, ...rest } = spec.languageModel ?? {};
  return {
    ...spec,
    languageModel: {
      ...rest,
      method,
      ...(method !== "FINE_TUNING_METHOD_FULL" && lora ? { lora } : {}),
      ...(method === "FINE_TUNING_METHOD_QLORA" && quantization ? { quantization } : {}),
    },
  };
}
