// The connection to a gateway: HTTP/2, TLS, token, and errors of this package's own.

import type { SecureClientSessionOptions } from "node:http2";
import type { DescMessage, DescMethodStreaming, MessageInitShape } from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  type ContextValues,
  type Interceptor,
  type StreamResponse,
  type Transport,
} from "@connectrpc/connect";
import { Http2SessionManager, createGrpcTransport } from "@connectrpc/connect-node";
import { TuneyardError } from "./errors.js";

/** What a client is told about its server. */
export interface ConnectOptions {
  /** HOST:PORT of the gateway. Default: 127.0.0.1:50051. */
  readonly server?: string;
  /** The bearer token that comes with every call. */
  readonly token?: string;
  /**
   * True speaks TLS and trusts Node.js's roots; options of Node.js's own, such as `ca`, `cert` and `key`,
   * speak it their way. Without it nothing is encrypted, which is right on loopback and in private networks
   * only.
   */
  readonly tls?: boolean | SecureClientSessionOptions;
  /** For how long watching, uploading and downloading go on trying without getting any further. Default: 5 minutes. */
  readonly patienceMs?: number;
  /** Interceptors of connect, which see every call. */
  readonly interceptors?: readonly Interceptor[];
}

export interface Connection {
  readonly transport: Transport;
  close(): void;
}

export function open(options: ConnectOptions): Connection {
  const { server = "127.0.0.1:50051", token = "", tls = false, interceptors = [] } = options;
  if (!/^[ -~]*$/.test(token)) {
    const message = "the token holds characters that no call can carry; it must be printable ASCII";
    throw new TuneyardError(new ConnectError(message, Code.Unauthenticated));
  }
  const baseUrl = `${tls ? "https" : "http"}://${server}`;
  // Pings find a dead peer under a silent stream.
  const pings = { pingIntervalMs: 30_000, pingTimeoutMs: 20_000 };
  const sessionManager = new Http2SessionManager(baseUrl, pings, typeof tls === "object" ? tls : undefined);
  const bearer: Interceptor = (next) => (request) => {
    if (token) {
      request.header.set("authorization", `Bearer ${token}`);
    }
    return next(request);
  };
  const transport = createGrpcTransport({ baseUrl, sessionManager, interceptors: [...interceptors, bearer] });
  return { transport: typed(transport), close: () => sessionManager.abort() };
}

/** The same transport, whose calls throw TuneyardErrors. An interceptor's errors would be wrapped again by connect. */
function typed(transport: Transport): Transport {
  return {
    async unary(method, signal, ...rest) {
      try {
        return await transport.unary(method, signal, ...rest);
      } catch (error) {
        throw TuneyardError.from(error, signal?.aborted);
      }
    },
    async stream<I extends DescMessage, O extends DescMessage>(
      method: DescMethodStreaming<I, O>,
      signal: AbortSignal | undefined,
      timeoutMs: number | undefined,
      header: Parameters<Transport["stream"]>[3],
      input: AsyncIterable<MessageInitShape<I>>,
      context?: ContextValues,
    ): Promise<StreamResponse<I, O>> {
      try {
        const response = await transport.stream(method, signal, timeoutMs, header, input, context);
        return { ...response, message: typedMessages(response.message, signal) };
      } catch (error) {
        throw TuneyardError.from(error, signal?.aborted);
      }
    },
  };
}

async function* typedMessages<T>(
  messages: AsyncIterable<T>,
  signal: AbortSignal | undefined,
): AsyncGenerator<T> {
  try {
    yield* messages;
  } catch (error) {
    throw TuneyardError.from(error, signal?.aborted);
  }
}
