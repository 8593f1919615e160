// The SDK of Tuneyard for Node.js: `connect` makes a client; the messages of the contract stand beside it.
//
//     const client = connect({ server: "127.0.0.1:50051" });
//     for await (const event of client.watchJob("jobs/…")) { … }

export { Code } from "@connectrpc/connect";
export { type Client, connect, newRequestId } from "./client.js";
export { ChecksumMismatch, EventGap, TuneyardError, type Violation } from "./errors.js";
export type { TransferOptions } from "./transfers.js";
export type { ConnectOptions } from "./transport.js";
export { TERMINAL } from "./watch.js";

export * from "./gen/tuneyard/v1/artifact_service_pb.js";
export * from "./gen/tuneyard/v1/dataset_pb.js";
export * from "./gen/tuneyard/v1/dataset_service_pb.js";
export * from "./gen/tuneyard/v1/errors_pb.js";
export * from "./gen/tuneyard/v1/event_pb.js";
export * from "./gen/tuneyard/v1/inference_service_pb.js";
export * from "./gen/tuneyard/v1/job_pb.js";
export * from "./gen/tuneyard/v1/model_service_pb.js";
export * from "./gen/tuneyard/v1/preview_pb.js";
export * from "./gen/tuneyard/v1/rules_pb.js";
export * from "./gen/tuneyard/v1/system_pb.js";
export * from "./gen/tuneyard/v1/system_service_pb.js";
export * from "./gen/tuneyard/v1/trainer_service_pb.js";
export * from "./gen/tuneyard/v1/training_pb.js";
export * from "./gen/tuneyard/v1/training_service_pb.js";
