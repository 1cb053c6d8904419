import { setTimeout as sleep } from "node:timers/promises";
import { backoffMs } from "../database/retry";
import type { Logger } from "../logger";
import type { NatsClient } from "./client";
import { NatsLink } from "./nats-link";
import type { ResolvedNatsOptions } from "./options";

/** What uses a {@link SharedNats}: what one backend hears by, or tells by. */
export interface NatsMember {
  readonly logger: Pick<Logger, "info" | "warn">;
  /** Whether it cannot do without a connection at present. */
  readonly isNeedy: boolean;
  connected(link: NatsLink): void;
  /** The connection that it was told of is gone. */
  lost(problem: string, link: NatsLink): void;
  /** No connection could be made; it is tried again. */
  failed(problem: string): void;
  /** Nobody needs a connection, and there is none. */
  rested(): void;
  /** The server took so long to answer a ping. */
  answered(roundTripMs: number): void;
  /** The server does not allow to publish on a subject. */
  refused(subject: string, problem: string): void;
}

const reconnectBackoff = { baseMs: 100, capMs: 15_000 };

/**
 * Keeps one connection to NATS for all backends that were given the same notifier. Supervises it: opens it when first needed, pings, and replaces it for ever, with backoff, when
 * it fails.
 */
export class SharedNats {
  readonly #client: NatsClient;
  readonly #options: ResolvedNatsOptions;
  readonly #members = new Set<NatsMember>();
  #stopping = new AbortController();
  #running: Promise<void> | undefined;
  #link: NatsLink | undefined;
  #gossiped: readonly string[] = [];
  /** Why the latest attempt failed; undefined while there was none, and once one has succeeded. */
  #problem: string | undefined;

  constructor(client: NatsClient, options: ResolvedNatsOptions) {
    this.#client = client;
    this.#options = options;
  }

  get link(): NatsLink | undefined {
    return this.#link;
  }

  get problem(): string | undefined {
    return this.#problem;
  }

  attach(member: NatsMember): void {
    this.#members.add(member);
  }

  async detach(...members: NatsMember[]): Promise<void> {
    for (const member of members) this.#members.delete(member);
    if (this.#members.size > 0) return;
    this.#stopping.abort(new Error("The connection to NATS was closed"));
    await this.#running;
  }

  /** To be called when a member becomes needy. */
  need(): void {
    if (this.#running !== undefined) return;
    this.#stopping = new AbortController();
    this.#running = this.#run(this.#stopping.signal);
  }

  get #isNeeded(): boolean {
    for (const member of this.#members) if (member.isNeedy) return true;
    return false;
  }

  async #run(signal: AbortSignal): Promise<void> {
    let attempt = 0;
    const isStopped = (): boolean => signal.aborted;
    while (!isStopped() && this.#isNeeded) {
      const link = await this.#open(signal);
      if (link instanceof Error) {
        attempt += 1;
        if (!isStopped()) {
          this.#report(link.message);
          for (const member of this.#members) member.failed(link.message);
        }
      } else {
        this.#link = link;
        if (this.#problem !== undefined) this.#log("info", "NATS is reached again.");
        this.#problem = undefined;
        for (const member of this.#members) member.connected(link);
        const reason = await this.#watch(link, signal);
        attempt = 1;
        this.#link = undefined;
        this.#gossiped = link.gossiped;
        // Told in the same breath: nobody may go on with a connection that is gone.
        if (!isStopped()) {
          this.#report(reason.message);
          for (const member of this.#members) member.lost(reason.message, link);
        }
        await link.close();
      }
      const delayMs = backoffMs(attempt, reconnectBackoff.baseMs, reconnectBackoff.capMs);
      // Who waits keeps the process alive, by the timer of the sweep; who has stored does not.
      await sleep(delayMs, undefined, { signal, ref: false }).catch(() => undefined);
    }
    // In the same breath as the loop's end: whoever needs a connection from here on starts it anew.
    this.#running = undefined;
    for (const member of this.#members) member.rested();
  }

  async #open(signal: AbortSignal): Promise<NatsLink | Error> {
    const servers = [...new Set([...this.#options.servers, ...this.#gossiped])];
    if (this.#options.client.noRandomize !== true) shuffle(servers);
    const onRefused = (subject: string, problem: string): void => {
      for (const member of this.#members) member.refused(subject, problem);
    };
    try {
      const link = await NatsLink.open(this.#client, this.#options, servers, { signal, onRefused });
      if (!signal.aborted) return link;
      await link.close();
      return signal.reason as Error;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  /** Resolves with the reason once the connection is lost, or to be closed. */
  async #watch(link: NatsLink, signal: AbortSignal): Promise<Error> {
    const { pingIntervalMs } = this.#options;
    const stop = (): void => link.fail(signal.reason as Error);
    signal.addEventListener("abort", stop);
    // It must not keep a process alive that has nothing else to do.
    const timer = setInterval(() => void this.#ping(link), pingIntervalMs).unref();
    if (signal.aborted) stop();
    else void this.#ping(link);
    try {
      return await link.lost;
    } finally {
      clearInterval(timer);
      signal.removeEventListener("abort", stop);
    }
  }

  async #ping(link: NatsLink): Promise<void> {
    const sentAt = performance.now();
    if (!(await link.confirm(this.#options.pingIntervalMs / 2))) return;
    const roundTripMs = performance.now() - sentAt;
    for (const member of this.#members) member.answered(roundTripMs);
  }

  #report(problem: string): void {
    if (this.#problem === undefined)
      this.#log("warn", `NATS is not reached: ${problem}. Waits are found by reading until it is.`);
    this.#problem = problem;
  }

  #log(level: "info" | "warn", message: string): void {
    const [member] = this.#members;
    member?.logger[level](message);
  }
}

function shuffle(items: string[]): void {
  for (let last = items.length - 1; last > 0; last -= 1) {
    const other = Math.floor(Math.random() * (last + 1));
    const [one, two] = [items[last], items[other]];
    if (one === undefined || two === undefined) continue;
    items[last] = two;
    items[other] = one;
  }
}
