import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { RelayReport } from "../../relay/index";
import { urlHost } from "../../dashboard/dashboard-options";
import { toPrometheus } from "./prometheus";

export interface StatusServerOptions {
  /** 0 takes any that is free. */
  readonly port: number;
  readonly host: string;
  /** What is to be told at the moment. */
  readonly report: () => RelayReport;
  /** Takes out of a text what is not to be seen. */
  readonly hide: (text: string) => string;
}

interface Reply {
  readonly status: number;
  readonly type: string;
  readonly text: string;
}

/** Answers those who ask how a relay is: `/healthz` for orchestrators, `/metrics` for Prometheus. */
export class StatusServer implements AsyncDisposable {
  readonly #options: StatusServerOptions;
  readonly #server: Server;
  #url = "";

  private constructor(options: StatusServerOptions) {
    this.#options = options;
    this.#server = createServer((request, response) => this.#answer(request, response));
  }

  /**
   * @throws Error of Node, such as `EADDRINUSE`: it cannot listen there.
   */
  static async start(options: StatusServerOptions): Promise<StatusServer> {
    const { port, host } = options;
    const started = new StatusServer(options);
    started.#server.listen(port, host);
    await once(started.#server, "listening");
    const { port: actual } = started.#server.address() as AddressInfo;
    started.#url = `http://${urlHost(host)}:${actual}`;
    return started;
  }

  get url(): string {
    return this.#url;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  #answer({ method, url = "/" }: IncomingMessage, response: ServerResponse): void {
    const { status, type, text } = this.#replyTo(method, url.replace(/\?.*$/, ""));
    const headers = { "Content-Type": type, "Content-Length": Buffer.byteLength(text), "Cache-Control": "no-store" };
    response.writeHead(status, { ...headers, ...(status === 405 ? { Allow: "GET, HEAD" } : {}) }).end(text);
  }

  #replyTo(method: string | undefined, path: string): Reply {
    const { report, hide } = this.#options;
    if (method !== "GET" && method !== "HEAD") return plain(405, "Only GET.");
    if (path === "/metrics")
      return { status: 200, type: "text/plain; version=0.0.4; charset=utf-8", text: toPrometheus(report()) };
    if (path !== "/healthz") return plain(404, "Nothing here but /healthz and /metrics.");
    const { ok, ...rest } = report();
    const hidden = (_key: string, value: unknown): unknown => (typeof value === "string" ? hide(value) : value);
    return {
      status: ok ? 200 : 503,
      type: "application/json",
      text: `${JSON.stringify({ ok, ...rest }, hidden)}\n`,
    };
  }
}

const plain = (status: number, text: string): Reply => ({
  status,
  type: "text/plain; charset=utf-8",
  text: `${text}\n`,
});
