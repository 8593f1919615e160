// Uploads a ZIP with a folder of images per class, trains a classifier on it, prints what happens, and
// downloads what the job leaves behind:
//
//     node dist/examples/train.js --dataset flowers.zip --base-model resnet50 --epochs 15 --output flowers-model

import { parseArgs } from "node:util";
import { type JobEvent, DatasetFormat, JobState, connect, newRequestId } from "tuneyard";

const { values: chosen } = parseArgs({
  options: {
    server: { type: "string" },
    token: { type: "string", default: process.env.TUNEYARD_TOKEN },
    dataset: { type: "string", default: "" },
    "base-model": { type: "string", default: "resnet50" },
    epochs: { type: "string" },
    "from-scratch": { type: "boolean", default: false },
    output: { type: "string", default: "model" },
  },
});

const client = connect({ server: chosen.server, token: chosen.token });
try {
  await train();
} catch (error) {
  console.error(String(error));
  process.exitCode = 1;
} finally {
  client.close();
}

async function train(): Promise<void> {
  const dataset = await client.uploadDataset(chosen.dataset, { format: DatasetFormat.IMAGE_FOLDER });
  console.log("uploaded", dataset.name);

  const { job } = await client.training.train({
    spec: {
      dataset: dataset.name,
      baseModel: chosen["base-model"],
      hyperparameters: { epochs: chosen.epochs ? Number(chosen.epochs) : undefined },
      task: { case: "imageClassifier", value: { pretrained: !chosen["from-scratch"] } },
    },
    requestId: newRequestId(),
  });
  const name = job!.name;
  console.log("training", name);

  let last: JobEvent | undefined;
  for await (const event of client.watchJob(name)) {
    console.log(String(event.sequence), described(event));
    last = event;
  }
  if (last?.body.case === "stateChange" && last.body.value.to !== JobState.SUCCEEDED) {
    const { to, error } = last.body.value;
    throw new Error([`${JobState[to]}:`, error?.message, ...(error?.remedies ?? [])].join(" "));
  }

  for (const file of await client.downloadArtifacts(name, chosen.output)) {
    console.log("downloaded", file);
  }
}

/** One line about an event. */
function described({ body }: JobEvent): string {
  switch (body.case) {
    case "stateChange":
      return `state ${JobState[body.value.to]}`;
    case "stage":
      return `stage ${body.value.name}, done: ${body.value.done}`;
    case "progress":
      return `progress step ${body.value.step} of ${body.value.totalSteps}`;
    case "metrics":
      return `metrics ${JSON.stringify(body.value.values)}`;
    case "checkpoint":
      return `checkpoint at step ${body.value.checkpoint?.step}`;
    case "artifact":
      return `artifact ${body.value.artifact?.path}`;
    case "advice":
      return `advice ${body.value.observation}`;
    default:
      return body.case ?? "an event of a newer server";
  }
}
