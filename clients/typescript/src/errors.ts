// What calls end with, as one class to branch on. Nothing else in this package knows status codes.

import { Code, ConnectError } from "@connectrpc/connect";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  ResourceInfoSchema,
  RetryInfoSchema,
} from "./gen/google/rpc/error_details_pb.js";
import { ErrorReason } from "./gen/tuneyard/v1/errors_pb.js";

const DOMAIN = "tuneyard.v1";

/** One thing that is wrong with one field. */
export interface Violation {
  /** The full path from the request's root, such as "spec.hyperparameters.learning_rate". */
  readonly field: string;
  /** What is wrong and what to do, for people. */
  readonly description: string;
}

/**
 * What a call ended with. Every call of a client that fails throws one, also the generated ones; `cause` is
 * connect's own error, and its `rawMessage` the server's words alone.
 */
export class TuneyardError extends Error {
  override readonly name: string = "TuneyardError";
  /** The status code. */
  readonly code: Code;
  /** Why, to branch on; UNSPECIFIED where no Tuneyard server answered, or one that is newer than this package. */
  readonly reason: ErrorReason;
  /** Each thing that is wrong with a field of the request. */
  readonly violations: readonly Violation[];
  /** When to try again; 0 where the server did not say. */
  readonly retryAfterMs: number;
  /** The name of what the error is about, such as "jobs/1". */
  readonly resource: string;
  /** Facts for programs; which ones depends on the reason. */
  readonly metadata: Readonly<Record<string, string>>;
  /**
   * True where it may be over in a moment, so that a call which is safe to repeat is worth repeating: one
   * that reads, or that carries a request id.
   */
  readonly transient: boolean;

  /** `ended` says that the caller has ended the call. */
  constructor(error: ConnectError, ended = false) {
    const info = error.findDetails(ErrorInfoSchema).find((found) => found.domain === DOMAIN);
    const bad = info ? error.findDetails(BadRequestSchema) : [];
    const violations = bad.flatMap((found) =>
      found.fieldViolations.map(({ field, description }) => ({ field, description })),
    );
    const what = `${info?.reason ?? Code[error.code]}: ${error.rawMessage}`;
    super([what, ...violations.map((each) => `${each.field}: ${each.description}`)].join("; "), {
      cause: error,
    });
    this.code = error.code;
    this.reason = info ? reasonNamed(info.reason) : ErrorReason.UNSPECIFIED;
    this.violations = violations;
    const delay = info ? error.findDetails(RetryInfoSchema)[0]?.retryDelay : undefined;
    this.retryAfterMs = delay ? Number(delay.seconds) * 1000 + delay.nanos / 1e6 : 0;
    this.resource = (info && error.findDetails(ResourceInfoSchema)[0]?.resourceName) ?? "";
    this.metadata = info?.metadata ?? {};
    this.transient = !ended && (info ? TRANSIENT.has(this.reason) : connectionBroke(error));
  }

  /** The error for whatever a call threw. */
  static from(error: unknown, ended = false): TuneyardError {
    return error instanceof TuneyardError ? error : new TuneyardError(ConnectError.from(error), ended);
  }
}

/** A job's events do not follow one another: the promise of the event log is broken. */
export class EventGap extends Error {
  override readonly name = "EventGap";

  constructor(
    readonly job: string,
    readonly after: bigint,
    readonly got: bigint,
  ) {
    super(`${job}: event ${got} follows event ${after}`);
  }
}

/** The bytes of an artifact are not those that were announced. */
export class ChecksumMismatch extends Error {
  override readonly name = "ChecksumMismatch";

  constructor(readonly artifact: string) {
    super(`${artifact}: what arrived does not have the announced SHA-256`);
  }
}

const TRANSIENT: ReadonlySet<ErrorReason> = new Set([
  ErrorReason.TRAINER_UNAVAILABLE,
  ErrorReason.STORE_UNAVAILABLE,
  ErrorReason.DATABASE_UNAVAILABLE,
  ErrorReason.SHUTTING_DOWN,
  ErrorReason.TOO_MANY_REQUESTS,
]);

/** The reason with a name as it travels; UNSPECIFIED for one of a newer server. */
function reasonNamed(name: string): ErrorReason {
  const found: unknown = ErrorReason[name as keyof typeof ErrorReason];
  return typeof found === "number" ? found : ErrorReason.UNSPECIFIED;
}

/**
 * Reads a status that carries no details of ours. A server that dies under a call shows in many ways:
 * refused, reset, cancelled, or as a stream that ends without its status.
 */
function connectionBroke(error: ConnectError): boolean {
  switch (error.code) {
    case Code.Unavailable:
    case Code.Aborted:
    case Code.Canceled:
    case Code.Unknown:
      return true;
    case Code.Internal:
      return /missing (status|trailer)|http\/2 stream closed|socket|session/i.test(error.rawMessage);
    default:
      return false;
  }
}

/** What is thrown where a server ended a call in order, and too early. */
export function endedEarly(what: string): TuneyardError {
  return new TuneyardError(new ConnectError(`the server ended ${what} early`, Code.Unavailable));
}
