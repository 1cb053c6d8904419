import type { Observable } from "rxjs";
import type { Hint } from "./hint";

/**
 * How notifications reach this process. `idle`: nothing was waited for yet. `connecting`: LISTEN is being set up. `listening`: it is confirmed. `polling`: it is
 * refused, does not work or is being retried, so waits are found by reading every second. `closed`: by `close()`.
 */
export type ListenStatus = "idle" | "connecting" | "listening" | "polling" | "closed";

export interface ListenReport {
  readonly status: ListenStatus;
  /** Connections lost, or given up as deaf, so far. */
  readonly reconnects: number;
  /** Time the last heartbeat took, from the pool to the listener, in milliseconds; undefined before the first. */
  readonly heartbeatMs: number | undefined;
  /** Why it is not listening, in words; undefined while it is. */
  readonly problem: string | undefined;
}

/** Where hints come from. Behind it stands a LISTEN connection, nothing at all (poll mode), or anything else that carries ids between processes. */
export interface HintSource {
  /** Never errors; completes when closed. */
  readonly hints$: Observable<Hint>;
  /** Replays the latest. `listening` is emitted anew after every interruption: hints sent in between are lost. */
  readonly status$: Observable<ListenStatus>;
  readonly report: ListenReport;
  /** Payloads that were not ours; any role can send some. */
  readonly garbage: number;
  /** Says that hints are needed from now on, until the function it gives is called. Opens the connection at the first call. */
  demand(): () => void;
  close(): Promise<void>;
}
