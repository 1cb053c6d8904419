import type { Logger } from "../logger";
import { Supervisor } from "../notifications/supervisor";
import { type NatsClient, NatsLink } from "./nats-link";
import type { ResolvedNatsOptions } from "./options";

/** The source or the publisher of a backend, which use a {@link NatsConnection}. */
export interface NatsMember {
  readonly logger: Pick<Logger, "info" | "warn">;
  /** True while the member cannot do without a connection. */
  readonly isActive: boolean;
  connected(link: NatsLink): void;
  /** The connection was lost or, without a `link`, an attempt to connect has failed. */
  disconnected(problem: string, link?: NatsLink): void;
  /** There is no connection, and no member is active. */
  idle(): void;
}

const maxReconnectDelayMs = 15_000;

/** Keeps one connection to NATS for all backends that were given the same notifier. Connects when first needed. */
export class NatsConnection extends Supervisor<NatsLink> {
  readonly #client: NatsClient;
  readonly #options: ResolvedNatsOptions;
  readonly #members = new Set<NatsMember>();
  #gossiped: readonly string[] = [];
  #problem: string | undefined;
  #roundTripMs: number | undefined;

  constructor(client: NatsClient, options: ResolvedNatsOptions) {
    super({ maxDelayMs: maxReconnectDelayMs, checkIntervalMs: options.pingIntervalMs });
    this.#client = client;
    this.#options = options;
  }

  /** Why the latest attempt failed; undefined before the first one, and once one has succeeded. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Time in which the server answered the latest ping. */
  get roundTripMs(): number | undefined {
    return this.#roundTripMs;
  }

  attach(...members: NatsMember[]): void {
    for (const member of members) {
      this.#members.add(member);
      if (this.session !== undefined) member.connected(this.session);
    }
  }

  /** Detaches members. Ends the connection with the last ones. */
  async detach(...members: NatsMember[]): Promise<void> {
    for (const member of members) this.#members.delete(member);
    if (this.#members.size > 0) return;
    await this.stop(new Error("The connection to NATS was closed"));
    this.#problem = undefined;
  }

  protected get isNeeded(): boolean {
    return [...this.#members].some(({ isActive }) => isActive);
  }

  protected async connect(life: AbortController): Promise<NatsLink> {
    const servers = [...new Set([...this.#options.servers, ...this.#gossiped])];
    const isShuffled = this.#options.client.noRandomize !== true;
    return NatsLink.open(this.#client, this.#options, isShuffled ? shuffled(servers) : servers, life);
  }

  protected async check(link: NatsLink): Promise<void> {
    const sentAt = performance.now();
    if (await link.confirm(this.#options.pingIntervalMs / 2)) this.#roundTripMs = performance.now() - sentAt;
  }

  protected onConnected(link: NatsLink): void {
    if (this.#problem !== undefined) this.#log("info", "Connected to NATS again.");
    this.#problem = undefined;
    for (const member of this.#members) member.connected(link);
    void this.checkNow();
  }

  protected onLost(error: Error, link: NatsLink): void {
    this.#gossiped = link.gossiped;
    this.#report(error.message);
    for (const member of this.#members) member.disconnected(error.message, link);
  }

  protected onFailed(error: Error): void {
    this.#report(error.message);
    for (const member of this.#members) member.disconnected(error.message);
  }

  protected override onIdle(): void {
    for (const member of this.#members) member.idle();
  }

  #report(problem: string): void {
    if (this.#problem === undefined)
      this.#log("warn", `NATS is not reached: ${problem}. Waits poll every second until it is.`);
    this.#problem = problem;
  }

  #log(level: "info" | "warn", message: string): void {
    const [member] = this.#members;
    member?.logger[level](message);
  }
}

function shuffled(servers: readonly string[]): string[] {
  const ranked = servers.map((server) => ({ server, rank: Math.random() }));
  return ranked.sort((one, other) => one.rank - other.rank).map(({ server }) => server);
}
